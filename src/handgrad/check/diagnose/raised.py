"""Suspects on a statement that raised."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

from handgrad.check.diagnose.case import Case, found
from handgrad.check.diagnose.repair import one_edit
from handgrad.check.judge import Judge, Local
from handgrad.check.report import Diagnosis


def diagnose_error(judge: Judge, name: str, place: int, error: str) -> Diagnosis | None:
    """Say why a statement raised, where an edit of it gives the truth, or a name is unknown.

    Args:
        judge: the forward pass and the user's statements.
        name: the gradient that it should make.
        place: the statement.
        error: what was raised.
    """
    if error.startswith("NameError") and (unknown := re.search(r"name '(\w+)'", error)):
        return unknown_name(judge, unknown[1], judge.body[place].text)
    primal = judge.primal(name)
    if primal is None:
        return None
    places = needed(judge, name, place)
    read = {r for p in places for r in judge.body[p].reads}
    cuts = frozenset(p for r in read if r != name and (p := judge.primal(r)) is not None)
    full = [p.expected(primal, cuts | {judge.trace.output}) for p in judge.points]
    case = Case(judge, Local(primal, places, cuts, [], full, full, error), name)
    diagnosis = one_edit(case)
    if diagnosis is None or diagnosis.kind != "transpose":
        return diagnosis
    return replace(diagnosis, text=f"{shapes(case, place)}{diagnosis.text}")


def needed(judge: Judge, name: str, place: int) -> tuple[int, ...]:
    """Return the statements that a statement rests on, itself included."""
    found_, todo = {place}, [place]
    while todo:
        at = todo.pop()
        for read in judge.intermediate_reads(at, name):
            for earlier in judge.makers(read, at):
                if earlier not in found_:
                    found_.add(earlier)
                    todo.append(earlier)
    return tuple(sorted(found_))


def unknown_name(judge: Judge, name: str, text: str) -> Diagnosis | None:
    """Say which name was meant."""
    known = [*judge.trace.values, *("d" + n for n in judge.trace.grads), *judge.environment]
    close = difflib.get_close_matches(name, known, 1)
    if not close:
        return None
    return found(
        "name",
        f"there is no {name}; {close[0]} is the nearest name",
        f"{name} is neither a forward name, nor a gradient, nor given",
        re.sub(rf"\b{name}\b", close[0], text),
    )


def shapes(case: Case, place: int) -> str:
    """Return the shapes that do not fit, for a product of two names."""
    product = re.search(r"(\w+) @ (\w+)", case.judge.body[place].text)
    if product is None:
        return ""
    said = []
    for name in product.groups():
        value = case.points[0].values.get(name)
        value = case.points[0].cotangents.get(name[1:]) if value is None else value
        if value is None:
            return ""
        said.append(str(list(value.shape)))
    due = list(case.truth[0].shape)
    return f"{said[0]} @ {said[1]} cannot be multiplied, {case.name} must be {due}: "
