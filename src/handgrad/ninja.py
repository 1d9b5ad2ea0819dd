"""The journey `becoming a backprop ninja`: the four exercises, done on real words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handgrad.check import Report, Row, check
from handgrad.derive import Backward, BackwardLine, derive
from handgrad.derive.step import compile_step
from handgrad.errors import BadInput
from handgrad.models import character_mlp as seed_model
from handgrad.simplify import Step, simplify
from handgrad.threads import one_thread
from handgrad.trace import Trace, trace
from handgrad.train import (
    Moment,
    Training,
    Vocabulary,
    build_dataset,
    by_autograd,
    calibrate,
    load_words,
    mean_loss,
    sample,
    split,
    train,
)
from handgrad.train.backends import Backend
from handgrad.train.loop import finite
from handgrad.train.natively import RACED, native_sgd, train_natively

SAMPLES = 20
STEPS = {"native": 200_000, "eager": 20_000}  # by backend, unless it is told how many

SEEDS = range(-(2**63), 2**64 - 10)

Examples = tuple[Tensor, Tensor]
"""Contexts X [N, 3] and the characters that follow them, Y [N]."""


@dataclass(frozen=True)
class Setup:
    """What the journey starts from: the words in three parts, the network, one batch.

    Attributes:
        source: where the words are from.
        generator: has drawn parameters and batch, and draws the training's batches next.
    """

    source: str
    seed: int
    words: tuple[str, ...]
    vocabulary: Vocabulary
    parts: Mapping[str, Examples]
    parameters: Mapping[str, Tensor]
    generator: torch.Generator
    batch: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "source": self.source,
            "seed": self.seed,
            "words": len(self.words),
            "characters": "".join(self.vocabulary.characters),
            "examples": {name: len(X) for name, (X, _) in self.parts.items()},
            "parameters": {name: list(tensor.shape) for name, tensor in self.parameters.items()},
        }


@dataclass(frozen=True)
class LineByLine:
    """Exercise 1: the backward pass in small steps, every gradient judged."""

    trace: Trace
    backward: Backward
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """Return all three as plain data."""
        return {
            "forward": self.trace.to_dict(),
            "backward": self.backward.to_dict(),
            "check": self.report.to_dict(),
        }


@dataclass(frozen=True)
class Form:
    """Forward lines and what the backward pass through them is.

    Attributes:
        row: the result beside autograd's.
    """

    forward: tuple[str, ...]
    lines: tuple[BackwardLine, ...]
    row: Row

    def to_dict(self) -> dict[str, Any]:
        """Return the lines and the verdict as plain data."""
        return {
            "forward": list(self.forward),
            "lines": [each.line.text for each in self.lines],
            "check": Report((self.row,)).to_dict()["rows"][0],
        }


@dataclass(frozen=True)
class InOneGo:
    """Exercises 2 and 3: many small lines simplified to one.

    Attributes:
        wanted: the gradient that it ends in.
        replaces: the names of the small steps' backward lines that end there.
        form: the short form, beside autograd's gradient through the small steps.
        steps: how one gets from the small lines to it.
        library: the same from torch's own function where that differs, beside autograd's of it.
    """

    wanted: str
    replaces: tuple[str, ...]
    form: Form
    steps: tuple[Step, ...]
    library: Form | None = None

    @property
    def report(self) -> Report:
        """Return the verdicts."""
        return Report(tuple(form.row for form in (self.form, self.library) if form))

    def to_dict(self) -> dict[str, Any]:
        """Return the forms and the steps as plain data."""
        return {
            "wanted": self.wanted,
            "replaces": list(self.replaces),
            "short": self.form.to_dict(),
            "steps": [vars(step) for step in self.steps],
            "library": self.library.to_dict() if self.library else None,
        }


@dataclass(frozen=True)
class Plan:
    """What exercise 4 is about to do.

    Attributes:
        backend: what does the steps.
        raced: the first steps, those that autograd does too.
        note: why it is not native code, if that was asked for.
    """

    steps: int
    batch: int
    backend: str
    raced: int
    note: str = ""


@dataclass(frozen=True)
class Trained:
    """Exercise 4: the network trained by the derived gradients.

    Attributes:
        losses: mean cross-entropy of each part, batch norm calibrated; None for an empty part.
        samples: new words.
        known: for each of them, whether the data has it.
    """

    training: Training
    backend: str
    losses: Mapping[str, float | None]
    samples: tuple[str, ...]
    known: tuple[bool, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data; a number that is not finite becomes None."""
        run = self.training
        steps, smoothed = smooth(run.losses)
        return {
            "backend": self.backend,
            "steps": run.steps,
            "done": len(run.losses),
            "stopped": run.stopped,
            "seconds": run.seconds,
            "race": run.race.to_dict() if run.race else None,
            "losses": {name: finite(loss) for name, loss in self.losses.items()},
            "curve": {"steps": steps, "loss": [finite(loss) for loss in smoothed]},
            "update_ratios": {
                "steps": list(run.ratio_steps),
                "log10": {name: [finite(r) for r in found] for name, found in run.ratios.items()},
            },
            "samples": list(self.samples),
            "known": list(self.known),
        }


