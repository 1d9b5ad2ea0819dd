"""Does a recording hold what the file's own text makes? Its plain lines bear witness.

The recording comes from the process that ran the file, and the file may have reached into it. A
plain assignment at the top level is run by the judge itself, on what the recording says that its
names held: it must make what the recording says. Lines in functions and loops have no such witness.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.check.plain import BUILTINS, Plain
from handgrad.check.recorded.recording import Recording
from handgrad.errors import UserCodeFailed
from handgrad.trace.replay import same

MODULES = {"torch": "torch", "F": "torch.nn.functional"}


def refuse_other(recording: Recording, text: str, file: str) -> None:
    """Refuse a recording that is not of this text.

    Raises:
        UserCodeFailed: a plain line of the text makes something else.
    """
    bound = list(top_level(recording))
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign) or len(node.targets) != 1:
            continue
        target = node.targets[0]
        if not isinstance(target, ast.Name):
            continue
        held = {name: value for line, name, value in bound if line < node.lineno}
        made = {n: value for line, n, value in bound if line == node.lineno}
        if target.id not in made or not Plain({*held}, MODULES).statement(node):
            continue
        again = computed(node, {**recording.program.scalars, **held}).get(target.id)
        if again is not None and not same(again, made[target.id]):
            raise UserCodeFailed(
                "the pass that was recorded is not the one in the file",
                where=f"{file}:{node.lineno}",
                why=ast.unparse(node),
                hint="does the file change torch or handgrad?",
            )


def top_level(recording: Recording) -> Iterator[tuple[int, str, torch.Tensor]]:
    """Yield what names at the top level were bound to, in order: the line, the name, the value."""
    found = [
        (label.line, label.key, recording.values[name])
        for name, labels in recording.labels.items()
        for label in labels
        if not label.depth and not label.held
    ]
    yield from sorted(found, key=lambda each: each[0])


def computed(node: ast.stmt, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run one plain statement, and return its names; none where it does not run by itself."""
    scope = {"__builtins__": dict(BUILTINS), "torch": torch, "F": F, **names}
    try:
        with torch.no_grad():
            exec(compile(ast.Module([node], []), "<line>", "exec"), scope)
    except Exception:  # a number of the file's that is not known here
        return {}
    return scope
