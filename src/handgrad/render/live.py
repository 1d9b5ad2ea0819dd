"""The journey as it happens, in a terminal: blocks in colour, and a bar while it trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table

from handgrad.ninja import Exercise, Plan
from handgrad.render.bar import Bar
from handgrad.render.blocks import Block, Code, Columns, Heading, Paragraph, Picture
from handgrad.render.ninja import exercise
from handgrad.render.terminal import HEADING, QUIET, SHAPE, code, grid
from handgrad.render.text import AnyText, Text
from handgrad.train import Moment

READABLE = 100  # columns; wider text is hard on the eyes
FURTHER = 4  # columns that a line's continuation starts further in


class Live:
    """Shows the journey in a terminal; with `only_bar`, nothing but how training goes."""

    def __init__(self, console: Console, *, only_bar: bool = False) -> None:
        self.console, self.only_bar = console, only_bar
        self.bar = Bar(console)

    def result(self, found: Exercise) -> None:
        """Print a part of the journey."""
        self.close()
        if self.only_bar:
            return
        self.console.print(as_rich(exercise(found)), width=min(self.console.width, READABLE))
        if isinstance(found, Plan):
            self.console.print(Text("Ctrl-C ends it early and keeps what there is.", QUIET))

    def step(self, moment: Moment) -> None:
        """Move the bar."""
        self.bar.step(moment)

    def written(self, paths: Iterable[str]) -> None:
        """Print which files there are now."""
        if self.only_bar:
            return
        self.console.print(Text("Wrote ", QUIET) + Text(", ".join(paths), HEADING))

    def close(self) -> None:
        """Stop the bar, leaving it where it is."""
        self.bar.close()


def as_rich(blocks: Iterable[Block]) -> Group:
    """Return blocks for a terminal, a blank line after each."""
    shown = [rich(block) for block in blocks if not isinstance(block, Picture)]
    return Group(*(part for each in shown for part in (each, Text())))


def rich(block: Heading | Paragraph | Code | Columns) -> RenderableType:
    """Return one block for a terminal."""
    match block:
        case Heading(text, 1):
            return Text(text, HEADING)
        case Heading(text):
            return Rule(Text(text, HEADING), align="left", style=QUIET)
        case Paragraph(text, warning):
            return Text(text, "bold yellow" if warning else "")
        case Code(text):
            return Padding(Folded(text), (0, 0, 0, 2))
        case Columns():
            return Padding(table(block), (0, 0, 0, 2))


@dataclass(frozen=True)
class Folded:
    """Code in colour; what does not fit on a line goes on below it, further in."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.text.splitlines():
            margin = len(line) - len(line.lstrip()) + FURTHER
            shown = code(line)
            shown.no_wrap = False
            if shown.cell_len <= options.max_width:
                yield shown
                continue
            first, *rest = shown.wrap(console, options.max_width - FURTHER)
            yield first
            for part in Text(" ").join(rest).wrap(console, options.max_width - margin):
                yield Padding(part, (0, 0, 0, margin))


def table(block: Columns) -> Table:
    """Return a table for a terminal."""
    sides = ["right" if place in block.right else "left" for place in range(len(block.heads))]
    found = grid(*sides)
    found.show_header = True
    for column, head in zip(found.columns, block.heads, strict=True):
        column.header = Text(head, HEADING)
    for row in block.rows:
        found.add_row(
            *(code(text) if at in block.code else coloured(text) for at, text in enumerate(row))
        )
    return found


def coloured(cell: str) -> AnyText:
    """Return a cell in the colour of what it says."""
    if cell.endswith(" !"):
        return Text(cell, "bold red")
    if cell in ("held", "open"):
        return Text(cell, "green" if cell == "held" else "yellow")
    return Text(cell, "green" if cell.startswith("correct") else SHAPE if cell[:1] == "[" else "")
