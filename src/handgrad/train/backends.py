"""What does the steps of a run: the derived lines in eager torch, compiled by torch, or native."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from handgrad.derive import Backward
from handgrad.native.compiled import from_backward
from handgrad.native.engines import Eager
from handgrad.native.lower.update import Rule, slot
from handgrad.native.making import in_lines
from handgrad.nn.optimisers import Optimiser
from handgrad.trace import Trace
from handgrad.train.optimise import optimiser
from handgrad.train.settings import Settings
from handgrad.train.zoo import Examples

AT_ONCE = 4096
"""The steps, at most, that native code does between two looks at the clock and at Ctrl-C."""


class Engine(Protocol):
    """What does steps."""

    def run(
        self,
        data: Mapping[str, Tensor],
        rows: Tensor,
        numbers: list[Mapping[str, float]],
        losses: Tensor,
    ) -> int:
        """Do steps on rows [steps, batch] of the data; return how many had a finite loss."""
        ...


@dataclass
class Backend:
    """Parameters, an optimiser's state, and what moves both in place.

    Attributes:
        name: one of `settings.BACKENDS`.
        source: the text that settles, with the machine, every bit of a step.
        parameters: by name.
        state: the optimiser's, by name.
        most: how many steps may be done at once.
    """

    name: str
    source: str
    parameters: dict[str, Tensor]
    state: dict[str, Tensor]
    engine: Engine
    optimiser: Optimiser
    most: int = 1
    data: Mapping[str, Tensor] | None = None

    def run(
        self, examples: Examples, chosen: Tensor, first: int, rates: Sequence[float]
    ) -> list[float]:
        """Do a step for each row of chosen [steps, batch] and return the losses.

        A loss that is not finite ends them: it is left out, and its step moves nothing.

        Args:
            examples: the same at every call.
            chosen: the examples of each step.
            first: the number of steps that were done before.
            rates: the learning rate of each.
        """
        if self.data is None:
            X, Y = (part.contiguous() if self.most > 1 else part for part in examples)
            self.data = {"Xb": X, "Yb": Y}
        numbers: list[Mapping[str, float]] = [
            self.optimiser.numbers(first + k + 1, rate) for k, rate in enumerate(rates)
        ]
        losses = torch.zeros(len(numbers), dtype=torch.float64)
        done = self.engine.run(self.data, chosen, numbers, losses)
        return losses[:done].tolist()

    @property
    def digest(self) -> str:
        """Return a short digest of the source."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:16]


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
    backward = in_lines(trace, simplified=None)
    rule = Rule(optimiser(settings), settings.clip or None)
    if settings.backend == "native":
        return native(backward, own, rule)
    kept = {
        slot(name, kind): torch.zeros_like(tensor)
        for kind in rule.optimiser.memory
        for name, tensor in own.items()
    }
    batch = {n.name: trace.values[n.name] for n in trace.program.inputs if n.name not in own}
    engine = Eager(backward, tuple(own), rule, {**batch, **own, **kept})
    name, note = "eager", ""
    if settings.backend == "compile":
        name, note = by_torch(engine)
    source = "\n".join(line.text for line in trace.lines) + "\n" + backward.source
    return Backend(name, source, own, kept, engine, rule.optimiser), note


def native(backward: Backward, own: dict[str, Tensor], rule: Rule) -> tuple[Backend, str]:
    """Return native code, or eager torch with the reason."""
    made = from_backward(backward, own, rule, warn=False)
    kept = {
        slot(name, kind): made.tensors[slot(name, kind)]
        for kind in rule.optimiser.memory
        for name in own
    }
    most = AT_ONCE if made.backend == "native" else 1
    backend = Backend(made.backend, made.source, own, kept, made.engine, rule.optimiser, most)
    return backend, made.note


def by_torch(engine: Eager) -> tuple[str, str]:
    """Compile an engine's lines by torch and try them once; where that fails, say why."""
    eager = engine.function
    engine.function = torch.compile(eager, dynamic=False)
    try:
        with torch.no_grad():
            engine.function(engine.tensors)
    except Exception as error:  # whatever the compiler of torch, or the C++ compiler, raises
        engine.function = eager
        first = str(error).strip().partition("\n")[0]
        return "eager", f"torch.compile failed ({first}): the steps are done in eager torch"
    return "compile", ""
