"""Results in a terminal: coloured, fitted to its width, by rich."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table

from handgrad.escape import escaped
from handgrad.render.plain import one_line
from handgrad.render.text import AnyText, Text
from handgrad.render.words import Described, bracketed, by_line, counted, inputs, leaves, totals

if TYPE_CHECKING:
    from handgrad.explain import Reason
    from handgrad.simplify import Step
    from handgrad.trace import ShapeRow, Trace

THEME = "ansi_dark"  # the terminal's own sixteen colours
HEADING, SHAPE, QUIET = "bold", "cyan", "dim"
GAP = 2
INDENT = "    "
PROSE = 100  # characters; longer lines of prose are hard to read


@dataclass(frozen=True)
class Shapes:
    """A forward pass with its shapes: a table where the terminal is wide enough, else stacked."""

    trace: Trace

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield declared(self.trace)
        rows = self.trace.shapes()
        room = options.max_width - taken(rows)
        fits = room >= longest(str(part) for row in rows for part in parts(row))
        yield wide(rows, room) if fits else stacked(rows, options.max_width)
        yield Text()
        yield Text(totals(self.trace), style=HEADING)


def declared(trace: Trace) -> RenderableType:
    """Return the leaves and the other inputs as small tables."""
    blocks: list[RenderableType] = [Text("leaves", style=HEADING)]
    table = grid("left", "left", "left", "right")
    for (name, shape, dtype), entries in leaves(trace):
        table.add_row(name, Text(bracketed(shape), SHAPE), Text(dtype, QUIET), f"{entries:,}")
    blocks += [indented(table), Text()]
    if inputs(trace):
        table = grid("left", "left", "left")
        for name, value, kind in inputs(trace):
            table.add_row(name, Text(value, SHAPE), Text(kind, QUIET))
        blocks += [Text("inputs", style=HEADING), indented(table), Text()]
    return Group(*blocks)


def longest(texts: Iterable[str]) -> int:
    """Return the length of the longest text."""
    return max(map(len, texts), default=0)


def taken(rows: Sequence[ShapeRow]) -> int:
    """Return the width of the wide table without the column of what is read."""
    made = [described for row in rows for described in row.makes]
    cells = [
        longest(row.line for row in rows),
        longest(name for name, *_ in made),
        longest(bracketed(shape) for _, shape, _ in made),
        longest(dtype for *_, dtype in made),
        len("params"),
    ]
    return sum(cells) + GAP * len(cells)


def wide(rows: Sequence[ShapeRow], room: int) -> Table:
    """Return the forward lines as one table, what they read broken between tensors."""
    table = grid("left", "left", "left", "left", "left", "right")
    heads = ("line", "makes", "", "", "reads", "params")
    for column, head in zip(table.columns, heads, strict=True):
        column.header = Text(head, HEADING)
    table.show_header = True
    for row in rows:
        table.add_row(
            code(row.line),
            Text("\n".join(name for name, *_ in row.makes)),
            Text("\n".join(bracketed(shape) for _, shape, _ in row.makes), SHAPE),
            Text("\n".join(dtype for *_, dtype in row.makes), QUIET),
            packed(parts(row), room),
            f"{row.parameters:,}" if row.parameters else "",
        )
    return table


def stacked(rows: Sequence[ShapeRow], width: int) -> Group:
    """Return each forward line with its shape beside it and what it reads below it."""
    widest = longest(bracketed(shape) for row in rows for _, shape, _ in row.makes)
    made = [results(row, widest) for row in rows]
    counts = [counted(row.parameters, "parameter") if row.parameters else "" for row in rows]
    right = max(longest(counts), max(cell_width(text) for text in made))
    room = width - 2 - right - GAP
    table = grid("left", "left")
    table.columns[1].no_wrap = True
    for row, result, count in zip(rows, made, counts, strict=True):
        table.add_row(code(row.line), result)
        lead = Text("from ", QUIET)
        reads = Padding(lead + packed(parts(row), room - 4 - len(lead)), (0, 0, 0, 4))
        table.add_row(reads if row.reads else "", Text(count, QUIET))
    return Group(Text("lines", style=HEADING), indented(table))


def results(row: ShapeRow, widest: int) -> AnyText:
    """Return the shape and dtype of what a line makes; its name too if there are several."""
    names = longest(name for name, *_ in row.makes)
    several = len(row.makes) > 1
    lines = [
        Text.assemble(
            f"{name:{names}} " if several else "",
            (bracketed(shape).ljust(widest), SHAPE),
            "  ",
            (dtype, QUIET),
        )
        for name, shape, dtype in row.makes
    ]
    return Text("\n").join(lines)


def cell_width(text: AnyText) -> int:
    """Return the width of the widest line of a text."""
    return longest(str(text).split("\n"))


def parts(row: ShapeRow) -> list[AnyText]:
    """Return the tensors that a line reads, with a comma after all but the last."""
    told = [tensor(each, row.makes[0][2]) for each in row.reads]
    return [text + "," for text in told[:-1]] + told[-1:]


def packed(texts: Iterable[AnyText], room: int) -> AnyText:
    """Return texts one after the other, broken between two where the room ends."""
    whole, filled = Text(), 0
    for part in texts:
        if filled and filled + 1 + len(part) > room:
            whole, filled = whole + "\n", 0
        elif filled:
            whole, filled = whole + " ", filled + 1
        whole, filled = whole + part, filled + len(part)
    return whole


def tensor(described: Described, like: str = "") -> AnyText:
    """Return `h [32, 64] float32` in colour; the dtype is left out where it is `like`."""
    name, shape, dtype = described
    text = Text.assemble(name, " ", (bracketed(shape), SHAPE))
    return text if dtype == like else text + Text.assemble(" ", (dtype, QUIET))


def listing(source: str) -> AnyText:
    """Return a backward pass in colour, with the line breaks that it has and no others."""
    text = code(source)
    text.highlight_regex(r"(?m)^[^\W\d]\w*(?= = )", HEADING)
    return text


def explanation(reasons: Iterable[Reason], width: int) -> AnyText:
    """Return each backward line with its reason below, under its forward line.

    Code keeps its own line breaks; only the reasons are fitted to the width.
    """
    blocks: list[AnyText] = []
    for forward, group in groupby(reasons, key=lambda reason: reason.forward):
        lines = [Text(f"# {one_line(forward)}", QUIET)]
        for reason in group:
            lines += [listing(reason.line), Text(filled(reason.because, width), "italic")]
        blocks.append(Text("\n").join(lines))
    return Text("\n\n").join(blocks)


def derivation(steps: Iterable[Step], lines: AnyText, width: int) -> AnyText:
    """Return each line with the steps that it takes, then the lines that come of them."""
    blocks: list[AnyText] = []
    for many in by_line(steps):
        rows = [listing(many[0].before)]
        for step in many:
            rows.append(Text(filled(step.because, width), "italic"))
            rows.append(Text("  = ", QUIET) + code(step.after.partition(" = ")[2]))
        blocks.append(Text("\n").join(rows))
    return Text("\n\n").join([*blocks, lines])


def filled(sentence: str, width: int) -> str:
    """Return a sentence indented and broken to a width, but not inside a shape."""
    whole = re.sub(r"\[[\d, ]*\]", lambda shape: shape[0].replace(" ", "\0"), sentence)
    return textwrap.fill(
        whole, min(width, PROSE), initial_indent=INDENT, subsequent_indent=INDENT
    ).replace("\0", " ")


def message(text: str, style: str) -> AnyText:
    """Return what is said beside a result: the first line in a style, what to try in green."""
    first, *rest = text.split("\n")
    lines = [Text(line, "green" if line.startswith("try:") else "") for line in rest]
    return Text("\n").join([Text(first, style), *lines])


def code(source: str) -> AnyText:
    """Return Python text in colour."""
    text = Syntax("", "python", theme=THEME).highlight(escaped(source))
    text.rstrip()
    text.style = ""
    return text


def grid(*justify: str) -> Table:
    """Return a table without lines, its columns apart by two spaces."""
    table = Table(box=None, show_header=False, padding=(0, GAP, 0, 0), pad_edge=False)
    for side in justify:
        table.add_column(justify=side, overflow="fold")  # pyright: ignore[reportArgumentType]
    return table


def indented(renderable: RenderableType) -> Padding:
    """Return something two spaces further right."""
    return Padding(renderable, (0, 0, 0, 2))
