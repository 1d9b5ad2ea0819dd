"""A brute-force judge of equality: run both backward passes at random points and compare all."""

from __future__ import annotations

import ast
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from mutation.programs import Program, scope_of

SAME = 1e-9  # of the gradient's largest entry
SEEDS = (1, 2, 3)


@cache
def forward_points(program: Program) -> tuple[dict[str, Any], ...]:
    """Return the forward values at random points near the program's own, by running its text."""
    found = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        scope: dict[str, Any] = {"torch": torch, "F": F, **program.trace.program.scalars}
        for given in program.trace.program.inputs:
            value = program.trace.values[given.name]
            if given.name in program.trace.leaves and seed > 1:
                value = value + 0.5 * torch.randn(
                    value.shape, generator=generator, dtype=value.dtype
                )
            scope[given.name] = value
        with torch.no_grad():
            for line in program.trace.lines:
                if line.differentiable:
                    exec(line.text, scope)
                else:
                    scope |= {target: program.trace.values[target] for target in line.targets}
        values = {name: scope[name] for name in program.trace.values}
        if bool(values[program.trace.output].isfinite().all()):
            found.append(values)
    return tuple(found)


def gradients(program: Program, source: str, values: dict[str, Any], noisy: bool) -> dict[str, Any]:
    """Return every gradient that a backward pass leaves, by name; what raised is left out.

    Args:
        program: the forward pass.
        source: the backward pass.
        values: the forward values.
        noisy: add the same random tensor to each gradient when it is done, as if the loss had one
            more term for every name. A path whose true gradient is zero carries something then.
    """
    scope = scope_of(program.trace, values)
    body = ast.parse(source).body
    last = {t: k for k, node in enumerate(body) for t in targets(node)}
    with torch.no_grad():
        for k, node in enumerate(body):
            try:
                exec(compile(ast.Module([node], []), "<backward>", "exec"), scope)
            except Exception:
                continue
            for target in targets(node):
                if noisy and last[target] == k and is_gradient(program, target):
                    noise(scope, target)
    return {n: scope[n] for n in last if n in scope and is_gradient(program, n)}


def noise(scope: dict[str, Any], name: str) -> None:
    """Add a random tensor to a gradient, always the same for a name."""
    value = scope[name]
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        scope[name] = value + torch.randn(value.shape, generator=generator).to(value.dtype)


def targets(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement assigns."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id


def is_gradient(program: Program, name: str) -> bool:
    """Tell whether a name is `d` and a forward name that has a gradient."""
    return name.startswith("d") and name[1:] in program.trace.grads


def equivalent(program: Program, right: str, other: str, *, noisy: bool = True) -> bool:
    """Tell whether two backward passes give the same gradients.

    Args:
        program: the forward pass.
        right: one backward pass.
        other: the other.
        noisy: ask it too with something added to each gradient. Not for a mistake that reads
            another gradient: that it is equal (`da = db` for a sum) holds without such terms only.
    """
    for values in forward_points(program):
        for mode in (False, True) if noisy else (False,):
            one = gradients(program, right, values, mode)
            two = gradients(program, other, values, mode)
            if one.keys() != two.keys():
                return False
            if not all(same(one[n], two[n], floor(one, mode)) for n in one):
                return False
    return True


def floor(found: dict[str, Any], noisy: bool) -> float:
    """Return what counts as nothing: rounding noise beside the largest gradient."""
    sizes = [float(v.abs().max()) for v in found.values() if v.numel()]
    return 0.0 if noisy else 1e-6 * max(sizes, default=0.0)


def same(one: Any, two: Any, least: float) -> bool:
    """Tell whether two tensors are equal in shape, dtype and, but for rounding, in value."""
    if not isinstance(two, torch.Tensor) or one.shape != two.shape or one.dtype != two.dtype:
        return False
    if not one.numel():
        return True
    scale = max(float(one.abs().max()), least)
    return torch.allclose(one, two, rtol=0.0, atol=SAME * scale, equal_nan=True)
