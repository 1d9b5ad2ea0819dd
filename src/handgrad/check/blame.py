"""Blame: which statement makes a gradient wrong, where several have a part in it.

Two ways, both with proof. In `dx = ...; dx += ...` each statement's own contribution is compared
with the derivative along the gradients that it reads. And a name of the user's own, `tmp`, is
replaced by the gradient of some forward name: where everything after it is right with that in its
place, `tmp` was meant to be that gradient, and the mistake is in the lines that make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from handgrad.check.judge import Judge, Local, equal
from handgrad.check.reference import Point
from handgrad.check.run import Write


@dataclass(frozen=True)
class Suspect:
    """A name that should be the gradient of a primal."""

    name: str
    primal: str


def guilty(judge: Judge, name: str, primal: str) -> int:
    """Return the place of the statement that makes a gradient wrong.

    Args:
        judge: the forward pass and the user's statements.
        name: a name that should be the gradient, and is not.
        primal: of what.
    """
    write = wrong_write(judge, name, primal)
    places = judge.slice_of(name, write.statement)
    for own in own_names(judge, name, places):
        meant = meaning(judge, Suspect(name, primal), own)
        if meant is not None and not judge.local(own, primal=meant).right:
            return guilty(judge, own, meant)
    return write.statement


def raised_by(judge: Judge, name: str, primal: str, place: int) -> int:
    """Return the place of the statement by whose mistake another raised, often itself."""
    shape = judge.trace.values[primal].shape
    for write in judge.chain(name):
        other = isinstance(write.value, torch.Tensor) and write.value.shape not in (shape, ())
        if other and write.statement < place:
            return write.statement
    for own in own_names(judge, name, judge.slice_of(name)):
        meant = meaning(judge, Suspect(name, primal), own)
        if meant is not None and not judge.local(own, primal=meant).right:
            return guilty(judge, own, meant)
    return place


def own_names(judge: Judge, name: str, places: tuple[int, ...]) -> list[str]:
    """Return the names that statements make on the way to a gradient, the last made first."""
    last: dict[str, int] = {}
    for own, writes in judge.run.writes.items():
        made = [w.statement for w in writes if w.statement in places]
        if made and own != name and judge.primal(own) is None:
            last[own] = made[-1]
    return sorted(last, key=lambda own: -last[own])


def meaning(judge: Judge, suspect: Suspect, own: str) -> str | None:
    """Return the primal whose gradient a name was meant to be, None where none fits."""
    written = judge.run.writes[own][-1].value
    shape = written.shape if isinstance(written, torch.Tensor) else None
    known = [n for n in judge.trace.grads if n != judge.trace.output]
    known.sort(key=lambda n: judge.trace.grads[n].shape != shape)
    places = judge.slice_of(suspect.name, without=own)
    if places == judge.slice_of(suspect.name):
        return None
    return next((n for n in known if fits(judge, suspect, own, n, places)), None)


def fits(judge: Judge, suspect: Suspect, own: str, primal: str, places: tuple[int, ...]) -> bool:
    """Tell whether all is right once a name is the gradient of a primal."""
    read = (judge.primal(n) for n in judge.candidates(suspect.name, places))
    cuts = frozenset({n for n in read if n} | {primal})
    whole = cuts | {judge.trace.output}
    for point in judge.points:
        truth = point.expected(suspect.primal, whole)
        if not uses(point, suspect.primal, whole, primal):
            return False
        try:
            given = {own: point.cotangents[primal]}
            value = judge.evaluate(suspect.name, places, point, point.cotangents, given)
        except Exception:  # the user's own code may raise anything
            return False
        if not equal(value, truth):
            return False
    return True


def uses(point: Point, name: str, cuts: frozenset[str], one: str) -> bool:
    """Tell whether a gradient has a part that comes through one of the cuts."""
    return bool(point.along(name, cuts, frozenset({one})).any())


def wrong_write(judge: Judge, name: str, primal: str) -> Write:
    """Return the write that is wrong, the last where that cannot be told."""
    chain = judge.chain(name)
    if len(chain) == 1:
        return chain[0]
    good = False
    for write in chain:
        part = judge.local(name, upto=write.statement, primal=primal)
        fine = nothing(part) or part.right or part.partial
        if good and not fine:
            return write
        good = fine
    wrong = [w for w in chain if not contributes(judge, name, primal, w)]
    return wrong[0] if len(wrong) == 1 else chain[-1]


def nothing(part: Local) -> bool:
    """Tell whether a value is a start of zeros."""
    return not part.cuts and not any(bool(v.any()) for v in part.values)


def contributes(judge: Judge, name: str, primal: str, write: Write) -> bool:
    """Tell whether what a write adds is the derivative along the gradients that it reads."""
    places = judge.slice_of(name)
    everywhere = frozenset(p for n in judge.candidates(name, places) if (p := judge.primal(n)))
    for point in judge.points:
        try:
            added = addition(judge, name, write, point, point.cotangents)
            used = frozenset(moving(judge, name, write, point, added, everywhere))
        except Exception:  # the user's own code may raise anything
            return False
        if not equal(added, point.along(primal, everywhere | {judge.trace.output}, used)):
            return False
    return True


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


def moving(
    judge: Judge,
    name: str,
    write: Write,
    point: Point,
    added: torch.Tensor,
    primals: frozenset[str],
) -> Iterator[str]:
    """Yield the primals on whose cotangents an addition depends."""
    for primal in primals:
        changed = dict(point.cotangents)
        changed[primal] = changed[primal] * 1.7 + 0.3
        if not equal(addition(judge, name, write, point, changed), added):
            yield primal


def common(judge: Judge, wrong: list[str], right: list[str]) -> dict[str, int]:
    """Return for wrong gradients the statement that all of them share, by name.

    Where several gradients come from one name of the user's own, and every one of them is wrong,
    the mistake is in that name: it would be a coincidence that each has one of its own.

    Args:
        judge: the forward pass and the user's statements.
        wrong: gradients that are wrong, each at its own last line.
        right: gradients that are right.
    """
    made = {n: judge.slice_of(n) for n in (*wrong, *right)}
    ends = {write.statement for n in made for write in judge.run.writes[n]}
    innocent = {place for n in right for place in made[n]} | ends
    found: dict[str, int] = {}
    for name in wrong:
        shared = [
            place
            for place in made[name]
            if place not in innocent and sum(place in made[n] for n in wrong) > 1
        ]
        if shared:
            found[name] = shared[-1]
    return found
