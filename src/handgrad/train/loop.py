"""Stochastic gradient descent by given gradients, with others beside it on the same batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

import torch
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.interrupt import interruptible

RECORDS = 200
"""How often, at most, the update-to-data ratios are written down."""

Gradients: TypeAlias = Callable[[Mapping[str, Any]], tuple[Tensor, Mapping[str, Tensor]]]
"""From parameters and batch, by name, to the loss and the gradient of every parameter."""

Batch: TypeAlias = Callable[[], Mapping[str, Any]]
"""Draws the next batch, by name."""


@dataclass(frozen=True)
class Moment:
    """Where training stands: `step` of `steps` done, the last loss, the seconds gone by.

    Attributes:
        start: the steps that were done before; a resumed run's time is not that of these.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    start: int = 0

    @property
    def speed(self) -> float:
        """Return the steps per second."""
        return (self.step - self.start) / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Race:
    """The same steps done by two gradients.

    Attributes:
        seconds: what the steps took, batches and records left out.
        rival_seconds: the same of the other.
        difference: the largest difference of an entry of any parameter after the last step.
        parameter: the parameter with that entry.
        steps: how many both did.
    """

    seconds: float
    rival_seconds: float
    difference: float
    parameter: str
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Return the race as plain data."""
        return {
            "seconds": self.seconds,
            "autograd_seconds": self.rival_seconds,
            "steps": self.steps,
            "largest_difference": finite(self.difference),
            "in_parameter": self.parameter,
        }


@dataclass(frozen=True)
class Training:
    """What training did.

    Attributes:
        parameters: as they are after the last step.
        losses: of each step's batch, before its update.
        steps: how many were asked for.
        stopped: why it ended before the last step; empty if it did not.
        ratio_steps: the steps at which the ratios were written down.
        ratios: by parameter, log10 of the update's over the parameter's standard deviation.
        race: the same steps by another gradient, if one ran beside it.
    """

    parameters: Mapping[str, Tensor]
    losses: tuple[float, ...]
    steps: int
    seconds: float
    stopped: str = ""
    ratio_steps: tuple[int, ...] = ()
    ratios: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    race: Race | None = None


def finite(number: float | None) -> float | None:
    """Return a number that JSON can hold: None for one that is not finite."""
    return number if number is not None and math.isfinite(number) else None


def halved(step: int, steps: int) -> float:
    """Return the learning rate: 0.1, and 0.01 from the middle on."""
    return 0.1 if step < steps / 2 else 0.01


def train(
    gradients: Gradients,
    parameters: Mapping[str, Tensor],
    batch: Batch,
    steps: int,
    *,
    rate: Callable[[int, int], float] = halved,
    beside: Gradients | None = None,
    on_step: Callable[[Moment], None] | None = None,
) -> Training:
    """Train copies of the parameters; Ctrl-C ends it after the step at work, keeping what is there.

    Args:
        gradients: gives the loss and the gradients of a batch.
        parameters: where to start from, by name.
        batch: draws the next batch.
        steps: how many to do.
        rate: the learning rate at a step of so many.
        beside: other gradients, which train a copy of their own on the same batches.
        on_step: called after every step.

    Raises:
        BadInput: there is no step to do.
    """
    if steps < 1:
        raise BadInput(f"cannot train for {steps} steps", hint="ask for at least 1 step")
    runner = Runner(gradients, parameters)
    rival = Runner(beside, parameters) if beside else None
    records = Records(steps)
    losses: list[float] = []
    stopped = ""
    begun = perf_counter()
    with interruptible() as pressed:
        for loss in laps(runner, rival, records, batch, rate, steps):
            losses.append(loss)
            if on_step:
                on_step(Moment(len(losses), steps, loss, perf_counter() - begun))
            stopped = reason(loss, bool(pressed()))
            if stopped:
                break
    stopped = stopped if len(losses) < steps else ""
    return summary(runner, rival, records, losses, stopped)


def summary(
    runner: Runner, rival: Runner | None, records: Records, losses: list[float], stopped: str
) -> Training:
    """Return what a training came to."""
    return Training(
        parameters=runner.parameters,
        losses=tuple(losses),
        steps=records.wanted,
        seconds=runner.seconds,
        stopped=stopped,
        ratio_steps=tuple(records.steps),
        ratios={name: tuple(values) for name, values in records.ratios.items()},
        race=compared(runner, rival, len(losses)) if rival else None,
    )


def laps(
    runner: Runner,
    rival: Runner | None,
    records: Records,
    batch: Batch,
    rate: Callable[[int, int], float],
    steps: int,
) -> Iterator[float]:
    """Do the steps, of both on the same batches; yield the loss of each."""
    for step in range(steps):
        values, lr = batch(), rate(step, steps)
        loss, found = runner.step(values, lr)
        if rival:
            rival.step(values, lr)
        records.note(step, lr, found, runner.parameters)
        yield float(loss)


def reason(loss: float, pressed: bool) -> str:
    """Return why training ends now; empty if it goes on."""
    if not math.isfinite(loss):
        return f"the loss became {loss}"
    return "interrupted" if pressed else ""


class Runner:
    """Parameters on their way, and the time that their steps take."""

    def __init__(self, gradients: Gradients, parameters: Mapping[str, Tensor]) -> None:
        self.gradients = gradients
        self.parameters = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        self.seconds = 0.0

    def step(self, batch: Mapping[str, Any], rate: float) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Do one step; return the loss and the gradients."""
        start = perf_counter()
        loss, found = self.gradients({**self.parameters, **batch})
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter -= rate * found[name]
        self.seconds += perf_counter() - start
        return loss, found


class Records:
    """The update-to-data ratios, written down every so many steps."""

    def __init__(self, steps: int) -> None:
        self.wanted = steps
        self.every = math.ceil(steps / RECORDS)
        self.steps: list[int] = []
        self.ratios: dict[str, list[float]] = {}

    def note(
        self, step: int, rate: float, found: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
    ) -> None:
        """Write down the ratios of a step, if it is time."""
        if step % self.every:
            return
        self.steps.append(step + 1)
        for name, parameter in parameters.items():
            value = ratio(rate * found[name], parameter.detach())
            self.ratios.setdefault(name, []).append(value)


def ratio(update: Tensor, data: Tensor) -> float:
    """Return log10 of an update's over its parameter's spread; minus infinity where one is 0."""
    moved, size = spread(update), spread(data)
    return math.log10(moved / size) if moved > 0 and size > 0 else -math.inf


def spread(tensor: Tensor) -> float:
    """Return the standard deviation; of a single entry, which has none, its size."""
    return float(tensor.std() if tensor.numel() > 1 else tensor.abs().sum())


def compared(runner: Runner, rival: Runner, steps: int) -> Race:
    """Return both times and the largest difference between the parameters."""
    differences = {
        name: float((tensor - rival.parameters[name].detach()).abs().max())
        for name, tensor in runner.parameters.items()
    }
    worst = max(differences, key=lambda name: differences[name])
    return Race(runner.seconds, rival.seconds, differences[worst], worst, steps)


def by_autograd(forward: Callable[..., Tensor], leaves: tuple[str, ...]) -> Gradients:
    """Return the gradients that autograd takes of a forward pass."""

    def gradients(values: Mapping[str, Any]) -> tuple[Tensor, Mapping[str, Tensor]]:
        tensors = [values[name].requires_grad_() for name in leaves]
        loss = forward(**values)
        return loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, tensors), strict=True))

    return gradients
