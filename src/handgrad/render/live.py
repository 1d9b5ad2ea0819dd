"""Blocks in a terminal, and the bar of a training that is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from handgrad.render.blocks import Block, Code, Columns, Heading, Paragraph, Picture
from handgrad.render.terminal import HEADING, code, grid
from handgrad.train import Moment

LISTING = 84  # columns for code; a longer line goes on, indented, below
SMOOTH = 0.99


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
            return Rule(Text(text, HEADING), align="left", style="dim")
        case Paragraph(text, warning):
            return Text(text, "bold yellow" if warning else "")
        case Code(text):
            return Padding(code(text), (0, 0, 0, 2))
        case Columns():
            return Padding(table(block), (0, 0, 0, 2))


def table(block: Columns) -> Table:
    """Return a table for a terminal: code in colour, good verdicts green, others red."""
    sides = ["right" if place in block.right else "left" for place in range(len(block.heads))]
    found = grid(*sides)
    found.show_header = True
    for column, head in zip(found.columns, block.heads, strict=True):
        column.header = Text(head, HEADING)
    for row in block.rows:
        found.add_row(
            *(code(cell) if place in block.code else cell_text(cell) for place, cell in enumerate(row))
        )
    return found


def cell_text(cell: str) -> Text:
    """Return a cell in the colour of what it says."""
    if cell.endswith(" !"):
        return Text(cell, "bold red")
    return Text(cell, "green" if cell.startswith("correct") else "cyan" if cell[:1] == "[" else "")


@contextmanager
def bar(console: Console) -> Iterator[Callable[[Moment], None]]:
    """Yield what to call after every step: it moves a bar with the loss and the steps a second."""
    progress = Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:,.0f} steps/s"),
        TimeRemainingColumn(compact=True),
        console=console,
        refresh_per_second=5,
    )
    task = progress.add_task("", total=None, start=False, visible=False, loss=0.0, speed=0.0)
    mean = 0.0

    def move(moment: Moment) -> None:
        nonlocal mean
        if moment.step == 1:
            mean = moment.loss
            progress.start_task(task)
            progress.update(task, total=moment.steps, visible=True)
        mean = SMOOTH * mean + (1 - SMOOTH) * moment.loss
        if moment.step % 50 == 0 or moment.step == moment.steps:
            speed = moment.step / max(moment.seconds, 1e-9)
            progress.update(task, completed=moment.step, loss=mean, speed=speed)

    with progress:
        yield move