@dataclass(frozen=True)
class Journey:
    """All four exercises."""

    setup: Setup
    line_by_line: LineByLine
    cross_entropy: InOneGo
    batch_norm: InOneGo
    plan: Plan
    trained: Trained

    @property
    def report(self) -> Report:
        """Return every verdict of the journey."""
        parts = (self.line_by_line, self.cross_entropy, self.batch_norm)
        return Report(tuple(row for part in parts for row in part.report.rows))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "ok": self.report.ok,
            "data": self.setup.to_dict(),
            "line_by_line": self.line_by_line.to_dict(),
            "cross_entropy": self.cross_entropy.to_dict(),
            "batch_norm": self.batch_norm.to_dict(),
            "training": self.trained.to_dict(),
        }


Exercise = Setup | LineByLine | InOneGo | Plan | Trained
"""What the journey tells of as it goes."""


def journey(
    steps: int | None = None,
    data: Path | None = None,
    seed: int = seed_model.SEED,
    *,
    backend: str = "native",
    on_result: Callable[[Exercise], None] = lambda _: None,
    on_step: Callable[[Moment], None] | None = None,
) -> Journey:
    """Do the four exercises.

    Args:
        steps: how many to train for; without a number what suits the backend.
        data: a text file of words, one a line; the built-in names without one.
        seed: of the generator that draws everything.
        backend: one of STEPS; where there is no native code, eager PyTorch.
        on_result: called with what there is as soon as it is there.
        on_step: called after every training step.

    Raises:
        BadInput: the data, the number of steps or the seed will not do.
    """
    refuse(steps, backend)
    setup = prepare(data, seed)
    on_result(setup)
    first = line_by_line(setup)
    on_result(first)
    second = cross_entropy(first)
    on_result(second)
    third = batch_norm(first)
    on_result(third)
    own, note = native_sgd(first.backward, setup.parameters) if backend == "native" else (None, "")
    plan = planned(steps, own, note)
    on_result(plan)
    fourth = trained(setup, first.backward, plan.steps, on_step, own)
    on_result(fourth)
    return Journey(setup, first, second, third, plan, fourth)


def refuse(steps: int | None, backend: str) -> None:
    """Refuse what cannot be trained with.

    Raises:
        BadInput: there is no step to do, or no such backend.
    """
    if steps is not None and steps < 1:
        raise BadInput(f"cannot train for {steps} steps", hint="ask for at least 1 step")
    if backend not in STEPS:
        raise BadInput(f"there is no backend {backend!r}", hint=f"one of {', '.join(STEPS)}")


def planned(steps: int | None, own: Backend | None, note: str) -> Plan:
    """Return what exercise 4 will do with native code, or without."""
    name = own.name if own else "eager"
    count = STEPS[name] if steps is None else steps
    return Plan(count, seed_model.BATCH, name, min(count, RACED) if own else count, note)


def prepare(data: Path | None, seed: int) -> Setup:
    """Read the words, draw the network and a batch.

    Raises:
        BadInput: the data or the seed will not do.
    """
    if seed not in SEEDS:
        raise BadInput(f"{seed} is too large for a seed", hint="give a number of at most 18 digits")
    words = load_words(data)
    vocabulary = Vocabulary.from_words(words)
    parts = {
        name: build_dataset(part, vocabulary, seed_model.BLOCK_SIZE)
        for name, part in zip(("train", "validation", "test"), split(words), strict=True)
    }
    generator = torch.Generator().manual_seed(seed)
    parameters = seed_model.parameters(len(vocabulary), generator)
    source = "built-in names" if data is None else str(data)
    batch = draw(parts["train"], generator)
    return Setup(source, seed, tuple(words), vocabulary, parts, parameters, generator, batch)


