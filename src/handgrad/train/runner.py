"""A run on its way: steps, records, checkpoints, and what is said when the loss is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from handgrad.derive.backward import refuse_nan
from handgrad.errors import BadInput, Undecided
from handgrad.trace import trace
from handgrad.train import checkpoint as disk
from handgrad.train.backends import Backend
from handgrad.train.log import Log
from handgrad.train.loop import Moment, ratio
from handgrad.train.settings import Settings
from handgrad.train.zoo import Examples, Model

TAIL = 1.0  # seconds, at most, that a line of the log waits for its file
LOOK = 0.02  # seconds between two looks at Ctrl-C, where single steps are faster


@dataclass
class Run:
    """A run on its way.

    Attributes:
        about: of settings and data, for the checkpoints.
        environment: what besides them settles every bit.
        step: how many are done.
        at_once: how many may be done before the next look at the clock.
    """

    folder: Path
    settings: Settings
    model: Model
    examples: Examples
    backend: Backend
    generator: torch.Generator
    about: Mapping[str, Any]
    environment: Mapping[str, Any]
    step: int = 0
    at_once: int = 1
    log: Log = field(init=False)

    def until_done(self, came: Callable[[], int], on_step: Callable[[Moment], None]) -> float:
        """Do the steps that are left, or those until a signal came; return the seconds."""
        start = saved = self.step
        begun = written = perf_counter()
        while self.step < self.settings.steps and not came():
            before, clock = self.step, perf_counter()
            losses = self.advance()
            self.pace(self.step - before, perf_counter() - clock)
            mean, now = math.fsum(losses) / len(losses), perf_counter()
            on_step(Moment(self.step, self.settings.steps, mean, now - begun, start))
            if now - written > TAIL:
                self.log.write()
                written = now
            if self.step % self.settings.every == 0:
                self.save()
                saved = self.step
        if saved < self.step:
            self.save()
        return perf_counter() - begun

    def pace(self, count: int, seconds: float) -> None:
        """Choose how many steps are done at once."""
        fit = int(LOOK * count / max(seconds, 1e-6))
        self.at_once = max(1, min(self.backend.most, fit, 2 * self.at_once))

    def advance(self) -> Sequence[float]:
        """Do the next steps, one alone where its updates are recorded; return their losses."""
        settings, at = self.settings, self.step
        if at % settings.record == 0:
            return self.recorded()
        ahead = (settings.every - at % settings.every, settings.record - at % settings.record)
        return self.do(min(settings.steps - at, *ahead, self.at_once))

    def recorded(self) -> Sequence[float]:
        """Do one step and record the size of its updates."""
        before = {name: tensor.clone() for name, tensor in self.backend.parameters.items()}
        rate = self.settings.rate(self.step)
        losses = self.do(1)
        ratios = {
            name: ratio(tensor - before[name], tensor)
            for name, tensor in self.backend.parameters.items()
        }
        self.log.record(self.step, losses[0], rate, ratios)
        return losses

    def do(self, count: int) -> Sequence[float]:
        """Draw batches and do their steps.

        Raises:
            BadInput: a loss is not finite.
        """
        size = (count, self.settings.batch)
        chosen = torch.randint(0, len(self.examples[0]), size, generator=self.generator)
        rates = [self.settings.rate(self.step + k) for k in range(count)]
        losses = self.backend.run(self.examples, chosen, self.step, rates)
        for k, loss in enumerate(losses):
            self.log.step(self.step + k + 1, loss, rates[k])
        self.step += len(losses)
        if len(losses) < count:
            self.log.write()
            raise self.lost(self.model.batch(self.examples, chosen[len(losses)]))
        return losses

    def lost(self, batch: Mapping[str, Any]) -> BadInput:
        """Say that the next step's loss is not finite, at which line first, and what is kept."""
        step = self.step + 1
        return BadInput(
            f"the loss is not finite at step {step:,}",
            why="\n".join([self.first_line(step, batch), disk.still_there(self.folder)]).strip(),
            hint="a smaller --lr, or --clip 1, in another folder with --out",
        )

    def first_line(self, step: int, batch: Mapping[str, Any]) -> str:
        """Return what is not finite first: a parameter, or a line of the forward pass."""
        parameters = self.backend.parameters
        for name, tensor in parameters.items():
            if not bool(tensor.isfinite().all()):
                bad = int((~tensor.isfinite()).sum())
                return (
                    f"{name} is not finite at {bad:,} of {tensor.numel():,} entries: "
                    f"the update of step {step - 1:,} was too large"
                )
        values = {**parameters, **batch}
        try:
            refuse_nan(trace(self.model.forward, **{n: values[n] for n in self.model.arguments}))
        except Undecided as error:
            line = error.why.partition("\n")[0]
            return f"{error.where}: {line}\n{error.what}"
        return ""

    def save(self) -> None:
        """Write a checkpoint of the step that is done.

        Raises:
            BadInput: a parameter is not finite, or it cannot be written.
        """
        for name, tensor in self.backend.parameters.items():
            if not bool(tensor.isfinite().all()):
                raise BadInput(
                    f"{name} is not finite after step {self.step:,}",
                    why=disk.still_there(self.folder),
                    hint="a smaller --lr, or --clip 1, in another folder with --out",
                )
        ends = self.log.sync()
        tensors = {
            "parameters": self.backend.parameters,
            "optimiser": self.backend.state,
            "random": {"generator": self.generator.get_state()},
        }
        state = {**self.about, "environment": dict(self.environment), "logs": ends}
        disk.save(self.folder, disk.Checkpoint(self.step, tensors, state), self.settings.keep)
