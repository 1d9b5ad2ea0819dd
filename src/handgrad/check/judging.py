"""Judge a person's file without running it: another process does, and is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from handgrad.check.apart import Apart, Relayed, ask, environment_of, imports_of
from handgrad.check.byhand import remarked
from handgrad.check.drawn import pictures
from handgrad.check.failing import bug, out_of_memory, told
from handgrad.check.handover import trace_of
from handgrad.check.judge import Judge
from handgrad.check.pack import BadTalk
from handgrad.check.plain import BUILTINS
from handgrad.check.recorded.files import FileRun, is_numpy_alone, is_straight
from handgrad.check.recorded.given import by_memory, judged_given, written
from handgrad.check.recorded.handing import recording_of, untried_of
from handgrad.check.recorded.judged import judged
from handgrad.check.recorded.recording import Recording
from handgrad.check.recorded.uncalled import Untried
from handgrad.check.recorded.witness import refuse_other
from handgrad.check.report import Verdict
from handgrad.check.runner import narrow
from handgrad.check.statements import of_nodes
from handgrad.check.talk import Talk, part
from handgrad.check.ways import file_judge, reported, text_body
from handgrad.check.witness import agrees
from handgrad.errors import HandgradError, UserCodeFailed
from handgrad.trace.files import compiled, read_source, split

Told = dict[str, Any]  # a report and its pictures, as plain data


def verdict(request: Mapping[str, Any], talk: Talk) -> Mapping[str, Any]:
    """Return the frame of what a check came to.

    Raises:
        Ended: the other process is gone.
    """
    try:
        return {"kind": "report", **judged_both(request, talk)}
    except Relayed as relayed:
        return relayed.frame
    except BadTalk as error:
        what = f"what came back from the file's process is no result: {error}"
        hint = "does the file change torch or handgrad?"
        parts = {"what": what, "where": request["target"], "why": "", "try": hint}
        return {"kind": "error", "code": 3, **parts}
    except HandgradError as error:
        return {"kind": "error", **told(error)}
    except MemoryError as error:
        return out_of_memory(error, request)
    except Exception as error:  # whatever happens, the keeper is told
        return bug(error)


def judged_both(request: Mapping[str, Any], talk: Talk) -> dict[str, Any]:
    """Judge a file as it was recorded, and by its lines."""
    text = read_source(Path(request["target"]))
    compiled(Path(request["target"]), text)
    if request["forward"] is not None:
        return beside(judge_apart(request, talk))
    return better(
        is_straight(text),
        lambda: judged_whole(request, talk, text),
        lambda: found(judge_apart(request, talk)),
    )


def better(
    straight: bool, whole: Callable[[], Told | None], lines: Callable[[], Told]
) -> dict[str, Any]:
    """Return what a file came to as it was recorded; by its lines where that tells more.

    Where something is wrong in a file in which every name means one thing, its own lines say it
    best; where these cannot be judged, or more of them are called wrong, the recording does: a
    gradient may follow another convention, and be made good.

    Args:
        straight: every name in the file means one thing.
        whole: judges the recording, None where there is none.
        lines: judges the lines.

    Raises:
        HandgradError: neither can be judged.
    """
    recorded = whole()
    if recorded is not None and (recorded["report"]["ok"] or not straight):
        return recorded
    try:
        told = lines()
    except (Relayed, HandgradError):
        if recorded is None:
            raise
        return recorded
    return told if recorded is None or bad(told) <= bad(recorded) else recorded


def bad(told: Told) -> tuple[int, int]:
    """Return how many gradients are not confirmed, and how many are not right."""
    verdicts = [row["verdict"] for row in told["report"]["rows"]]
    wrong = [each for each in verdicts if not Verdict(each).good]
    return verdicts.count(Verdict.UNCONFIRMED.value), len(wrong)


def judged_whole(request: Mapping[str, Any], talk: Talk, text: str) -> dict[str, Any] | None:
    """Judge a file that another process records whole, None where it cannot be recorded.

    Raises:
        HandgradError: nothing else can judge it, for it is NumPy alone.
    """
    try:
        whole = part(ask(talk, {"do": "record", "text": text}), "whole", list)
        recording = recording_of(whole[0]) if whole else None
        if recording is not None:
            refuse_other(recording, text, request["target"])
        return judged(recording, lambda: rest_of(ask(talk, {"do": "rest"})), text)
    except (Relayed, BadTalk, HandgradError):
        if is_numpy_alone(text):
            raise
        return None


def rest_of(told: Mapping[str, Any]) -> tuple[list[Recording], list[Untried]]:
    """Return what another process told of what a file never calls.

    Raises:
        BadTalk: it does not have the form of it.
    """
    found = list(map(recording_of, part(told, "recordings", list)))
    return found, list(map(untried_of, part(told, "untried", list)))


def judge_apart(request: Mapping[str, Any], talk: Talk) -> Judge:
    """Return what judges a file that another process runs."""
    target = request["target"]
    path = Path(target)
    text = read_source(path)
    compiled(path, text)
    head, tail = split(text, target) if request["forward"] is None else (None, [])
    trace = trace_of(ask(talk, {"do": "trace", "text": text}))
    if head is not None:
        body, kind = of_nodes(tail, text, target), "tail"
    else:
        body, inside = text_body(trace, text, target)
        kind = "function" if inside else "text"
    question = {"do": "body", "text": text, "kind": kind, "wide": narrow(trace)}
    environment = environment_of(ask(talk, question), body)
    if head is not None and not agrees(head, trace, environment):
        raise UserCodeFailed(
            "the forward pass that was recorded is not the one in the file",
            where=target,
            hint="does the file change torch or handgrad?",
        )
    return Judge(trace, body, environment, Apart(trace, body, environment, talk))


def result(target: str, forward: str | None) -> dict[str, Any]:
    """Check a file in this process and return what came of it as plain data."""
    path, text = Path(target), read_source(Path(target))
    compiled(path, text)

    def whole() -> Told | None:
        try:
            run = FileRun(path, text)
            return judged(run.whole(), run.rest, text)
        except HandgradError:
            if is_numpy_alone(text):
                raise
            return None

    if forward is not None:
        return beside(file_judge(target, forward))
    return better(is_straight(text), whole, lambda: found(file_judge(target)))


def beside(judge: Judge) -> Told:
    """Return what a backward pass came to that has its forward pass elsewhere.

    Raises:
        HandgradError: it cannot be judged.
    """
    lines = partial(found, judge)
    if judge.runner.apart(tuple(range(len(judge.body)))):
        return lines()
    inside = isinstance(judge.runner, Apart)
    body = tuple(s for s in judge.body if not inside or not imports_of(s))
    environment = judge.environment | ({"__builtins__": dict(BUILTINS)} if inside else {})
    try:
        told = lines()
    except HandgradError as error:
        told = judged_given(judge.trace, body, environment)
        if told is None:
            raise error
        return told
    kinds = (row["diagnosis"]["kind"] for row in told["report"]["rows"] if row["diagnosis"])
    if told["report"]["ok"] or by_memory(kinds):
        return told
    whole = partial(judged_given, judge.trace, body, environment)
    return better(is_straight(written(body)), whole, lambda: told)


def found(judge: Judge) -> dict[str, Any]:
    """Return what came of a check as plain data."""
    report = remarked(reported(judge), judge)
    return {"report": report.to_dict(), "pictures": pictures(judge, report.rows)}
