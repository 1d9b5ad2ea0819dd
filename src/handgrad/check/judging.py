"""Judge a person's file without running it: another process does, and is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handgrad.check.apart import Apart, Relayed, ask, environment_of
from handgrad.check.byhand import remarked
from handgrad.check.failing import bug, out_of_memory, told
from handgrad.check.handover import trace_of
from handgrad.check.judge import Judge
from handgrad.check.pack import BadTalk
from handgrad.check.picture import picture
from handgrad.check.report import Report, Verdict
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
        return {"kind": "report", **found(judge_apart(request, talk))}
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
    return found(file_judge(target, forward))


def found(judge: Judge) -> dict[str, Any]:
    """Return what came of a check as plain data."""
    report = remarked(reported(judge), judge)
    return {"report": report.to_dict(), "pictures": pictures(judge, report)}


def pictures(judge: Judge, report: Report) -> dict[str, Any]:
    """Return where each wrong gradient is wrong."""
    made: dict[str, Any] = {}
    for row in report.rows:
        if row.verdict is not Verdict.WRONG or row.shape != row.expected_shape:
            continue
        with contextlib.suppress(Exception):  # it is an extra: its failure says nothing
            local = judge.local(row.name)
            drawn = picture(local.values[0], local.full[0]) if not local.error else None
            if drawn is not None:
                made[row.name] = drawn.to_dict()
    return made
