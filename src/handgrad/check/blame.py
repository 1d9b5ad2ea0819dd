"""Blame: which statement makes a gradient wrong, where several have a part in it.

In `dx = ...; dx += ...` each statement's own contribution is compared with the derivative along the
gradients that it reads. Where a gradient is made from names of the user's own, `tmp`, the derived
backward pass tells which of them is wrong (culprit.py); where nothing can be derived, `tmp` is
replaced by the gradient of some forward name, and if all after it is right with that in its place,
`tmp` was meant to be that gradient, and the mistake is in the lines that make it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from handgrad.check.culprit import (
    addition,
    culprit,
    cuts_of,
    first_of_dtype,
    gradient_aim,
    inner_aim,
    is_proved,
    misshapen,
    own_names,
    search,
    unlike_any_term,
    without,
)
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
    inner = in_own_names(judge, name, primal, places)
    return write.statement if inner is None else inner


def in_own_names(judge: Judge, name: str, primal: str, places: tuple[int, ...]) -> int | None:
    """Return the place of the wrong statement among those that make names of the user's own."""
    found = search(judge, cuts_of(judge, name, judge.slice_of(name)))
    if found is not None:
        aim = inner_aim(found, gradient_aim(found, name, primal), places)
        return None if aim is None else culprit(found, aim)
    for own in own_names(judge, name, places):
        meant = meaning(judge, Suspect(name, primal), own)
        if meant is not None and not judge.local(own, primal=meant).right:
            return guilty(judge, own, meant)
    return None


def raised_by(judge: Judge, name: str, primal: str, place: int) -> int:
    """Return the place of the statement by whose mistake another raised, often itself."""
    shape = judge.trace.values[primal].shape
    for write in judge.chain(name):
        other = isinstance(write.value, torch.Tensor) and write.value.shape not in (shape, ())
        if other and write.statement < place:
            return write.statement
    if judge.local(name).right:  # in float64 it does not raise: two dtypes did not fit
        odd = first_of_dtype(judge, name)
        return place if odd is None else min(odd, place)
    inner = in_own_names(judge, name, primal, judge.slice_of(name))
    return place if inner is None else inner


def meaning(judge: Judge, suspect: Suspect, own: str) -> str | None:
    """Return the primal whose gradient a name was meant to be, None where none fits."""
    written = judge.run.writes[own][-1].value
    shape = written.shape if isinstance(written, torch.Tensor) else None
    known = [n for n in judge.trace.grads if n != judge.trace.output]
    known.sort(key=lambda n: judge.trace.grads[n].shape != shape)
    places = without(judge, suspect.name, own)
    if places is None:
        return None
    return next((n for n in known if fits(judge, suspect, own, n, places)), None)


def fits(judge: Judge, suspect: Suspect, own: str, primal: str, places: tuple[int, ...]) -> bool:
    """Tell whether all is right once a name is the gradient of a primal."""
    cut = frozenset({primal})
    return all(
        uses(judge, suspect, places, point, primal)
        and is_right(judge, suspect, places, point, {own: point.cotangents[primal]}, cut)
        for point in judge.points
    )


def is_right(
    judge: Judge,
    suspect: Suspect,
    places: tuple[int, ...],
    point: Point,
    given: dict[str, torch.Tensor],
    more: frozenset[str],
) -> bool:
    """Tell whether statements give the right gradient at a point from a name that is given."""
    try:
        value = judge.evaluate(suspect.name, places, point, point.cotangents, given)
    except Exception:  # the user's own code may raise anything
        return False
    cuts = cuts_of(judge, suspect.name, places if more else judge.slice_of(suspect.name))
    return equal(value, point.expected(suspect.primal, cuts | more))


def uses(
    judge: Judge, suspect: Suspect, places: tuple[int, ...], point: Point, primal: str
) -> bool:
    """Tell whether a gradient has a part that comes through the gradient of a primal."""
    cuts = cuts_of(judge, suspect.name, places) | {primal}
    return bool(point.along(suspect.primal, cuts, frozenset({primal})).any())


def wrong_write(judge: Judge, name: str, primal: str) -> Write:
    """Return the write that is wrong, the last where that cannot be told."""
    chain = judge.chain(name)
    if len(chain) == 1:
        return chain[0]
    odd = misshapen(chain, judge.trace.values[primal].shape)
    if odd is not None:
        return odd
    good = False
    for write in chain:
        part = judge.local(name, upto=write.statement, primal=primal)
        fine = nothing(part) or part.right or part.partial
        if good and not fine:
            return write
        good = fine
    wrong = [w for w in chain if not contributes(judge, name, primal, w)]
    if len(wrong) == 1:
        return wrong[0]
    found = search(judge, cuts_of(judge, name, judge.slice_of(name)))
    unlike = found and unlike_any_term(found, gradient_aim(found, name, primal))
    if unlike is None and len(chain) < len(judge.run.writes[name]):
        return chain[0]  # it overwrites what an earlier line wrote
    return unlike or chain[-1]


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
            if place not in innocent
            and sum(place in made[n] for n in wrong) > 1
            and not any(is_proved(judge, own) for own in judge.body[place].assigns)
        ]
        if shared:
            found[name] = shared[-1]
    return found
