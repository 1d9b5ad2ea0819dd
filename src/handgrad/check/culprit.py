"""Culprit: which line makes a name of the user's own wrong, told by the derived backward pass.

A name of the user's own is given the value of a derived name, or of a part of a derived line. Where
what is made from it is right then, it should have been that, and the mistake is in the lines that
make it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import torch

from handgrad.check.judge import Judge, equal
from handgrad.check.reference import Point
from handgrad.check.run import Write
from handgrad.check.wide import wide_code
from handgrad.derive import Backward
from handgrad.ir import Call, Expr, Name, names, walk
from handgrad.spell import spell

MOST_TERMS = 6  # of a sum of which every part is tried
MOST_PARTS = 400  # of derived lines that are tried for one name
NEAREST = 100  # names of the user's own that are tried for one other
MOST_RUN = 200_000  # statements that are run to find one mistake


@dataclass(frozen=True, eq=False)
class Aim:
    """What a name should hold.

    Attributes:
        name: the user's.
        expr: what makes it from derived names and forward values, None where that is not known.
        truth: its right value at each point.
    """

    name: str
    expr: Expr | None
    truth: tuple[torch.Tensor, ...]


@dataclass(eq=False)
class Search:
    """A derived backward pass run at each point, from the gradients that the user's lines read.

    Attributes:
        judge: the forward pass and the user's statements.
        backward: the derived backward pass.
        cuts: the primals whose gradients are given.
        scopes: all that a derived line may read, for each point.
        memo: the values of texts, for each point.
        run: how many statements were run.
    """

    judge: Judge
    backward: Backward
    cuts: frozenset[str]
    scopes: tuple[dict[str, Any], ...]
    memo: dict[tuple[str, int], torch.Tensor | None] = field(default_factory=dict)
    run: int = 0

    @property
    def made(self) -> list[str]:
        """Return the derived names that are computed."""
        return [e.name for e in self.backward.lines if not (e.primal and e.primal in self.cuts)]

    def line(self, name: str) -> Expr | None:
        """Return what a derived name is made of."""
        return next((e.line.expr for e in self.backward.lines if e.name == name), None)

    def value(self, text: str, point: int) -> torch.Tensor | None:
        """Return the value of an expression at a point, None where it is no tensor."""
        key = text, point
        if key not in self.memo:
            self.memo[key] = computed(text, self.scopes[point])
        return self.memo[key]

    def values(self, text: str) -> tuple[torch.Tensor, ...] | None:
        """Return the values of an expression at every point, None where one is no tensor."""
        found = [self.value(text, point) for point in range(len(self.scopes))]
        tensors = tuple(v for v in found if v is not None)
        return tensors if len(tensors) == len(found) else None


def computed(text: str, scope: Mapping[str, Any]) -> torch.Tensor | None:
    """Return the value of an expression in float64, None where it is no tensor."""
    own = dict(scope)
    try:
        with torch.no_grad():
            exec(wide_code(f"part = {text}", "<part>"), own)
    except Exception:  # a size or mask of another point
        return None
    value = own["part"]
    return value.double() if isinstance(value, torch.Tensor) else None


def search(judge: Judge, cuts: frozenset[str]) -> Search | None:
    """Run the derived backward pass from given gradients, None where that cannot be done.

    Args:
        judge: the forward pass and the user's statements.
        cuts: the primals whose gradients are given; all others are computed.
    """
    if judge.derived is None or not judge.points:
        return None
    try:
        scopes = tuple(run_derived(judge.derived, point, cuts) for point in judge.points)
    except Exception:  # a size or mask of another point
        return None
    return Search(judge, judge.derived, cuts, scopes)


def run_derived(backward: Backward, point: Point, cuts: frozenset[str]) -> dict[str, Any]:
    """Return every name after the derived backward pass ran at a point, in float64."""
    scope = point.values | {"d" + n: point.cotangents[n] for n in cuts}
    with torch.no_grad():
        for each in backward.lines:
            if not (each.primal and each.primal in cuts):
                exec(wide_code(each.line.text, "<backward>"), scope)
    return scope


def culprit(found: Search, aim: Aim, above: frozenset[str] = frozenset()) -> int:
    """Return the place of the statement that makes a name wrong.

    Args:
        found: the derived backward pass.
        aim: the name, and what it should hold.
        above: names that are made from it, and are right once it is.
    """
    write = wrong_write(found, aim)
    above |= {aim.name}
    inner = inner_aim(found, aim, found.judge.slice_of(aim.name, write.statement), above)
    return write.statement if inner is None else culprit(found, inner, above)


def inner_aim(
    found: Search, aim: Aim, places: tuple[int, ...], above: frozenset[str] = frozenset()
) -> Aim | None:
    """Return what a name of the user's own should have been for another to be right."""
    judge = found.judge
    known = [n for n in own_names(judge, aim.name, places) if n not in above]
    owns = [n for n in known[:NEAREST] if without(judge, aim.name, n)]
    for way in (by_name, by_part):
        for own in owns:
            text, expr = way(found, aim, own)
            truth = found.values(text) if text else None
            if truth and not is_innocent(judge, aim.name, own, text):
                return Aim(own, expr, truth)
    return None


