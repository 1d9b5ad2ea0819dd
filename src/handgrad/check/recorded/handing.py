"""A recording as plain data, and back; who takes it up runs its lines again with its own torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from handgrad.check.handover import name_of, told_program, trace_data
from handgrad.check.pack import BadTalk
from handgrad.check.recorded.naming import Label
from handgrad.check.recorded.recording import Recording, Step
from handgrad.check.recorded.uncalled import Untried
from handgrad.check.talk import each, part, texts
from handgrad.errors import BadInput
from handgrad.escape import escaped_name
from handgrad.trace import Trace
from handgrad.trace.replay import replay
from handgrad.trace.values import Value

LONGEST = 200  # characters of what something is called


def recording_data(found: Recording) -> dict[str, Any]:
    """Return a recording as data."""
    trace = Trace(found.program, found.values, {}, (), torch.zeros(()))
    return {
        "program": trace_data(trace),
        "labels": {
            name: [[n.depth, n.home, n.held, n.key, n.text, n.line] for n in labels]
            for name, labels in found.labels.items()
        },
        "steps": {name: [step.line, *step.calls] for name, step in found.steps.items()},
        "marked": sorted(found.marked),
        "asked": sorted(found.asked),
        "still": sorted(found.still),
        "orders": dict(found.orders),
        "own": dict(found.own),
        "losses": list(found.losses),
        "until": found.until,
        "told": found.told,
        "leaving": [list(each) for each in found.leaving],
    }


def recording_of(data: Mapping[str, Any]) -> Recording:
    """Return the recording in a message.

    Raises:
        BadTalk: it does not have the form of one.
        BadInput: a line gives another value here than it gave there.
    """
    program, values = told_program(part(data, "program", dict))
    told = {name: Value(value, 0) for name, value in values.items()}
    program, tensors = replay(program, told)
    labels = {each(n, str): part(data["labels"], n, list) for n in part(data, "labels", dict)}
    steps = {each(n, str): part(data["steps"], n, list) for n in part(data, "steps", dict)}
    marked = texts(data, "marked")
    if not {*values} == {*labels} == {*steps} or not {*marked} <= {*values}:
        raise BadTalk("what values are called is not told of all")
    for name in marked:
        name_of(name, values)
    return Recording(
        program,
        {name: tensor.detach() for name, tensor in tensors.items()},
        {name: tuple(map(label, told)) for name, told in labels.items()},
        {name: step(told) for name, told in steps.items()},
        frozenset(marked),
        frozenset(texts(data, "asked")),
        frozenset(texts(data, "still")),
        {name: part(data["orders"], name, int) for name in values if part(data, "orders", dict)},
        tuple(map(left, part(data, "leaving", list))),
        {n: part(data["own"], n, torch.Tensor) for n in part(data, "own", dict) if n in values},
        tuple(n for n in texts(data, "losses") if n in values),
        part(data, "until", int),
        shown(part(data, "told", str)),
    )


def untried_of(data: Any) -> Untried:
    """Return one pair that could not be called."""
    match data:
        case [str(pair), int(line), str(why)]:
            return Untried(shown(pair), line, shown(why))
        case _:
            raise BadTalk("what could not be called is not told")


def left(data: Any) -> tuple[str, int, int]:
    """Return one value that went where nothing is recorded."""
    match data:
        case [str(name), int(order), int(line)]:
            return name, order, line
        case _:
            raise BadTalk("a reading is none")


def label(data: Any) -> Label:
    """Return one label."""
    match data:
        case [int(depth), int(home), str(held), str(key), str(text), int(line)]:
            return Label(depth, home, shown(held), shown(key), shown(text), line)
        case _:
            raise BadTalk("a label is none")


def shown(text: str) -> str:
    """Return what a person calls something as it may be printed."""
    return escaped_name(text[:LONGEST])


def step(data: list[Any]) -> Step:
    """Return where a line stands."""
    line, *calls = (each(number, int) for number in data or [0])
    return Step(line, tuple(calls))


__all__ = ["BadInput", "recording_data", "recording_of"]
