"""A report as blocks: one text with three forms, plain, Markdown, and (in `live`) a terminal's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from handgrad.escape import escaped
from handgrad.render.plain import columns

WIDTH = 80


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the report's own."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Sentences; `warning` ones must not be overlooked."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Code:
    """Python text."""

    text: str


@dataclass(frozen=True)
class Columns:
    """A small table.

    Attributes:
        right: the columns whose cells are numbers, set against the right edge.
        code: the columns whose cells are Python.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    code: tuple[int, ...] = ()


@dataclass(frozen=True)
class Picture:
    """An image beside the report; what shows text alone leaves it out."""

    file: str
    about: str


Block = Heading | Paragraph | Code | Columns | Picture


def as_plain(blocks: Iterable[Block]) -> str:
    """Return blocks as plain text, a blank line after each."""
    return "".join(f"{text}\n\n" for block in blocks if (text := plain(block)))


def plain(block: Block) -> str:
    """Return one block as plain text."""
    match block:
        case Heading(text, level):
            return f"{text}\n{('=' if level == 1 else '-') * len(text)}"
        case Paragraph(text):
            return textwrap.fill(text, WIDTH, break_on_hyphens=False)
        case Code(text):
            return textwrap.indent(text.rstrip("\n"), "    ")
        case Columns():
            return "\n".join(columns(aligned(block)))
        case Picture():
            return ""


def aligned(table: Columns) -> list[tuple[str, ...]]:
    """Return the rows with the heads on top, numbers padded to their column's width."""
    rows = [table.heads, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        tuple(
            cell.rjust(widths[place]) if place in table.right else cell
            for place, cell in enumerate(row)
        )
        for row in rows
    ]


def as_markdown(blocks: Iterable[Block]) -> str:
    """Return blocks as Markdown."""
    return escaped("\n\n".join(markdown(block) for block in blocks)) + "\n"


def markdown(block: Block) -> str:
    """Return one block as Markdown."""
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text, warning):
            return f"**{text}**" if warning else text
        case Code(text):
            return f"```python\n{text.rstrip()}\n```"
        case Columns():
            return markdown_table(block)
        case Picture(file, about):
            return f"![{about}]({file})"


def markdown_table(table: Columns) -> str:
    """Return a table as Markdown, its code cells as code."""
    rule = ["---:" if place in table.right else "---" for place in range(len(table.heads))]
    rows = [
        [f"`{cell}`" if cell and place in table.code else cell for place, cell in enumerate(row)]
        for row in table.rows
    ]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [list(table.heads), *rows]]
    head, *body = escaped
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])
