"""What does the steps: native code on the tensors' own memory, or PyTorch where that cannot be."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from handgrad.native.bind import Bound
from handgrad.native.forms import slot

if TYPE_CHECKING:
    from handgrad.derive import Backward
    from handgrad.native.lower.update import Rule

Rows = Mapping[str, Tensor]
Draws = Callable[[Mapping[str, Tensor]], None]
FIRST = 16  # steps of the first block


@dataclass
class Native:
    """Steps by a compiled function.

    Attributes:
        draw: draws anew what a step reads of random numbers; None where it reads none.
        given: every tensor that was bound, those that only a draw reads too.
        pace: how many steps a block of a run has.
    """

    bound: Bound
    draw: Draws | None = None
    given: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    batches: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    pace: int = FIRST

    def bind(self, name: str, tensor: Tensor) -> None:
        """Give an input its tensor."""
        self.bound.bind(name, tensor)
        self.given[name] = tensor

    def step(self, numbers: Mapping[str, float]) -> Tensor | None:
        """Do a step on what is bound; None if the loss is no finite number."""
        self.bound.set(numbers)
        if self.draw is not None:
            self.draw(self.given)
        bad = self.bound.run()
        return None if bad else self.bound.output("loss").clone()

    def run(
        self, data: Rows, rows: Tensor, numbers: list[Mapping[str, float]], losses: Tensor
    ) -> int:
        """Do steps on rows [steps, batch] of the data; return how many had a finite loss."""
        if self.draw is not None:
            return self.one_by_one(data, rows, numbers, losses)
        bound, batch = self.bound, rows.shape[1]
        used = [name for name in data if name in bound.unit.slots]
        for name in used:
            own = bound.arrays[name]
            if name not in self.batches:
                self.batches[name] = torch.empty(own.shape, dtype=data[name].dtype)
            bound.put(name, self.batches[name])
        names = bound.unit.hypers
        table = torch.tensor([n[k] for n in numbers for k in names], dtype=torch.float64)
        count = len(used)
        into = (ctypes.c_int * max(count, 1))(*[bound.unit.slots.index(n) for n in used])
        starts = (ctypes.c_void_p * max(count, 1))(*[data[n].data_ptr() for n in used])
        sizes = [data[n][0].numel() * data[n].element_size() for n in used]
        call = bound.library.handle.hg_run
        call.restype = ctypes.c_int64
        return call(
            bound.slots,
            bound.arena,
            ctypes.c_void_p(table.data_ptr()),
            ctypes.c_int64(len(rows)),
            ctypes.c_int64(batch),
            ctypes.c_void_p(rows.data_ptr()),
            ctypes.c_int(count),
            into,
            starts,
            (ctypes.c_int64 * max(count, 1))(*sizes),
            ctypes.c_void_p(losses.data_ptr()),
        )

    def one_by_one(
        self, data: Rows, rows: Tensor, numbers: list[Mapping[str, float]], losses: Tensor
    ) -> int:
        """Do steps that draw in between; return how many had a finite loss."""
        for place, now in enumerate(numbers):
            for name, whole in data.items():
                self.bind(name, whole[rows[place]])
            loss = self.step(now)
            losses[place] = math.nan if loss is None else loss
            if loss is None:
                return place
        return len(numbers)


@dataclass
class Eager:
    """Steps by PyTorch, on the derived lines, for where there is no native code."""

    backward: Backward
    leaves: tuple[str, ...]
    rule: Rule
    tensors: dict[str, Any]
    pace: int = FIRST

    def __post_init__(self) -> None:
        from handgrad.derive.step import compile_step  # imports much: native code needs none of it

        step = compile_step(self.backward, self.leaves)
        self.function, self.states = step.by_name, step.states

    def bind(self, name: str, tensor: Tensor) -> None:
        """Give an input its tensor."""
        self.tensors[name] = tensor

    def step(self, numbers: Mapping[str, float]) -> Tensor | None:
        """Do a step on what is bound; None if the loss is no finite number."""
        with torch.no_grad():
            loss, gradients, states = self.function(self.tensors)
            if not math.isfinite(float(loss)):
                return None
            for name, gradient in zip(self.leaves, self.clipped(gradients), strict=True):
                self.update(name, gradient, numbers)
            for name, value in zip(self.states, states, strict=True):
                self.tensors[name].copy_(value)
        return loss

    def clipped(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return gradients whose norm is at most the limit."""
        if self.rule.clip is None:
            return gradients
        from handgrad.native.lower.update import SMALL

        norm = torch.stack([(g * g).sum() for g in gradients]).sum().sqrt()
        scale = (self.rule.clip / (norm + SMALL)).clamp(max=1)
        return tuple(g * scale for g in gradients)

    def update(self, name: str, gradient: Tensor, numbers: Mapping[str, float]) -> None:
        """Change a parameter, and what is kept of it, in place."""
        memory = self.rule.optimiser.memory
        kept = {k: self.tensors[slot(name, k)] for k in memory}
        p, fresh = self.rule.optimiser.update(self.tensors[name], gradient, kept, numbers)
        self.tensors[name].detach().copy_(p)
        for k, value in fresh.items():
            kept[k].copy_(value)

    def run(
        self, data: Rows, rows: Tensor, numbers: list[Mapping[str, float]], losses: Tensor
    ) -> int:
        """Do steps on rows [steps, batch] of the data; return how many had a finite loss."""
        for place, now in enumerate(numbers):
            self.tensors |= {name: whole[rows[place]] for name, whole in data.items()}
            loss = self.step(now)
            losses[place] = math.nan if loss is None else loss
            if loss is None:
                return place
        return len(numbers)
