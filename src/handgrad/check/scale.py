"""How large the summands of a gradient are: rounding is judged against them, not the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from handgrad.check.wide import FINE, SHAKE, Shaking, jumps, shaken, wide_code
from handgrad.derive import Backward, derive
from handgrad.errors import HandgradError
from handgrad.ir import Call, Expr, children
from handgrad.spell import spell
from handgrad.trace import Trace
from handgrad.trace.replay import scope_of

ADDITIVE = ("add", "sub", "neg", "sum")
DOUBLE = 1e-9  # of the summands' magnitude, in float64: what rounding may come to
SIGNS = 7  # the seed of the signs


def scales(trace: Trace) -> dict[str, float]:
    """Return for each primal the largest magnitude among the summands of its gradient.

    A gradient that is zero in exact arithmetic, such as a bias' before batch norm, is rounding
    noise: its own size says nothing about how exact it can be.
    """
    found = {name: largest(grad) for name, grad in trace.grads.items()}
    try:
        backward = derive(trace)
    except HandgradError:
        return found
    for name, size in unsteady(backward).items():
        found[name] = max(found[name], size)
    values = {**scope_of(trace.program), **trace.values, **backward.run()}
    values["d" + trace.output] = trace.upstream
    with torch.no_grad():
        for each in backward.lines:
            if not each.primal:
                values[each.name] = eval(spell(each.line.expr), values)
        mixed = values | {name: mix(values[name]) for name in made(backward)}
        for each in backward.lines:
            if each.primal:
                sizes = [largest(eval(spell(e), values)) for e in summands(each.line.expr)]
                sizes.append(largest(eval(spell(each.line.expr), mixed)))
                found[each.primal] = max([found[each.primal], *sizes])
    return found


def unsteady(backward: Backward) -> dict[str, float]:
    """Return for each primal how large its summands seem, by how far changed last bits move it.

    What cancels in one gradient is noise in those that come from it; this sees it there too, and
    what cancels inside a line. A float64 gradient has as much more room as it moves, no more.
    """
    double = backward.trace.upstream.dtype == torch.float64
    steady, coarse, fine = (in_steps(backward, by) for by in (0.0, SHAKE, FINE))
    found = {}
    for name, value in steady.items():
        large, small = (largest(value - other[name]) for other in (coarse, fine))
        if math.isfinite(large) and not jumps(large, small):
            found[name] = large / (DOUBLE if double else SHAKE)
    return found


def in_steps(backward: Backward, by: float) -> dict[str, torch.Tensor]:
    """Return every gradient in float64, each value changed by so much of itself, by primal."""
    trace = backward.trace
    given = {**trace.values, "d" + trace.output: trace.upstream}
    wide = {n: v.double() if v.is_floating_point() else v for n, v in given.items()}
    scope = scope_of(trace.program)
    scope |= {n: shaken(v, by) for n, v in wide.items()}
    found = {}
    with torch.no_grad(), Shaking(by):
        for each in backward.lines:
            exec(wide_code(each.line.text, "<backward>"), scope)
            scope[each.name] = shaken(scope[each.name], by)
            if each.primal:
                found[each.primal] = scope[each.name]
    return found


def summand_size(backward: Backward, primal: str, scope: dict[str, Any]) -> float:
    """Return the largest magnitude of what a derived line adds up.

    Args:
        backward: the derived backward pass.
        primal: whose gradient.
        scope: every forward value and every other gradient.
    """
    scope = scope | parts(backward, scope)
    found = [
        e for each in backward.lines if each.primal == primal for e in summands(each.line.expr)
    ]
    with torch.no_grad():
        return max((largest(eval(spell(e), scope)) for e in found), default=0.0)


def parts(backward: Backward, scope: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return what a derived backward pass has names of its own for, in float64."""
    scope, found = dict(scope), {}
    with torch.no_grad():
        for each in backward.lines:
            if not each.primal:
                exec(wide_code(each.line.text, "<backward>"), scope)
                found[each.name] = scope[each.name]
    return found


def made(backward: Backward) -> set[str]:
    """Return the names of the gradients that a backward pass makes."""
    return {each.name for each in backward.lines if each.primal}


def mix(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor with random signs: what is summed over it no longer cancels."""
    generator = torch.Generator().manual_seed(SIGNS)
    signs = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
    return value * signs.to(value.dtype)


def summands(expr: Expr) -> Iterator[Expr]:
    """Yield what an expression adds up, through additions, sums and signs."""
    if isinstance(expr, Call) and (expr.op.additive or expr.op.name in ADDITIVE):
        for child in children(expr):
            yield from summands(child)
    else:
        yield expr


def largest(value: torch.Tensor) -> float:
    """Return the largest magnitude of an entry."""
    return float(value.abs().max()) if value.numel() else 0.0


def in_double(trace: Trace) -> Mapping[str, torch.Tensor]:
    """Return autograd's gradients with everything computed in float64."""
    scope = scope_of(trace.program)
    for name in trace.program.inputs:
        value = trace.values[name.name]
        wide = value.double() if value.is_floating_point() else value
        scope[name.name] = wide.clone().requires_grad_(name.name in trace.leaves)
    try:
        for line in trace.lines:
            if line.differentiable:
                exec(compile(line.text, "<forward>", "exec"), scope)
            else:
                for target in line.targets:
                    value = trace.values[target]
                    scope[target] = value.double() if value.is_floating_point() else value
        named = {n: scope[n] for n in trace.grads if n in scope}
        upstream = trace.upstream.to(scope[trace.output].dtype)
        total = (scope[trace.output] * upstream).sum()
        grads = torch.autograd.grad(total, list(named.values()))
    except (RuntimeError, TypeError):  # a line that asks for float32 by name
        return {name: grad.double() for name, grad in trace.grads.items()}
    return dict(zip(named, grads, strict=True))
