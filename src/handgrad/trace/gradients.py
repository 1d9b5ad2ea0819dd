"""The gradients of a trace: kept, or worked out again when asked where they take much memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ir import Line, Program, names

PIECE = 2**20  # entries

Grads = dict[str, torch.Tensor]


class Gradients(Mapping[str, torch.Tensor]):
    """The gradients of a program's names, which are worked out when the first is asked for.

    Args:
        program: the program.
        values: its tensors by name.
        upstream: the gradient of its output.
        found: the names that have a gradient.
        reach: the largest magnitude among the gradients.
    """

    def __init__(
        self,
        program: Program,
        values: Mapping[str, torch.Tensor],
        upstream: torch.Tensor,
        found: Sequence[str],
        reach: float,
    ) -> None:
        self.program, self.values_of, self.upstream = program, values, upstream
        self.found, self.reach = dict.fromkeys(found), reach
        self.held: Grads = {}

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self.found:
            raise KeyError(name)
        if not self.held:
            self.held = dict(self.in_turn())
        return self.held[name]

    def clear(self) -> None:
        """Let go of what was worked out."""
        self.held = {}

    def in_turn(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each name and its gradient, from the output on, and hold few of them."""
        scope: dict[str, Any] = {"torch": torch, "F": F, **self.program.scalars}
        scope |= {**self.program.externals, **self.values_of}
        grads = {self.program.output: self.upstream}
        waiting = dict(self.found)
        for line in reversed(self.program.lines):
            arrived = {t: grads.pop(t) for t in line.targets if t in grads}
            for name in arrived:
                waiting.pop(name, None)
            yield from arrived.items()
            live = [n for n in names(line.expr) if line.differentiable and n in self.found]
            if not arrived or not live:
                continue
            scope.update({n: self.values_of[n].detach().requires_grad_() for n in live})
            with torch.enable_grad():
                exec(line.text, scope)
            for name, grad in sent_back(line, scope, live, arrived).items():
                grads[name] = grads[name] + grad if name in grads else grad
            scope.update({n: self.values_of[n] for n in (*live, *line.targets)})
        for name in waiting:  # what nothing arrives at was drawn, or written over: 0
            yield name, grads[name] if name in grads else torch.zeros_like(self.values_of[name])


def sent_back(
    line: Line, scope: Mapping[str, Any], live: Sequence[str], grads: Mapping[str, torch.Tensor]
) -> Grads:
    """Return what a line that has run sends back to what it reads."""
    ends = [(scope[t], grads[t]) for t in line.targets if t in grads and scope[t].requires_grad]
    if not ends or not live:
        return {}
    read = [scope[name] for name in live]
    if sum(y.numel() for y, _ in ends) > PIECE:
        made, arrived = zip(*((y, dy.to(y.dtype)) for y, dy in ends), strict=True)
        found = torch.autograd.grad(made, read, arrived, allow_unused=True)
    else:  # the weighted sum starts the same backward pass, and imports no sympy
        with torch.enable_grad():
            parts = [(y * dy.to(y.dtype)).sum() for y, dy in ends]
            total = parts[0] if len(parts) == 1 else torch.stack([p.double() for p in parts]).sum()
        found = torch.autograd.grad(total, read, allow_unused=True)
    return {name: grad for name, grad in zip(live, found, strict=True) if grad is not None}


class InTurn:
    """Gradients that are each asked for once, about from the output on."""

    def __init__(self, grads: Mapping[str, torch.Tensor]) -> None:
        self.grads = grads
        self.coming: Iterator[tuple[str, torch.Tensor]] | None = None
        if isinstance(grads, Gradients) and not grads.held:
            self.coming = grads.in_turn()
        self.early: Grads = {}

    def take(self, name: str) -> torch.Tensor:
        """Return a gradient, and keep only what came before it."""
        if self.coming is None:
            return self.grads[name]
        while name not in self.early:
            other, grad = next(self.coming)
            self.early[other] = grad
        return self.early.pop(name)


def reach_of(grads: Mapping[str, torch.Tensor]) -> float:
    """Return the largest magnitude among gradients."""
    if isinstance(grads, Gradients):
        return grads.reach
    return max(map(largest, grads.values()), default=0.0)


def largest(values: torch.Tensor) -> float:
    """Return the largest magnitude among the finite entries."""
    found = 0.0
    for (part,) in pieces(values):
        most = float(part.abs().max())
        if not math.isfinite(most):
            finite = part[part.isfinite()].abs()
            most = float(finite.max()) if finite.numel() else 0.0
        found = max(found, most)
    return found


def pieces(*many: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield tensors of one shape piece by piece: to compare them takes no memory of their size."""
    if many[0].numel() <= PIECE:
        return iter((many,) if many[0].numel() else ())
    parts = [each.reshape(-1).split(PIECE) for each in many]
    return zip(*parts, strict=True)