def by_name(found: Search, aim: Aim, own: str) -> tuple[str, Expr | None]:
    """Return the derived name with whose value a name makes another right, and what it is."""
    before = made_from(found.backward, aim.expr)
    known = [n for n in found.made if n in before]
    text = first_that_mends(found, aim, own, known)
    return text, found.line(text)


def by_part(found: Search, aim: Aim, own: str) -> tuple[str, Expr | None]:
    """Return the part of a derived line with whose value a name makes another right.

    It may be the whole line, where the other is a mere copy. A name that holds such a part already
    is what it should be: what is made of it is wrong.
    """
    known = parts(found, aim.expr)
    if holds_any(found, own, list(known)):
        return "", None
    text = first_that_mends(found, aim, own, list(known))
    return text, known.get(text)


def first_that_mends(found: Search, aim: Aim, own: str, texts: list[str]) -> str:
    """Return the first text with whose value a name makes another right, empty for none."""
    places = without(found.judge, aim.name, own) or ()
    held = found.judge.run.writes[own][-1].value
    shape = held.shape if isinstance(held, torch.Tensor) else None
    known = {t: v for t in texts if (v := found.value(t, 0)) is not None}
    ordered = sorted(known, key=lambda t: known[t].shape != shape)
    return next((t for t in ordered if mends(found, aim, places, {own: t})), "")


def parts(found: Search, expr: Expr | None) -> dict[str, Expr]:
    """Return what makes a name, its parts, and those of the lines that it names, by their text.

    Derived names are followed to the first line, forward names to the line that makes them.
    """
    lines = {e.name: e.line.expr for e in found.backward.lines if e.name in found.made}
    forward = {t: line.expr for line in found.judge.trace.lines for t in line.targets}
    todo, known = [expr] if expr is not None else [], dict[str, Expr]()
    seen = set[str]()
    while todo and len(known) < MOST_PARTS:
        for node in walk(todo.pop(0)):
            known |= {spell(node): node} if isinstance(node, Call) else {}
            if not isinstance(node, Name) or node.name in seen:
                continue
            seen.add(node.name)
            if node.name in lines:
                todo.append(lines[node.name])
            elif node.name in forward:
                made = forward[node.name]
                known |= {node.name: made}
                known |= {spell(part): part for part in walk(made) if isinstance(part, Call)}
    return known


def holds_any(found: Search, own: str, texts: list[str]) -> bool:
    """Tell whether a name of the user's own holds just what one of some texts gives."""
    judge, places = found.judge, found.judge.slice_of(own)
    try:
        held = [judge.evaluate(own, places, p, p.cotangents) for p in judge.points]
    except Exception:  # the user's own code may raise anything
        return False
    return any(
        all(equal(value, truth) for value, truth in zip(held, known, strict=True))
        for text in texts
        if (first := found.value(text, 0)) is not None
        and equal(held[0], first)
        and (known := found.values(text))
    )


