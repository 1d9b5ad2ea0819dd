"""Products in another order: `dy * (a * b)` as `(dy * b) * a` where `dy * b` is there anyway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from handgrad.derive import Backward, BackwardLine
from handgrad.derive.hoist import inside
from handgrad.ir import Call, Expr, Item, Line, Name, children
from handgrad.simplify.hoisting import Alike
from handgrad.spell import spell

TIMES = "y[I] = a[I] * b[I]"


def regrouped(backward: Backward, again: Iterable[str]) -> Backward:
    """Return a backward pass in which fewer products are made again.

    Args:
        backward: the backward pass.
        again: the forward names that it would make again.
    """
    places = {line.targets: place for place, line in enumerate(backward.trace.lines)}
    for name in again:
        place = places.get((name,))
        made = None if place is None else backward.trace.lines[place].expr
        if place is not None and isinstance(made, Call) and made.op.index == TIMES:
            a, b = made.args["a"], made.args["b"]
            for left, right in ((a, b), (b, a)):
                if isinstance(left, Name) and isinstance(right, Name):
                    backward = without(backward, place, made, left, right)
    return backward


def without(backward: Backward, place: int, made: Call, left: Name, right: Name) -> Backward:
    """Return a backward pass that reads the gradient of a factor instead of a product."""
    hoist = Alike()
    whole = Name(backward.trace.lines[place].target, made.shape, made.dtype)
    start = Name(f"d{whole.name}", whole.shape, whole.dtype)
    new = Name(f"d{left.name}", whole.shape, whole.dtype)
    taken = {*backward.inputs, *backward.trace.values, *(each.name for each in backward.lines)}
    part, old = times(made, start, right), times(made, start, whole)
    swaps: dict[Any, Expr] = {hoist.key(part): new, hoist.key(old): times(made, new, left)}
    counts = [sum(has(hoist, each.line.expr, key) for each in backward.lines) for key in swaps]
    if new.name in taken or not all(counts):
        return backward
    lines: list[BackwardLine] = []
    for each in backward.lines:
        expr = exchanged(hoist, each.line.expr, swaps)
        if expr is not each.line.expr and not any(line.name == new.name for line in lines):
            lines.append(line_of(BackwardLine(each.line, "", place), new.name, part))
        lines.append(each if expr is each.line.expr else line_of(each, each.name, expr))
    return replace(backward, lines=tuple(lines))


def times(made: Call, a: Expr, b: Expr) -> Call:
    """Return a product, as another one is made."""
    return replace(made, args={"a": a, "b": b}, constant=False)


def line_of(each: BackwardLine, name: str, expr: Expr) -> BackwardLine:
    """Return a line with another right side."""
    return replace(each, line=Line((name,), expr, f"{name} = {spell(expr)}"))


def has(hoist: Alike, expr: Expr, key: Any) -> bool:
    """Tell whether an expression has a part."""
    return hoist.key(expr) == key or any(has(hoist, part, key) for part in children(expr))


def exchanged(hoist: Alike, expr: Expr, swaps: Mapping[Any, Expr]) -> Expr:
    """Return an expression with parts exchanged for others; itself where it has none of them."""
    if (other := swaps.get(hoist.key(expr))) is not None:
        return other
    if isinstance(expr, Name) or not any(has(hoist, expr, key) for key in swaps):
        return expr
    assert isinstance(expr, Call | Item)
    return inside(expr, lambda part: exchanged(hoist, part, swaps))
