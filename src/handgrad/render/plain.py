"""Results as plain text: aligned, never wrapped, the same on every run; for pipes and files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from handgrad.escape import escaped
from handgrad.render import words
from handgrad.render.words import bracketed, inputs, leaves, tensor, totals

if TYPE_CHECKING:
    from handgrad.explain import Reason
    from handgrad.simplify import Step
    from handgrad.trace import Trace

LONGEST = 80  # a longer cell does not widen its column


def shapes(trace: Trace) -> str:
    """Return leaves, inputs and forward lines with what they make and read, then the totals."""
    made = [(n, bracketed(s), d, f"{entries:,}") for (n, s, d), entries in leaves(trace)]
    blocks = [["leaves", *columns(made)]]
    if inputs(trace):
        blocks.append(["inputs", *columns(inputs(trace))])
    rows = [
        (
            row.line,
            ", ".join(map(tensor, row.makes)),
            ", ".join(map(tensor, row.reads)),
            f"{row.parameters:,}" if row.parameters else "",
        )
        for row in trace.shapes()
    ]
    blocks.append(list(columns([("line", "makes", "reads", "parameters"), *rows], indent="")))
    blocks.append([totals(trace)])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yield rows with their columns aligned; the last column is not padded."""
    rows = [list(map(escaped, row)) for row in rows]
    widths = [
        max((len(cell) for cell in column if len(cell) <= LONGEST), default=0)
        for column in zip(*rows, strict=True)
    ]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield (indent + "  ".join(cells)).rstrip()


def explanation(reasons: Iterable[Reason]) -> str:
    """Return each backward line with its reason below, under its forward line."""
    blocks = []
    for forward, group in groupby(reasons, key=lambda reason: reason.forward):
        lines = [f"# {one_line(forward)}"]
        for reason in group:
            lines += [reason.line, f"    {reason.because}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def derivation(steps: Iterable[Step]) -> str:
    """Return each line with the steps that it takes, what a step uses above what it gives."""
    blocks = []
    for many in words.by_line(steps):
        lines = [many[0].before]
        for step in many:
            lines += [f"    {step.because}", f"  = {step.after.partition(' = ')[2]}"]
        blocks.append("\n".join(lines) + "\n\n")
    return "".join(blocks)


def one_line(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split("\n"))
