"""What does the steps: native code on the tensors' own memory, or PyTorch where that cannot be."""

from __future__ import annotations

import ctypes
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.derive import Backward
from handgrad.native.bind import Bound
from handgrad.native.lower.update import SMALL, Rule, slot

Rows = Mapping[str, Tensor]


@dataclass
class Native:
    """Steps by a compiled function."""

    bound: Bound
    batches: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def bind(self, name: str, tensor: Tensor) -> None:
        """Give an input its tensor."""
        self.bound.bind(name, tensor)

    def step(self, numbers: Mapping[str, float]) -> Tensor | None:
        """Do a step on what is bound; None if the loss is no finite number."""
        self.bound.set(numbers)
        bad = self.bound.run()
        return None if bad else self.bound.output("loss").clone()

    def run(
        self, data: Rows, rows: Tensor, numbers: list[Mapping[str, float]], losses: Tensor
    ) -> int:
        """Do steps on rows [steps, batch] of the data; return how many had a finite loss."""
        bound, batch = self.bound, rows.shape[1]
        used = [name for name in data if name in bound.unit.slots]
        for name in used:
            own = bound.arrays[name]
            if name not in self.batches:
                self.batches[name] = torch.empty(own.shape, dtype=data[name].dtype)
            bound.put(name, self.batches[name])
        names = bound.unit.hypers
        table = torch.tensor([[n[k] for k in names] for n in numbers], dtype=torch.float64)
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


@dataclass
class Eager:
    """Steps by PyTorch, on the derived lines, for where there is no native code."""

    backward: Backward
    leaves: tuple[str, ...]
    rule: Rule
    tensors: dict[str, Any]

    def __post_init__(self) -> None:
        self.function = function_of(self.backward, self.leaves)

    def bind(self, name: str, tensor: Tensor) -> None:
        """Give an input its tensor."""
        self.tensors[name] = tensor

    def step(self, numbers: Mapping[str, float]) -> Tensor | None:
        """Do a step on what is bound; None if the loss is no finite number."""
        with torch.no_grad():
            loss, gradients = self.function(self.tensors)
            if not math.isfinite(float(loss)):
                return None
            for name, gradient in zip(self.leaves, self.clipped(gradients), strict=True):
                self.update(name, gradient, numbers)
        return loss

    def clipped(self, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return gradients whose norm is at most the limit."""
        if self.rule.clip is None:
            return gradients
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


def function_of(
    backward: Backward, leaves: tuple[str, ...]
) -> Callable[[Mapping[str, Any]], tuple[Tensor, tuple[Tensor, ...]]]:
    """Return forward and backward lines as one function of the inputs by name."""
    trace = backward.trace
    gradients = "".join(f"d{name}, " for name in leaves)
    lines = [line.text for line in (*trace.lines, *(each.line for each in backward.lines))]
    names = [name.name for name in trace.program.inputs] + list(trace.program.scalars)
    body = textwrap.indent("\n".join([*lines, f"return {trace.output}, ({gradients})"]), "    ")
    scope: dict[str, Any] = {"torch": torch, "F": F, backward.start: trace.upstream}
    exec(compile(f"def step({', '.join(names)}):\n{body}\n", "<step>", "exec"), scope)
    step = scope["step"]
    scalars = dict(trace.program.scalars)

    def function(tensors: Mapping[str, Any]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return step(**scalars, **{n.name: tensors[n.name] for n in trace.program.inputs})

    return function
