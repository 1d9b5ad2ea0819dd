"""A backward pass beside a forward pass that was traced apart from it, recorded as a file is."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import torch

from handgrad.check.drawn import pictures
from handgrad.check.judge import Judge
from handgrad.check.recorded.files import is_straight
from handgrad.check.recorded.judged import report_of
from handgrad.check.recorded.recording import Over, Recording, Whole, recording
from handgrad.check.recorded.settle import Settlement
from handgrad.check.recorded.telling import Told
from handgrad.check.report import Report, Verdict
from handgrad.check.statements import Statement
from handgrad.errors import HandgradError
from handgrad.trace import Trace
from handgrad.trace.replay import scope_of
from handgrad.trace.ways import run_recorded

WRONG = (Verdict.WRONG, Verdict.SHAPE, Verdict.UNCONFIRMED)
MEMORY = {"alias", "stale"}
numbers = count(1)


def settled_report(
    trace: Trace, body: tuple[Statement, ...], environment: Mapping[str, Any], lines: Report | None
) -> Report | None:
    """Return what statements came to by their lines, or as they were recorded if that says more.

    Where a gradient is called wrong, the recording may tell that it follows another convention:
    that it reads a sum which is a gradient too, or is made good later.

    Args:
        trace: the forward pass.
        body: the statements of the backward pass.
        environment: other names that they may read.
        lines: what the lines came to, None where they cannot be judged.
    """
    if lines is not None and not any(row.verdict in WRONG for row in lines.rows):
        return lines
    if lines is not None and by_memory(row.diagnosis.kind for row in lines.rows if row.diagnosis):
        return lines
    made = recorded_report(trace, body, environment)
    if made is None:
        return lines
    whole, text = made[0], written(body)
    if whole.ok or not is_straight(text) or lines is None or bad(whole) < bad(lines):
        return whole
    return lines


def judged_given(
    trace: Trace, body: tuple[Statement, ...], environment: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return what statements came to as they were recorded as plain data, None if they cannot be.

    Args:
        trace: the forward pass.
        body: the statements of the backward pass.
        environment: other names that they may read.
    """
    made = recorded_report(trace, body, environment)
    if made is None:
        return None
    whole, report, told, judge = made
    drawn = {told.name(n): each for n, each in pictures(judge, report.rows).items()}
    return {"report": whole.to_dict(), "pictures": drawn}


def recorded_report(
    trace: Trace, body: tuple[Statement, ...], environment: Mapping[str, Any]
) -> tuple[Report, Report, Told, Judge] | None:
    """Return what statements came to as they were recorded, None where that says nothing.

    It says nothing where a gradient would have to be one of something else than its name says.
    """
    try:
        text = written(body)
        found = record_given(trace, body, environment, text)
        report, told, judge = report_of(trace, found, text)
    except (HandgradError, SyntaxError):
        return None
    return (told.report(report), report, told, judge) if keeps_names(told.found) else None


def keeps_names(found: Settlement) -> bool:
    """Tell whether what is called `d` + a forward name for good is settled as its gradient."""
    aliases = found.trace.aliases
    last: dict[str, str] = {}
    for line in found.body:
        for target in line.targets:
            for label in found.recording.labels[target]:
                primal = aliases.get(label.key[1:], label.key[1:])
                if not label.held and label.key[:1] == "d" and primal in found.trace.grads:
                    last[primal] = target
    settled = {**found.of, **found.parts}
    return all(settled.get(target) == primal for primal, target in last.items())


def by_memory(kinds: Iterable[str]) -> bool:
    """Tell whether a mistake is one of order or memory, which straight lines do not show."""
    return not MEMORY.isdisjoint(kinds)


def bad(report: Report) -> tuple[int, int]:
    """Return how many gradients are not confirmed, and how many are not right."""
    verdicts = [row.verdict for row in report.rows]
    return verdicts.count(Verdict.UNCONFIRMED), sum(not each.good for each in verdicts)


def written(body: Iterable[Statement]) -> str:
    """Return statements as one text, each at its line."""
    rows: dict[int, str] = {}
    for statement in body:
        for number, row in enumerate(text_of(statement).splitlines(), statement.line):
            rows[number] = f"{rows[number]}; {row}" if number in rows else row
    return "\n".join(rows.get(number, "") for number in range(1, max(rows, default=0) + 1))


def text_of(statement: Statement) -> str:
    """Return a statement's text; an entry of a dict that is returned binds its name."""
    node = ast.parse(f"(\n{statement.text}\n)" if statement.text[:1] in " (" else statement.text)
    alone = isinstance(node.body[0], ast.Expr) and len(statement.assigns) == 1
    return f"{next(iter(statement.assigns))} = ({statement.text})" if alone else statement.text


def record_given(
    trace: Trace, body: tuple[Statement, ...], environment: Mapping[str, Any], text: str
) -> Recording:
    """Run a backward pass on a forward pass' values, and return what it did to tensors.

    Raises:
        HandgradError: it cannot be recorded, or does nothing.
    """
    recorder = Whole()
    scope, supplied = given(recorder, trace, body, environment)
    file = f"<backward {next(numbers)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    try:
        code = compile(text, file, "exec", dont_inherit=True)
        with suppress(Over), torch.no_grad():
            run_recorded(recorder, lambda: exec(code, scope), (), {})
        recorder.look(scope, 0, 0)
    except HandgradError:
        raise
    except Exception as error:  # the user's own code may raise anything
        raise HandgradError(f"the backward pass raised {type(error).__name__}") from error
    finally:
        del linecache.cache[file]
    if all(value.op is None for value in recorder.values):
        raise HandgradError("the backward pass does nothing to tensors")
    found, _ = recording(recorder)
    return replace(
        found,
        values={**found.values, **trace.values},
        marked=frozenset(trace.leaves),
        asked=found.asked,
        losses=(trace.output,),
        until=0,
        supplied=supplied,
    )


def given(
    recorder: Whole,
    trace: Trace,
    body: tuple[Statement, ...],
    environment: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a backward pass may read, and the gradients among it, with their primals."""
    scope = {**environment, **scope_of(trace.program)}
    for name, value in trace.values.items():
        scope[name] = value.clone()
        recorder.input(scope[name], name)
    scope |= {other: scope[name] for other, name in trace.aliases.items()}
    read = {name for statement in body for name in statement.reads}
    read -= {name for statement in body for name in statement.assigns}
    supplied = {"d" + primal: primal for primal in trace.grads if "d" + primal in read}
    for name, primal in supplied.items():
        truth = trace.upstream if primal == trace.output else trace.grads[primal]
        scope[name] = truth.clone()
        recorder.input(scope[name], name)
    scope.setdefault("d" + trace.output, trace.upstream.clone())
    return scope, supplied
