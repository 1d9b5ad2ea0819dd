"""Names for what simplified lines would otherwise compute twice."""

from __future__ import annotations

from typing import Any

from handgrad.derive import BackwardLine
from handgrad.derive.hoist import Hoist
from handgrad.ir import Call, Expr, Line, Name, names, walk
from handgrad.simplify.count import count
from handgrad.simplify.layout import permuted
from handgrad.spell import fits, spell
from handgrad.trace import Trace

MANY = 3  # a reshape that is written so often gets a name
LONG = 400  # characters: what takes so many to write does more than one thing


class Alike(Hoist):
    """Sums and products are the same whichever operand comes first: so is what they give."""

    def parts(self, call: Call) -> tuple[Any, ...]:
        """Return the keys of a call's arguments, in an order of their own where both are alike."""
        found = super().parts(call)
        if call.op.index in ("y[I] = a[I] * b[I]", "y[I] = a[I] + b[I]"):
            return tuple(sorted((key for _, key in found), key=str))
        return found


def hoisted(
    trace: Trace, lines: tuple[BackwardLine, ...], linear: set[str], taken: set[str]
) -> tuple[BackwardLine, ...]:
    """Return lines in which every part that occurs twice has a line of its own before them.

    Args:
        trace: the forward pass.
        lines: the lines.
        linear: the names that are cotangents.
        taken: names that are not free.
    """
    hoist = Alike()
    whole = {hoist.key(each.line.expr): each for each in reversed(lines)}
    named: dict[Any, Name] = {}
    parts: list[BackwardLine] = []
    for part in repeated(hoist, [each.line.expr for each in lines]):
        key = hoist.key(part)
        expr = hoist.exchange(part, named)
        each = whole.get(key)
        if each is None:
            first = next(each for each in lines if key in keys(hoist, each.line.expr))
            cotangent = bool(linear & set(names(part)))
            base = trace.lines[first.forward].target
            name = fresh(f"d{base}" if cotangent else base, taken)
            if cotangent:
                linear.add(name)
            each = BackwardLine(Line((name,), expr, ""), "", first.forward)
        named[key] = Name(each.name, part.shape, part.dtype)
        parts.append(rewritten(each, expr))
    return placed(hoist, lines, named, parts) if parts else lines


def placed(
    hoist: Hoist,
    lines: tuple[BackwardLine, ...],
    named: dict[Any, Name],
    parts: list[BackwardLine],
) -> tuple[BackwardLine, ...]:
    """Return the lines with the parts' lines, each before the first that reads it."""
    waiting = {each.name: each for each in parts}
    own = set(waiting)
    found: list[BackwardLine] = []

    def add(each: BackwardLine) -> None:
        for name in names(each.line.expr):
            if name in waiting:
                add(waiting.pop(name))
        found.append(each)

    for each in lines:
        expr = hoist.exchange(each.line.expr, named)
        if each.name in waiting:
            add(waiting.pop(each.name))
        elif each.name not in own:
            add(each if expr is each.line.expr else rewritten(each, expr))
    return tuple(found)


def rewritten(each: BackwardLine, expr: Expr) -> BackwardLine:
    """Return a line that assigns another expression."""
    line = Line(each.line.targets, expr, f"{each.name} = {spell(expr)}")
    return BackwardLine(line, each.primal, each.forward, each.contributions)


def repeated(hoist: Hoist, roots: list[Expr]) -> list[Expr]:
    """Return the parts that do something and occur in more than one place, inner ones first."""
    return [node for node, uses in hoist.occurring(roots) if uses > 1 and worth(node, uses)]


def worth(node: Expr, uses: int) -> bool:
    """Tell whether a name for a part saves tensor operations, or many reshapes."""
    if not isinstance(node, Call) or node.op.several or node.op.random:
        return False
    views = node.op.index is None and permuted(node) is None and uses >= MANY
    work = count(spell(node)) if fits(node, LONG) else MANY
    scalar = work <= 1 and not node.shape  # costs less than the name
    return (work > 0 and not scalar) or (views and bool(node.op.rules))


def keys(hoist: Hoist, root: Expr) -> set[Any]:
    """Return the keys of all parts of an expression."""
    return {hoist.key(node) for node in walk(root)}


def fresh(base: str, taken: set[str]) -> str:
    """Return a name that is not taken."""
    k = 1
    while f"{base}_{k}" in taken:
        k += 1
    taken.add(f"{base}_{k}")
    return f"{base}_{k}"
