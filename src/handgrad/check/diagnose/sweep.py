"""Gradients of parts of the forward pass: by one use, with a name held constant."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from handgrad.check.reference import Point, reads


def contributions(
    point: Point, primal: str, cuts: frozenset[str], given: Mapping[str, torch.Tensor] | None = None
) -> dict[int, torch.Tensor]:
    """Return the part of a gradient that comes by each forward line that reads the primal.

    Args:
        point: where.
        primal: the forward name.
        cuts: the names whose cotangents are given.
        given: those cotangents, the point's own random ones by default.
    """
    copies, total = run(point, primal, cuts, frozenset(), given)
    kept = list(copies)
    if total is None or not kept:
        return {}
    grads = torch.autograd.grad(total, [copies[k] for k in kept], allow_unused=True)
    parts = zip(kept, grads, strict=True)
    return {place: torch.zeros_like(copies[place]) if g is None else g for place, g in parts}


def held(point: Point, primal: str, cuts: frozenset[str], constant: frozenset[str]) -> torch.Tensor:
    """Return a gradient as it would be if some forward names did not depend on the primal."""
    copies, total = run(point, primal, cuts, constant, None)
    zero = torch.zeros_like(point.values[primal])
    if total is None:
        return zero
    grads = torch.autograd.grad(total, list(copies.values()), allow_unused=True)
    return sum((g for g in grads if g is not None), zero)


def run(
    point: Point,
    primal: str,
    cuts: frozenset[str],
    constant: frozenset[str],
    given: Mapping[str, torch.Tensor] | None,
) -> tuple[dict[int, torch.Tensor], torch.Tensor | None]:
    """Run the lines below a name, each reading a copy of it; return copies and weighted sum."""
    value, scope = point.values[primal], dict(point.values)
    cotangents = point.cotangents if given is None else given
    copies: dict[int, torch.Tensor] = {}
    total, reached = torch.zeros((), dtype=torch.float64), set[str]()
    for place, line in enumerate(point.trace.lines):
        read = set(reads(line))
        if primal in line.targets or not line.differentiable or not read & (reached | {primal}):
            continue
        if primal in read:
            scope[primal] = copies[place] = value.detach().clone().requires_grad_()
        exec(point.codes[line.text], scope)
        scope[primal] = value
        reached.update(line.targets)
        for target in line.targets:
            if target in cuts and target in cotangents:
                total = total + (cotangents[target] * scope[target]).sum()
            if target in cuts or target in constant:
                scope[target] = scope[target].detach()
                reached.discard(target)
    return copies, total if total.requires_grad else None


def between(point: Point, primal: str, cuts: frozenset[str]) -> list[str]:
    """Return the names that depend on a primal and come before the cuts, in order."""
    reached, found = {primal}, []
    for line in point.trace.lines:
        if not line.differentiable or not reached & set(reads(line)):
            continue
        for target in line.targets:
            if target not in cuts and target != primal:
                reached.add(target)
                found.append(target)
    return found
