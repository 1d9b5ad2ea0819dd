"""Judge a person's file without running it: another process does, and is asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from handgrad.check.apart import Apart, Relayed, ask, environment_of
from handgrad.check.byhand import remarked
from handgrad.check.drawn import pictures
from handgrad.check.failing import bug, out_of_memory, told
from handgrad.check.handover import trace_of
from handgrad.check.judge import Judge
from handgrad.check.pack import BadTalk
from handgrad.check.recorded.files import is_straight, record_file
from handgrad.check.recorded.handing import recording_of
from handgrad.check.recorded.judged import judged
from handgrad.check.recorded.witness import refuse_other
from handgrad.check.runner import narrow
from handgrad.check.statements import of_nodes
from handgrad.check.talk import Talk
from handgrad.check.ways import file_judge, reported, text_body
from handgrad.check.witness import agrees
from handgrad.errors import HandgradError, UserCodeFailed
from handgrad.trace.files import compiled, read_source, split


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
    """Judge a file as it was recorded, or by its lines where every name in it means one thing.

    What cannot be recorded is judged by its lines too; and where these are called wrong, the
    recording has the last word: a gradient may follow another convention, and be made good.
    """
    text = read_source(Path(request["target"]))
    compiled(Path(request["target"]), text)
    alone = request["forward"] is not None
    straight = alone or is_straight(text)
    whole = None if straight else judged_whole(request, talk, text)
    if whole is not None:
        return whole
    lines = found(judge_apart(request, talk))
    if alone or not straight or lines["report"]["ok"]:
        return lines
    whole = judged_whole(request, talk, text)
    return whole if whole is not None and whole["report"]["ok"] else lines


def judged_whole(request: Mapping[str, Any], talk: Talk, text: str) -> dict[str, Any] | None:
    """Judge a file that another process records whole, None where it cannot be recorded."""
    try:
        recording = recording_of(ask(talk, {"do": "record", "text": text}))
        refuse_other(recording, text, request["target"])
        return judged(recording, text)
    except (Relayed, HandgradError):
        return None


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
    straight = forward is not None or is_straight(text)
    lines = found(file_judge(target, forward)) if straight else None
    if forward is None and (lines is None or not lines["report"]["ok"]):
        with suppress(HandgradError):
            whole = judged(record_file(path, text), text)
            if lines is None or whole["report"]["ok"]:
                return whole
    return lines or found(file_judge(target, forward))


def found(judge: Judge) -> dict[str, Any]:
    """Return what came of a check as plain data."""
    report = remarked(reported(judge), judge)
    return {"report": report.to_dict(), "pictures": pictures(judge, report.rows)}
