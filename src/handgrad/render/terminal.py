"""Results in a terminal: coloured, fitted to its width, by rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from handgrad.explain import Reason
from handgrad.render.plain import one_line
from handgrad.render.words import Described, bracketed, inputs, leaves, totals
from handgrad.trace import ShapeRow, Trace

THEME = "ansi_dark"  # the terminal's own sixteen colours
HEADING, SHAPE, QUIET = "bold", "cyan", "dim"
READS_AT_LEAST = 24  # characters for what a line reads; with less the table is stacked
GAP = 2


@dataclass(frozen=True)
class Shapes:
    """A forward pass with its shapes: a table where the terminal is wide enough, else stacked."""

    trace: Trace

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield declared(self.trace)
        rows = self.trace.shapes()
        room = options.max_width - taken(rows)
        yield wide(rows, room) if room >= READS_AT_LEAST else stacked(rows)
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


def taken(rows: Sequence[ShapeRow]) -> int:
    """Return the width of the wide table without the column of what is read."""
    made = [described for row in rows for described in row.makes]
    cells = [
        max(len(row.line) for row in rows),
        max(len(name) for name, *_ in made),
        max(len(bracketed(shape)) for _, shape, _ in made),
        max(len(dtype) for *_, dtype in made),
        len("parameters"),
    ]
    return sum(cells) + GAP * len(cells)


def wide(rows: Sequence[ShapeRow], room: int) -> Table:
    """Return the forward lines as one table, what they read broken between tensors."""
    table = grid("left", "left", "left", "left", "left", "right")
    heads = ("line", "makes", "", "", "reads", "parameters")
    for column, head in zip(table.columns, heads, strict=True):
        column.header = Text(head, HEADING)
    table.show_header = True
    for row in rows:
        table.add_row(
            code(row.line),
            Text("\n".join(name for name, *_ in row.makes)),
            Text("\n".join(bracketed(shape) for _, shape, _ in row.makes), SHAPE),
            Text("\n".join(dtype for *_, dtype in row.makes), QUIET),
            packed(row, room),
            f"{row.parameters:,}" if row.parameters else "",
        )
    return table


def stacked(rows: Sequence[ShapeRow]) -> Group:
    """Return each forward line with what it makes and reads below it."""
    heading = Text("lines", style=HEADING)
    blocks: list[RenderableType] = [heading]
    for row in rows:
        made = Text(", ").join(tensor(each) for each in row.makes)
        if row.reads:
            made += Text(" from ", QUIET) + packed(row, 10**6)
        if row.parameters:
            made += Text(f", {row.parameters:,} parameters", QUIET)
        blocks += [indented(code(row.line)), Padding(made, (0, 0, 0, 6))]
    return Group(*blocks)


def packed(row: ShapeRow, room: int) -> Text:
    """Return the tensors that a line reads, broken between two where the room ends."""
    like = row.makes[0][2]
    text, filled = Text(), 0
    for place, each in enumerate(row.reads):
        last = place == len(row.reads) - 1
        part = tensor(each, like) + ("" if last else ",")
        if filled and filled + 1 + len(part) > room:
            text, filled = text + "\n", 0
        elif filled:
            text, filled = text + " ", filled + 1
        text, filled = text + part, filled + len(part)
    return text


def tensor(described: Described, like: str = "") -> Text:
    """Return `h [32, 64] float32` in colour; the dtype is left out where it is `like`."""
    name, shape, dtype = described
    text = Text.assemble(name, " ", (bracketed(shape), SHAPE))
    return text if dtype == like else text + Text.assemble(" ", (dtype, QUIET))


def listing(source: str) -> Text:
    """Return code in colour, without a line break that it does not have."""
    text = code(source)
    text.no_wrap, text.overflow = True, "ignore"
    return text


def explanation(reasons: Iterable[Reason]) -> Group:
    """Return each backward line with its reason below, under its forward line."""
    blocks: list[RenderableType] = []
    for forward, group in groupby(reasons, key=lambda reason: reason.forward):
        blocks += [Text()] if blocks else []
        blocks.append(Text(f"# {one_line(forward)}", QUIET))
        for reason in group:
            blocks += [listing(reason.line), Padding(Text(reason.because, "italic"), (0, 0, 0, 4))]
    return Group(*blocks)


def message(text: str) -> Text:
    """Return an error or a note: the first line stands out, and so does what to try."""
    first, *rest = text.split("\n")
    kind = "yellow" if first.startswith("note:") else "bold red"
    lines = [Text(first, kind)]
    lines += [Text(line, "green" if line.startswith("try:") else "") for line in rest]
    return Text("\n").join(lines)


def code(source: str) -> Text:
    """Return Python text in colour."""
    text = Syntax("", "python", theme=THEME).highlight(source)
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