def draw(examples: Examples, generator: torch.Generator) -> dict[str, Any]:
    """Return a random batch of the examples."""
    X, Y = examples
    chosen = torch.randint(0, len(X), (seed_model.BATCH,), generator=generator)
    return {"Xb": X[chosen], "Yb": Y[chosen], "n": seed_model.BATCH}


def line_by_line(setup: Setup) -> LineByLine:
    """Derive the backward pass of the small steps and judge the gradient of every name."""
    forward = trace(seed_model.small_steps, **setup.parameters, **setup.batch)
    backward = derive(forward)
    return LineByLine(forward, backward, check(forward, backward.run()))


def cross_entropy(small: LineByLine) -> InOneGo:
    """Simplify the lines from the loss to dlogits."""
    form, steps = short_form(small, start="logits", to="loss")
    return InOneGo("dlogits", passed(small, "dloss", "dlogits"), form, steps)


def batch_norm(small: LineByLine) -> InOneGo:
    """Simplify the lines from dhpreact to dhprebn; derive it from torch's own function too."""
    form, steps = short_form(small, start="hprebn", to="hpreact")
    values = small.trace.values
    library = trace(
        seed_model.library_norm,
        values["hprebn"],
        values["bngain"].squeeze(0),
        values["bnbias"].squeeze(0),
        upstream=small.trace.grads["hpreact"],
    )
    return InOneGo(
        "dhprebn",
        passed(small, "dhpreact", "dhprebn"),
        form,
        steps,
        form_of(derive(library), "dhprebn", library),
    )


def short_form(small: LineByLine, *, start: str, to: str) -> tuple[Form, tuple[Step, ...]]:
    """Simplify the small lines between two names, beside autograd's gradient through them."""
    short = simplify(small.backward, start=start, to=to)
    arrived = replace(short.trace, upstream=small.trace.grads.get(to, short.trace.upstream))
    form = form_of(replace(short, trace=arrived), f"d{start}", small.trace)
    return form, short.steps


def form_of(backward: Backward, wanted: str, against: Trace) -> Form:
    """Return the lines that lead to one gradient, with its verdict."""
    primals = ("", wanted.removeprefix("d"))
    lines = tuple(each for each in backward.lines if each.primal in primals)
    (row,) = check(against, {wanted: backward.run()[wanted]}).rows
    return Form(tuple(line.text for line in backward.trace.lines), lines, row)


def passed(small: LineByLine, start: str, end: str) -> tuple[str, ...]:
    """Return the variables' gradients after one and up to another, in the order of lines."""
    leaves = small.trace.leaves
    names = [each.name for each in small.backward.lines if each.primal not in leaves]
    first = names.index(start) + 1 if start in names else 0
    return tuple(names[first : names.index(end) + 1])


def trained(
    setup: Setup,
    backward: Backward,
    steps: int,
    on_step: Callable[[Moment], None] | None = None,
    own: Backend | None = None,
) -> Trained:
    """Train by the derived gradients, autograd's beside them; measure and sample."""
    examples, generator = setup.parts["train"], setup.generator
    beside = by_autograd(seed_model.small_steps, tuple(setup.parameters))
    with one_thread():
        if own:
            size = seed_model.BATCH
            training = train_natively(
                own, examples, size, steps, generator, beside=beside, on_step=on_step
            )
        else:
            training = train(
                compile_step(backward),
                setup.parameters,
                lambda: draw(examples, generator),
                steps,
                beside=beside,
                on_step=on_step,
            )
        network = calibrate(training.parameters, setup.parts["train"][0])
        losses = {name: mean_loss(network, X, Y) for name, (X, Y) in setup.parts.items()}
        samples = sample(network, setup.vocabulary, SAMPLES, setup.seed + 10, seed_model.BLOCK_SIZE)
    words = set(setup.words)
    name = own.name if own else "eager"
    return Trained(training, name, losses, samples, tuple(word in words for word in samples))


def smooth(losses: tuple[float, ...], points: int = 100) -> tuple[list[int], list[float]]:
    """Return means of the losses over equal windows, with the step that each window ends at."""
    width = max(math.ceil(len(losses) / points), 1)
    windows = [losses[start : start + width] for start in range(0, len(losses), width)]
    ends = [min(width * (place + 1), len(losses)) for place in range(len(windows))]
    means = [math.fsum(window) / len(window) for window in windows]
    return ends, means
