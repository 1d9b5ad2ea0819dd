"""Backward lines without second names: `a = b` goes, and what reads `a` reads `b`."""

from __future__ import annotations

from dataclasses import replace

from handgrad.derive import Backward, BackwardLine
from handgrad.derive.hoist import inside
from handgrad.emit.shapes import renamed
from handgrad.ir import Expr, Name


def direct(backward: Backward) -> Backward:
    """Return a backward pass in which no part of a line has two names."""
    other: dict[str, Name] = {}
    kept: list[BackwardLine] = []
    for each in backward.lines:
        expr = read_from(each.line.expr, other)
        if isinstance(expr, Name) and not each.primal:
            other[each.name] = expr
            continue
        text = renamed(each.line.text, {old: new.name for old, new in other.items()})
        kept.append(replace(each, line=replace(each.line, expr=expr, text=text)))
    return replace(backward, lines=tuple(kept)) if other else backward


def read_from(expr: Expr, other: dict[str, Name]) -> Expr:
    """Return an expression that reads other names."""
    if isinstance(expr, Name):
        return other.get(expr.name, expr)
    return inside(expr, lambda part: read_from(part, other))
