"""Training in native code, with autograd beside it for the first steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from handgrad.derive import Backward
from handgrad.interrupt import interruptible
from handgrad.native.lower.update import Rule
from handgrad.nn.optimisers import SGD
from handgrad.train.backends import Backend, native
from handgrad.train.loop import (
    RECORDS,
    Gradients,
    Moment,
    Race,
    Runner,
    Training,
    compared,
    halved,
    ratio,
    reason,
)
from handgrad.train.zoo import Examples

RACED = 500
"""The steps that autograd does too, in turn with native code."""

TURN = 50  # steps that one does before it is the other's turn
LOOK = 0.02  # seconds between two looks at Ctrl-C


def native_sgd(backward: Backward, parameters: Mapping[str, Tensor]) -> tuple[Backend | None, str]:
    """Return copies of parameters with native code that trains them, or None; and why, or a note.

    Args:
        backward: the lines.
        parameters: to start from, by name.
    """
    own = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    backend, note = native(backward, own, Rule(SGD()))
    return (backend if backend.name == "native" else None), note


def train_natively(
    backend: Backend,
    examples: Examples,
    size: int,
    steps: int,
    generator: torch.Generator,
    *,
    beside: Gradients,
    rate: Callable[[int, int], float] = halved,
    on_step: Callable[[Moment], None] | None = None,
) -> Training:
    """Train a backend's parameters; Ctrl-C ends it after the steps at work, keeping what is there.

    Args:
        backend: native code.
        examples: that batches are drawn from.
        size: of a batch.
        steps: how many to do.
        generator: draws the batches, step for step as `torch.randint` does.
        beside: autograd's gradients, which do the first RACED steps too.
        rate: the learning rate at a step of so many.
        on_step: called after every few steps, with the mean of their losses.
    """
    course = Course(backend, examples, size, steps, generator, rate, beside)
    begun, stopped = perf_counter(), ""
    with interruptible() as pressed:
        for losses in course.blocks():
            mean = math.fsum(losses) / len(losses)
            if on_step:
                done = len(course.losses)
                on_step(Moment(done, steps, mean, perf_counter() - begun))
            stopped = reason(losses[-1], bool(pressed()))
            if stopped:
                break
    return course.training(stopped if len(course.losses) < steps else "")


@dataclass
class Course:
    """A training on its way.

    Attributes:
        rival: autograd, on a copy of the parameters.
        seconds: that native code took.
        raced: how many of them, in how many steps, autograd was beside it.
    """

    backend: Backend
    examples: Examples
    size: int
    steps: int
    generator: torch.Generator
    rate: Callable[[int, int], float]
    beside: Gradients
    rival: Runner = field(init=False)
    losses: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    raced: tuple[float, int] = (0.0, 0)
    difference: tuple[float, str] = (0.0, "")
    ratio_steps: list[int] = field(default_factory=list[int])
    ratios: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    at_once: int = 16

    def __post_init__(self) -> None:
        self.rival = Runner(self.beside, self.backend.parameters)
        self.every = math.ceil(self.steps / RECORDS)
        self.warm_up()

    def warm_up(self) -> None:
        """Let autograd do on the first examples what is slower the first time."""
        first = self.batch(torch.arange(self.size) % len(self.examples[0]))
        copies = {name: tensor.clone() for name, tensor in self.rival.parameters.items()}
        self.beside({**copies, **first})

    def batch(self, rows: Tensor) -> dict[str, Any]:
        """Return the examples of these places, as the forward pass names them."""
        X, Y = self.examples
        return {"Xb": X[rows], "Yb": Y[rows], "n": len(rows)}

    def blocks(self) -> Iterator[list[float]]:
        """Do the steps in blocks; yield the losses of each, the last one's end with what is bad."""
        while len(self.losses) < self.steps:
            done = len(self.losses)
            recorded = done % self.every == 0
            left = 1 if recorded else self.every - done % self.every
            if done < RACED:
                left = min(left, TURN, RACED - done)
            count = min(left, self.at_once, self.steps - done)
            before = self.copies() if recorded else {}
            losses = self.block(done, count)
            self.note(before)
            yield losses

    def block(self, done: int, count: int) -> list[float]:
        """Do some steps, and those of the race by autograd too."""
        rows = torch.randint(0, len(self.examples[0]), (count, self.size), generator=self.generator)
        rates = [self.rate(done + k, self.steps) for k in range(count)]
        start = perf_counter()
        losses = self.backend.run(self.examples, rows, done, rates)
        taken = perf_counter() - start
        self.seconds += taken
        fit = int(LOOK * count / max(taken, 1e-6))
        self.at_once = max(1, min(self.backend.most, fit, 2 * max(count, self.at_once)))
        if done < RACED:
            for place in range(len(losses)):
                self.rival.step(self.batch(rows[place]), rates[place])
            self.raced = (self.raced[0] + taken, self.raced[1] + len(losses))
            if done + count == RACED:
                self.difference = self.apart()
        if len(losses) < count:
            values = {**self.copies(), **self.batch(rows[len(losses)])}
            losses = [*losses, float(self.beside(values)[0])]
        self.losses += losses
        return losses

    def copies(self) -> dict[str, Tensor]:
        """Return copies of the parameters."""
        return {name: tensor.clone() for name, tensor in self.backend.parameters.items()}

    def apart(self) -> tuple[float, str]:
        """Return the largest difference of an entry from autograd's, and its parameter."""
        own = Runner(self.beside, self.backend.parameters)
        found = compared(own, self.rival, self.raced[1])
        return found.difference, found.parameter

    def note(self, before: Mapping[str, Tensor]) -> None:
        """Write down how far the step that was just done moved the parameters."""
        if not before:
            return
        self.ratio_steps.append(len(self.losses))
        for name, tensor in self.backend.parameters.items():
            self.ratios.setdefault(name, []).append(ratio(tensor - before[name], tensor))

    def training(self, stopped: str) -> Training:
        """Return what it came to."""
        if 0 < len(self.losses) < RACED:
            self.difference = self.apart()
        return Training(
            parameters=self.copies(),
            losses=tuple(self.losses),
            steps=self.steps,
            seconds=self.seconds,
            stopped=stopped,
            ratio_steps=tuple(self.ratio_steps),
            ratios={name: tuple(values) for name, values in self.ratios.items()},
            race=Race(self.raced[0], self.rival.seconds, *self.difference, self.raced[1]),
        )
