"""A check in a terminal: a table, then each wrong line with its reason and a picture of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table

from handgrad.check.picture import Picture
from handgrad.check.report import Row, Verdict
from handgrad.render import verdicts
from handgrad.render.terminal import GAP, HEADING, PROSE, QUIET, SHAPE, code, grid
from handgrad.render.text import AnyText, Text
from handgrad.render.verdicts import HEADS, Shown

STYLES = {
    Verdict.CORRECT: "green",
    Verdict.ROUNDING: "green",
    Verdict.WRONG: "bold red",
    Verdict.SHAPE: "bold red",
}
UNSURE = "yellow"
BLOCKS = "░▒▓█"
MEASURES = ("exact", "approx")  # left out where the terminal is too narrow for them


@dataclass(frozen=True)
class Check:
    """A check, for the terminal; correct rows are told of together where it is too low for them."""

    shown: Shown
    height: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.shown.report
        yield table(self.shown, options.max_width, self.folded())
        for row in verdicts.told(report):
            yield Text()
            yield from details(row, self.shown, options.max_width)
        yield Text()
        for note in (*verdicts.notes(report), *self.shown.checked.notes):
            yield Text(note, QUIET)
        yield Text(verdicts.summary(report), "bold green" if report.ok else HEADING)

    def folded(self) -> bool:
        """Tell whether the rows are too many."""
        told = sum(8 for _ in verdicts.told(self.shown.report))
        return self.height is not None and len(self.shown.report.rows) + told > self.height


def table(shown: Shown, width: int, folded: bool = False) -> Table:
    """Return the rows as a table as wide as the terminal lets it be.

    Args:
        shown: the check.
        width: of the terminal.
        folded: whether correct rows that follow one another are told of in one.
    """
    rows = [verdicts.cells(row) for row in shown.report.rows]
    widths = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
    fits = sum(widths) + GAP * len(widths) <= width
    kept = [k for k, head in enumerate(HEADS) if fits or head not in MEASURES]
    found = grid(*("right" if HEADS[k] in ("maxdiff", "line") else "left" for k in kept))
    found.show_header = True
    for column, k in zip(found.columns, kept, strict=True):
        column.header = Text(HEADS[k], HEADING)
    for group in groups(shown.report.rows, folded):
        if len(group) > 1:
            names = Text(f"{group[0].name} ... {group[-1].name}", QUIET)
            inherit = group[0].inherits
            words = "inherit" if inherit else "right"
            found.add_row(Text(f"✓ {len(group)} {words}", QUIET if inherit else "green"), names)
            continue
        (row,) = group
        found.add_row(*(cell(row, HEADS[k], verdicts.cells(row)[k]) for k in kept))
        if shown.all and row.line:
            found.add_row("", Padding(code(row.line), (0, 0, 0, 2)))
    return found


def groups(rows: Sequence[Row], folded: bool) -> Iterator[list[Row]]:
    """Yield rows one by one, or together where several alike that are not wrong come in a row."""
    for (good, _), some in groupby(rows, lambda row: (row.verdict.good, row.inherits)):
        if good and folded:
            yield list(some)
        else:
            yield from ([row] for row in some)


def cell(row: Row, head: str, text: str) -> AnyText:
    """Return a cell in its colour."""
    if row.inherits:
        return Text(text, QUIET)
    if head == "verdict":
        return Text(text, STYLES.get(row.verdict, UNSURE))
    if head == "shape" and row.shape is not None and row.shape != row.expected_shape:
        return Text(text, "bold red")
    return Text(text, {"shape": SHAPE, "line": QUIET}.get(head, ""))


def details(row: Row, shown: Shown, width: int) -> Iterator[RenderableType]:
    """Yield what there is to say of one row."""
    style = STYLES.get(row.verdict, UNSURE)
    name = f"{row.name}: {row.verdict.value}"
    yield Text.assemble((verdicts.place(row, shown.file), HEADING), "  ", (name, style))
    if row.line:
        yield Padding(code(row.line), (0, 0, 0, 4))
    for sentence in verdicts.sentences(row):
        for line in sentence.splitlines():
            yield Padding(Text(line), (0, max(0, width - PROSE), 0, 2))
    if shown.hints and verdicts.suggestion(row):
        first, *rest = verdicts.suggestion(row).splitlines()
        yield Text("  try: ", "green") + code(first)
        for line in rest:
            yield Text("       ") + code(line)
    found = shown.picture(row)
    if found is not None:
        yield Padding(drawn(found), (0, 0, 0, 2))


def drawn(picture: Picture) -> AnyText:
    """Return a picture in blocks: the darker, the further off."""
    text = Text()
    for row in picture.cells:
        for level in row:
            text += Text(block(level), "red" if level else QUIET)
        text += "\n"
    return text + Text(verdicts.caption(picture), QUIET)


def block(level: float) -> str:
    """Return two characters for how far off a cell is, from 0 to 1."""
    return BLOCKS[min(int(level * len(BLOCKS)), len(BLOCKS) - 1)] * 2 if level else "··"
