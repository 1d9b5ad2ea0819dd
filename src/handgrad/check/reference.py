"""What a gradient should be, given just the gradients it was computed from."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch

from handgrad.check.wide import wide_code
from handgrad.ir import Line
from handgrad.trace import Trace
from handgrad.trace.replay import scope_of

CONSTANT = 1e-6  # of the largest entry: what differs less than that is all but equal


@dataclass(eq=False)
class Point:
    """The forward pass in float64 at one point, with a random cotangent for every name.

    Attributes:
        values: every forward value.
        cotangents: a random cotangent in the shape of each, 1 for the output.
        codes: the forward lines, compiled.
        readers: for each name the places of the lines that read it and have a gradient.
    """

    trace: Trace
    values: dict[str, Any]
    cotangents: dict[str, torch.Tensor]
    codes: dict[str, CodeType]
    readers: Mapping[str, list[int]]
    memo: dict[tuple[str, frozenset[str], frozenset[str]], torch.Tensor] = field(
        default_factory=dict
    )

    def expected(self, name: str, cuts: frozenset[str]) -> torch.Tensor:
        """Return the VJP to a name through exactly the cut names.

        Each cut name's cotangent is the random one; a path that passes a cut name ends there.

        Args:
            name: the primal whose cotangent is wanted.
            cuts: the names whose cotangents are given.
        """
        return self.along(name, cuts, cuts)

    def along(self, name: str, cuts: frozenset[str], counted: frozenset[str]) -> torch.Tensor:
        """Return the part of a VJP through cut names that comes from some of them.

        Args:
            name: the primal whose cotangent is wanted.
            cuts: the names where paths end.
            counted: those of them whose cotangents count; the others' are zero.
        """
        key = name, cuts, counted
        if key not in self.memo:
            self.memo[key] = self.through(name, cuts, counted)
        return self.memo[key]

    def through(self, name: str, cuts: frozenset[str], counted: frozenset[str]) -> torch.Tensor:
        """Run the lines below a name again with autograd, cut at the given names."""
        start = self.values[name].detach().clone().requires_grad_()
        scope = dict(self.values)
        scope[name] = start
        total = torch.zeros((), dtype=torch.float64)
        waiting = list(self.readers.get(name, ()))  # only what a name reaches, in order
        done: set[int] = set()
        while waiting:
            place = heapq.heappop(waiting)
            line = self.trace.lines[place]
            if place in done or name in line.targets:
                continue
            done.add(place)
            exec(self.codes[line.text], scope)
            for target in line.targets:
                if target not in cuts:
                    for reader in self.readers.get(target, ()):
                        heapq.heappush(waiting, reader)
                    continue
                if target in counted:
                    total = total + (self.cotangents[target] * scope[target]).sum()
                scope[target] = scope[target].detach()
        if name in cuts and name == self.trace.output:
            return self.cotangents[name]
        if not total.requires_grad:
            return torch.zeros_like(start)
        (grad,) = torch.autograd.grad(total, start, allow_unused=True)
        return torch.zeros_like(start) if grad is None else grad


def reads(line: Line) -> list[str]:
    """Return the names that a forward line reads."""
    from handgrad.ir import names

    return names(line.expr)


def readers_in(trace: Trace) -> dict[str, list[int]]:
    """Return for each name the places of the lines that read it and have a gradient, in order."""
    found: dict[str, list[int]] = {}
    for place, line in enumerate(trace.lines):
        for name in reads(line) if line.differentiable else ():
            found.setdefault(name, []).append(place)
    return found


def points(trace: Trace, seed: int = 0) -> tuple[Point, ...]:
    """Return the run's own point and one nearby, where masks and winners differ.

    A mistake in a branch that the run never took, or at a parameter that starts at zero, shows
    only at the second.
    """
    codes = {line.text: wide_code(line.text, "<forward>") for line in trace.lines}
    generator = torch.Generator().manual_seed(seed + 20)
    made = [point_at(trace, codes, generator, shift) for shift in (0.0, 0.35)]
    return tuple(p for p in made if p is not None)


def far_point(trace: Trace, near: Point, factor: float) -> Point | None:
    """Return the forward pass at leaves many times as large and of random sign, if it is finite."""
    generator = torch.Generator().manual_seed(int(factor))
    return point_at(trace, near.codes, generator, 0.35, factor)


def widened(value: torch.Tensor) -> torch.Tensor:
    """Return a copy, of a floating-point tensor in float64."""
    return value.double().clone() if value.is_floating_point() else value.clone()


def moved(
    value: torch.Tensor, generator: torch.Generator, shift: float, factor: float
) -> torch.Tensor:
    """Return a leaf moved by a random part of its size, and beyond a factor of 1 enlarged."""
    if not value.numel():
        return value
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    value = value + shift * spread(value) * noise
    return value * torch.where(noise > 0, factor, -factor) if factor > 1 else value


def spread(value: torch.Tensor) -> float:
    """Return how far entries differ; of entries that are all but equal, how large they are."""
    size = float(value.abs().max())
    differ = float(value.std()) if value.numel() > 1 else size
    return differ if differ > CONSTANT * size else size or 1.0


def point_at(
    trace: Trace,
    codes: Mapping[str, CodeType],
    generator: torch.Generator,
    shift: float,
    factor: float = 1.0,
) -> Point | None:
    """Return the forward pass with its leaves moved by a random part of their size.

    Args:
        trace: the forward pass.
        codes: its lines, compiled.
        generator: of the moves.
        shift: how far, in standard deviations of a leaf.
        factor: above 1, what the leaves are multiplied by, with random signs.
    """
    scope = scope_of(trace.program)
    for name in (known.name for known in trace.program.inputs):
        scope[name] = widened(trace.values[name])
        if shift and name in trace.leaves:
            scope[name] = moved(scope[name], generator, shift, factor)
    with torch.no_grad():
        for line in trace.lines:
            if line.differentiable:
                try:
                    exec(codes[line.text], scope)
                except RuntimeError:
                    return None
            else:
                scope |= {target: widened(trace.values[target]) for target in line.targets}
    if not bool(scope[trace.output].isfinite().all()):
        return None
    values = {name: scope[name] for name in trace.values}
    cotangents = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in values.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
    cotangents[trace.output] = trace.upstream.double()
    environment = {**scope_of(trace.program), **values}
    return Point(trace, environment, cotangents, dict(codes), readers_in(trace))
