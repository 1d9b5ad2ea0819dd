"""Truth minus yours: what a hand-written line lacks, in symbols."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from handgrad.derive import Backward
from handgrad.simplify.coefficient import ONE
from handgrad.simplify.identities import alternatives
from handgrad.simplify.normal import Key, Poly, TooLarge
from handgrad.simplify.program import Reading
from handgrad.simplify.refold import Refold, Unwritable

OWN = "_yours"


@dataclass(frozen=True)
class Difference:
    """How a hand-written gradient differs from the right one.

    Attributes:
        missing: what must be added to it, as text; empty where nothing is missing.
        yours: the hand-written one in its shortest form.
        cost: the tensor operations in what is missing.
    """

    missing: str
    yours: str
    cost: float

    @property
    def equal(self) -> bool:
        """Tell whether the two are the same, whatever they look like."""
        return not self.missing


def difference(backward: Backward, name: str, statements: Iterable[str]) -> Difference | None:
    """Compare a hand-written gradient with the derived one, symbol by symbol.

    Args:
        backward: the derived backward pass.
        name: the gradient, `dlogits`.
        statements: the hand-written assignments that make it, in order.

    Returns:
        The difference, or None where a statement or the gradient has no normal form.
    """
    trees = [plain_assignment(text) for text in statements]
    if not trees or any(tree is None for tree in trees):
        return None
    given = {n for tree in trees if tree is not None for n in loads(tree[1])}
    known = {each.name for each in backward.lines} | {backward.start}
    if name not in known:
        return None
    reading = Reading(backward, share=False, fixed=frozenset((given & known) | {name}))
    try:
        reading.read()
        yours = lowered(reading, name, [tree for tree in trees if tree is not None])
        truth = reading.lowered[name].poly
        if backward.start not in given:  # it is 1, and the hand-written line leaves it out
            truth = without_start(truth, backward.start)
        return None if yours is None else compared(reading, name, truth, yours)
    except (TooLarge, ZeroDivisionError):
        return None


def plain_assignment(text: str) -> tuple[str, ast.expr] | None:
    """Return the name and value of an assignment; one that adds has the name in its value."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return None
    match body:
        case [ast.Assign(targets=[ast.Name(id=name)], value=value)]:
            return name, value
        case [ast.AugAssign(target=ast.Name(id=name), op=ast.Add() | ast.Sub() as op, value=value)]:
            return name, ast.BinOp(ast.Name(name, ast.Load()), op, value)
    return None


def loads(node: ast.expr) -> set[str]:
    """Return the names that an expression reads."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def lowered(reading: Reading, name: str, trees: list[tuple[str, ast.expr]]) -> Poly | None:
    """Lower hand-written assignments; what they assign is kept apart from the derived names."""
    made: set[str] = set()
    for target, value in trees:
        renamed = Renamed(made).visit(value)
        expr = reading.scope.parse(ast.unparse(ast.fix_missing_locations(renamed)))
        if expr is None:
            return None
        made.add(target)
        reading.scope.put(target + OWN, expr.shape, expr.dtype)
        reading.sizes.assign(target + OWN, expr)
        reading.lowering.names[target + OWN] = reading.lowering.lower(expr)
    return reading.lowering.names.get(name + OWN)


class Renamed(ast.NodeTransformer):
    """Rename the names that the hand-written lines assigned."""

    def __init__(self, made: set[str]) -> None:
        self.made = made

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Rename one."""
        return ast.Name(node.id + OWN, node.ctx) if node.id in self.made else node


def without_start(poly: Poly, start: str) -> Poly:
    """Return a sum with the upstream gradient of a scalar, 1, left out."""

    def drop(key: Key) -> Poly | None:
        kept = tuple(f for f in key if f[0][0] != start)
        return None if len(kept) == len(key) else Poly({kept: ONE})

    return poly.each(drop)


def compared(reading: Reading, name: str, truth: Poly, yours: Poly) -> Difference | None:
    """Return the difference between a hand-written normal form and the derived one."""
    vocabulary = reading.vocabulary
    own = {
        reading.sizes.find(axis): f"{name[1:]}.shape[{k}]"
        for k, axis in enumerate(reading.sizes.named.get(name[1:], ()))
        if axis
    }
    counted = {reading.sizes.find(axis) for axis in reading.sizes.tied.values()}
    own = {axis: text for axis, text in own.items() if axis not in counted}
    refold = Refold(reading.ring, vocabulary, {**reading.shown, **own})
    names = reading.lowering.names
    words = [names[word.name] for word in vocabulary.words if word.name in names]
    rest = reading.facts.reduce(truth - yours)
    forms = alternatives(reading.ring, words, reading.facts.reduce, rest)
    rank = len(reading.lowered[name].line.shape)
    try:
        mine = refold.show(yours, rank).text
    except Unwritable:
        mine = ""
    if any(not form.terms for form in forms):
        return Difference("", mine, 0)
    pieces = []
    for form in forms:
        try:
            pieces.append(refold.show(form, rank))
        except (Unwritable, TooLarge):
            continue
    best = min(pieces, key=lambda piece: piece.rank, default=None)
    return None if best is None else Difference(best.text, mine, best.cost)
