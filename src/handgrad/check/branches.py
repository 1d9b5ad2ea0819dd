"""Which branches of the forward pass ran: a line whose branch never ran is not tested by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from handgrad.check.reference import Point, far_point, reads
from handgrad.ir import Call, Expr, Line, Static, walk
from handgrad.spell import spell
from handgrad.trace import Trace

SIGNS = ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "abs", "sign", "hardswish")
CLAMPS = ("clamp", "clamp_below", "clamp_above", "clamp_min", "clamp_max", "hardtanh")
PAIRS = ("maximum", "minimum")
COMPARISONS = ("gt", "lt", "ge", "le")
FAR = (10.0, 100.0, 1000.0)


@dataclass(frozen=True, eq=False)
class Branch:
    """A condition of the forward pass with two sides.

    Attributes:
        line: the forward line.
        text: the condition, `x > 0`.
        needs: the truth values that it should have somewhere.
    """

    line: Line
    text: str
    needs: frozenset[bool] = frozenset({True, False})


def branches(trace: Trace) -> tuple[Branch, ...]:
    """Return every condition on which a differentiable line's value depends."""
    found = {
        (line.text, text): Branch(line, text, needs)
        for line in trace.lines
        if line.differentiable
        for part in walk(line.expr)
        if isinstance(part, Call)
        for text, needs in conditions(part.op.name, part.args)
    }
    return tuple(found.values())


def conditions(name: str, args: Mapping[str, object]) -> Iterator[tuple[str, frozenset[bool]]]:
    """Yield the conditions of one call, and which truth values each should have somewhere."""
    texts = {k: said(v) for k, v in args.items()}
    if name == "mul":
        yield from ((f"{t} != 0", frozenset({True})) for t in texts.values() if t.isidentifier())
    for text in choices(name, texts):
        yield text, frozenset({True, False})


def choices(name: str, texts: Mapping[str, str]) -> Iterator[str]:
    """Yield what decides between two branches of a call."""
    if name in SIGNS:
        yield f"{texts['x']} > 0"
    elif name in CLAMPS:
        for key, sign in (("min", "<"), ("min_val", "<"), ("max", ">"), ("max_val", ">")):
            if texts.get(key, "None") != "None":
                yield f"{texts['x']} {sign} {texts[key]}"
    elif name in PAIRS:
        yield f"{texts['a']} > {texts['b']}"
    elif name in COMPARISONS:
        sign = {"gt": ">", "lt": "<", "ge": ">=", "le": "<="}[name]
        yield f"{texts['a']} {sign} {texts['b']}"
    elif name in ("where", "masked_fill"):
        yield texts["condition" if name == "where" else "mask"]


def said(value: object) -> str:
    """Return an operand as text, in parentheses where it is more than a name."""
    if isinstance(value, Static):
        return value.text
    if isinstance(value, Expr):
        text = spell(value)
        return text if text.isidentifier() else f"({text})"
    return repr(value)


def one_sided(trace: Trace, points: tuple[Point, ...]) -> tuple[Branch, ...]:
    """Return the conditions that never have a truth value that they should have somewhere."""
    return tuple(
        b for b in branches(trace) if not b.needs <= {s for p in points for s in sides(b, p)}
    )


def sides(branch: Branch, point: Point) -> set[bool]:
    """Return which truth values a condition has at a point; both where it cannot be told."""
    try:
        with torch.no_grad():
            found = eval(branch.text, dict(point.values))
    except Exception:  # a condition on what has no name here
        return {True, False}
    if isinstance(found, bool):
        return {found}
    factor = branch.needs == {True} and isinstance(found, torch.Tensor) and found.dim()
    if factor or not isinstance(found, torch.Tensor) or found.dtype != torch.bool:
        return {True, False}  # a tensor of zeros, such as a first hidden state, is no switch
    return set(found.unique().tolist()) if found.numel() else {True, False}


def with_far_points(trace: Trace, points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Return points with others added, far from them, where branches run that did not yet."""
    missing = one_sided(trace, points)
    for factor in FAR:
        if not missing or not points:
            break
        further = far_point(trace, points[0], factor)
        if further is None:
            continue
        left = one_sided(trace, (*points, further))
        if len(left) < len(missing):
            points, missing = (*points, further), left
    return points


def untested(
    trace: Trace, dead: tuple[Branch, ...], name: str, cuts: frozenset[str]
) -> Branch | None:
    """Return a one-sided condition on the way from a name to the gradients that it is made of."""
    reached = {name}
    for line in trace.lines if dead else ():
        if name in line.targets or not line.differentiable or not reached & set(reads(line)):
            continue
        found = next((b for b in dead if b.line is line), None)
        if found is not None:
            return found
        reached |= set(line.targets) - cuts
    return None