def made_from(backward: Backward, expr: Expr | None) -> set[str]:
    """Return the derived names on the way to an expression."""
    read = {each.name: set(names(each.line.expr)) for each in backward.lines}
    todo, found = [set(names(expr)) if expr is not None else set[str]()], set[str]()
    while todo:
        new = (todo.pop() & read.keys()) - found
        found |= new
        todo += [read[name] for name in new]
    return found


def mends(found: Search, aim: Aim, places: tuple[int, ...], given: Mapping[str, str]) -> bool:
    """Tell whether a name is right at every point once others hold what some texts give."""
    for k, (point, truth) in enumerate(zip(found.judge.points, aim.truth, strict=True)):
        held = {own: found.value(text, k) for own, text in given.items()}
        known = {own: value for own, value in held.items() if value is not None}
        if len(known) < len(held) or found.run > MOST_RUN:
            return False
        found.run += len(places)
        try:
            value = found.judge.evaluate(aim.name, places, point, point.cotangents, known)
        except Exception:  # the user's own code may raise anything
            return False
        if not equal(value, truth):
            return False
    return True


def is_innocent(judge: Judge, name: str, own: str, text: str) -> bool:
    """Tell whether a right gradient rests on what a name holds, and would not be with other values.

    That a gradient is right is no such proof where it is with the derived value too: a bias'
    gradient is the same sum however the entries are permuted. Then the name must also hold just
    what some part of a derived line does.
    """
    places = {write.statement for write in judge.run.writes[own]}
    others = [n for n in judge.run.writes if n not in (name, own) and judge.primal(n) is not None]
    users = [n for n in others if places & set(judge.slice_of(n)) and judge.local(n).right]
    if any(not still_right(judge, n, own, text) for n in users):
        return True
    return bool(users) and is_proved(judge, own)


def still_right(judge: Judge, name: str, own: str, text: str) -> bool:
    """Tell whether a gradient is right when a name holds what a text gives."""
    primal, places = judge.primal(name), without(judge, name, own)
    found = search(judge, cuts_of(judge, name, judge.slice_of(name)))
    if primal is None or places is None or found is None:
        return False
    return mends(found, gradient_aim(found, name, primal), places, {own: text})


def gradient_aim(found: Search, name: str, primal: str) -> Aim:
    """Return that a name should hold a gradient, from given ones."""
    expr = next((e.line.expr for e in found.backward.lines if e.primal == primal), None)
    return Aim(name, expr, tuple(p.expected(primal, found.cuts) for p in found.judge.points))


def is_proved(judge: Judge, own: str) -> bool:
    """Tell whether a name of the user's own holds just what some part of a derived line does."""
    found = search(judge, cuts_of(judge, own, judge.slice_of(own)))
    if found is None:
        return False
    texts = [t for e in found.backward.lines for t in (e.name, *parts(found, e.line.expr))]
    return holds_any(found, own, list(dict.fromkeys(texts)))


def cuts_of(judge: Judge, name: str, places: tuple[int, ...]) -> frozenset[str]:
    """Return the primals of the gradients that statements read, and the output."""
    read = (judge.primal(n) for n in judge.candidates(name, places))
    return frozenset({n for n in read if n} | {judge.trace.output})


def own_names(judge: Judge, name: str, places: tuple[int, ...]) -> list[str]:
    """Return the names that statements make on the way to a gradient, the last made first."""
    last: dict[str, int] = {}
    for own, writes in judge.run.writes.items():
        made = [w.statement for w in writes if w.statement in places]
        if made and own != name and judge.primal(own) is None:
            last[own] = made[-1]
    return sorted(last, key=lambda own: -last[own])


