"""What does the steps of a run: the derived lines in eager torch, compiled by torch, or native."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from handgrad.derive import derive
from handgrad.errors import HandgradError
from handgrad.trace import Trace
from handgrad.train.optimise import State, state_for, update
from handgrad.train.settings import Settings
from handgrad.train.step import Step, compile_step
from handgrad.train.zoo import Examples

AT_ONCE = 256
"""The steps, at most, that a backend does between two looks at the clock and at Ctrl-C."""


class Backend(Protocol):
    """Parameters, an optimiser's state, and what moves both in place.

    Attributes:
        name: one of `settings.BACKENDS`.
        parameters: by name.
        state: the optimiser's, by name.
    """

    name: str
    parameters: dict[str, Tensor]
    state: State

    @property
    def source(self) -> str:
        """Return the text that settles, with the machine, every bit of a step."""
        ...

    def step(self, batch: Mapping[str, Any], rate: float) -> float:
        """Do one step at a learning rate and return the loss before it.

        Where the loss is not finite, the parameters may be as they were or not.
        """
        ...


@runtime_checkable
class Many(Protocol):
    """A backend that can do several steps by itself."""

    def run(self, examples: Examples, chosen: Tensor, rates: Sequence[float]) -> Sequence[float]:
        """Do a step for each row of chosen [steps, batch] and return the losses."""
        ...


@dataclass
class Lines:
    """The derived lines, eager or compiled by torch, and the optimiser in eager torch."""

    name: str
    step_of: Step
    parameters: dict[str, Tensor]
    state: State
    settings: Settings

    @property
    def source(self) -> str:
        """Return the text of the lines."""
        return self.step_of.source

    def step(self, batch: Mapping[str, Any], rate: float) -> float:
        """Do one step; a loss that is not finite moves nothing."""
        found, gradients = self.step_of({**self.parameters, **batch})
        loss = float(found)
        if math.isfinite(loss):
            update(self.parameters, gradients, self.state, rate, self.settings)
        return loss


def backend_for(
    trace: Trace, parameters: Mapping[str, Tensor], settings: Settings
) -> tuple[Backend, str]:
    """Return the backend that was asked for, or the eager one with the reason.

    Args:
        trace: the forward pass on one batch.
        parameters: to start from; they are copied.
        settings: name the backend and the optimiser.
    """
    own = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    reason = ""
    if settings.backend == "native":
        found, reason = native(trace, own, settings)
        if found:
            return found, ""
    step = compile_step(derive(trace))
    if settings.backend == "compile":
        compiled, reason = by_torch(step, {**trace.values, **trace.program.scalars})
        if compiled:
            return Lines("compile", compiled, own, state_for(own, settings), settings), ""
    return Lines("eager", step, own, state_for(own, settings), settings), reason


def native(
    trace: Trace, parameters: dict[str, Tensor], settings: Settings
) -> tuple[Backend | None, str]:
    """Return native code for a step; None with the reason where there can be none."""
    try:
        make = import_module("handgrad.native").backend
        return make(trace, parameters, settings), ""
    except (ImportError, AttributeError) as error:
        return None, f"no native code here ({error}): the steps are done in eager torch"
    except HandgradError as error:
        return None, f"no native code for this step ({error.what}): it is done in eager torch"


def by_torch(step: Step, values: Mapping[str, Any]) -> tuple[Step | None, str]:
    """Return a step compiled by torch, tried once; None with the reason where that fails."""
    function = torch.compile(step.function, dynamic=False)
    compiled = Step(step.source, step.inputs, step.leaves, function, step.scalars)
    try:
        compiled(values)
    except Exception as error:  # whatever the compiler of torch, or the C++ compiler, raises
        first = str(error).strip().partition("\n")[0]
        return None, f"torch.compile failed ({first}): the steps are done in eager torch"
    return compiled, ""


def copied(backend: Backend) -> tuple[State, State]:
    """Return copies of parameters and state."""
    first, second = (
        {name: tensor.clone() for name, tensor in tensors.items()}
        for tensors in (backend.parameters, backend.state)
    )
    return first, second