def without(judge: Judge, name: str, own: str) -> tuple[int, ...] | None:
    """Return the statements that make a gradient once a name is given, None if it plays no part."""
    places = judge.slice_of(name, without=own)
    return None if places == judge.slice_of(name) else places


def wrong_write(found: Search, aim: Aim) -> Write:
    """Return the write that makes a name wrong, the last where that cannot be told."""
    chain = found.judge.chain(aim.name)
    odd = misshapen(chain, aim.truth[0].shape)
    return odd or unlike_any_term(found, aim) or chain[-1]


def misshapen(chain: list[Write], shape: torch.Size) -> Write | None:
    """Return the write from which on a name has a wrong shape to the end, None if it ends right."""
    first = None
    for write in reversed(chain):
        value = write.value
        if not isinstance(value, torch.Tensor) or value.shape in (shape, ()):
            break
        first = write
    return first


def first_of_dtype(judge: Judge, name: str, dtype: torch.dtype | None = None) -> int | None:
    """Return the first statement towards a gradient that makes a tensor of a wrong dtype.

    Args:
        judge: the forward pass and the user's statements.
        name: the gradient.
        dtype: the wrong one, any other than the forward pass' by default.

    Returns:
        Its place; None where the forward pass itself is of several dtypes.
    """
    kinds = {g.dtype for g in judge.trace.grads.values()}
    places = set(judge.slice_of(name))
    made = [
        write.statement
        for writes in judge.run.writes.values()
        for write in writes
        if write.statement in places
        and isinstance(write.value, torch.Tensor)
        and write.value.is_floating_point()
        and write.value.dtype not in kinds
        and dtype in (None, write.value.dtype)
    ]
    return min(made, default=None) if len(kinds) == 1 else None


def unlike_any_term(found: Search, aim: Aim) -> Write | None:
    """Return the one write of `x = a; x += b` that adds no part of the derived sum, if one does."""
    chain, points = found.judge.chain(aim.name), range(len(found.scopes))
    texts = list(addends(ast.parse(spell(aim.expr), mode="eval").body)) if aim.expr else []
    if not 1 < len(texts) <= MOST_TERMS:
        return None
    values = [[v for t in texts if (v := found.value(t, k)) is not None] for k in points]
    try:
        unlike = [w for w in chain if not is_some_term(found.judge, aim.name, w, values)]
    except Exception:  # the user's own code may raise anything
        return None
    return unlike[0] if len(unlike) == 1 else None


def is_some_term(judge: Judge, name: str, write: Write, values: list[list[torch.Tensor]]) -> bool:
    """Tell whether what a write adds is one term of a sum, or several, the same at every point."""
    added = [addition(judge, name, write, p, p.cotangents) for p in judge.points]
    count = len(values[0])
    return any(
        all(adds(a, [v[k] for k in chosen]) for a, v in zip(added, values, strict=True))
        for size in range(1, count + 1)
        for chosen in combinations(range(count), size)
    )


def adds(added: torch.Tensor, chosen: list[torch.Tensor]) -> bool:
    """Tell whether what was added is the sum of some terms, stretched to its shape."""
    try:
        whole = sum(chosen[1:], start=chosen[0]).expand_as(added)
    except RuntimeError:  # of another shape
        return False
    return equal(added, whole)


def addends(node: ast.expr, sign: str = "") -> Iterator[str]:
    """Yield the terms of a sum as text."""
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            yield from addends(left, sign)
            turned = "" if sign else "-"
            yield from addends(right, turned if isinstance(op, ast.Sub) else sign)
        case _:
            yield f"{sign}({ast.unparse(node)})"


def addition(
    judge: Judge, name: str, write: Write, point: Point, cotangents: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Return what a write adds to a name."""
    chain = judge.chain(name)
    after = judge.evaluate(name, judge.slice_of(name, write.statement), point, cotangents)
    before = [w for w in chain if w.statement < write.statement]
    if not before:
        return after
    places = judge.slice_of(name, before[-1].statement)
    return after - judge.evaluate(name, places, point, cotangents)
