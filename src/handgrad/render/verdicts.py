"""How a check's verdicts are worded: marks, cells, what is told of a row, the summary."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from handgrad.check.frame import Checked
from handgrad.check.picture import Picture
from handgrad.check.report import Report, Row, Verdict
from handgrad.escape import escaped, escaped_name

MARKS = {
    Verdict.CORRECT: "✓",
    Verdict.ROUNDING: "✓",
    Verdict.WRONG: "✗",
    Verdict.SHAPE: "✗",
    Verdict.TO_DO: "○",
    Verdict.UNTESTED: "?",
    Verdict.UNCONFIRMED: "?",
}
SHORT = {Verdict.ROUNDING: "rounding", Verdict.SHAPE: "wrong shape"}
BAD = (Verdict.WRONG, Verdict.SHAPE)
HEADS = ("verdict", "gradient", "shape", "exact", "approx", "maxdiff", "line")


@dataclass(frozen=True)
class Shown:
    """A check as it is to be shown.

    Attributes:
        checked: its result.
        file: the file with the backward pass, as the person named it.
        all: whether correct rows come with their lines too.
        hints: whether the line to try is shown.
        pictures: whether pictures are shown; None is where they help.
    """

    checked: Checked
    file: str
    all: bool = False
    hints: bool = True
    pictures: bool | None = None

    @property
    def report(self) -> Report:
        """Return its rows."""
        return self.checked.report

    def picture(self, row: Row) -> Picture | None:
        """Return where a row is wrong, if that is to be shown."""
        found = self.checked.pictures.get(row.name)
        if found is None or self.pictures is False:
            return None
        return found if self.pictures or found.helps else None


def word(row: Row) -> str:
    """Return a row's verdict in a word or two."""
    return "inherits" if row.inherits else SHORT.get(row.verdict, row.verdict.value)


def mark(row: Row) -> str:
    """Return the sign of a row's verdict."""
    return MARKS[row.verdict]


def cells(row: Row) -> tuple[str, ...]:
    """Return what the table holds of a row, under HEADS."""
    measured = row.shape is not None
    return (
        f"{mark(row)} {word(row)}",
        row.name,
        str(list(row.shape)) if row.shape is not None else "-",
        str(row.exact) if measured else "-",
        str(row.approximate) if measured else "-",
        difference(row),
        str(row.number or "-"),
    )


def difference(row: Row) -> str:
    """Return the largest difference, short."""
    if row.shape is None or not math.isfinite(row.maxdiff):
        return "-"
    return f"{row.maxdiff:.1e}" if row.maxdiff else "0"


def told(report: Report) -> Iterator[Row]:
    """Yield the rows that something has to be said about, the guilty ones first."""
    yield from (row for row in report.rows if row.verdict in BAD)
    yield from (row for row in report.rows if row.verdict not in BAD and has_news(row))


def has_news(row: Row) -> bool:
    """Tell whether a row that is not wrong has a word to it."""
    if row.verdict is Verdict.TO_DO:
        return bool(row.note)
    return not row.verdict.good or bool(row.note and not row.inherits)


def place(row: Row, file: str) -> str:
    """Return `net.py:14`."""
    name = escaped_name(file)
    return f"{name}:{row.number}" if row.number else name


def sentences(row: Row) -> list[str]:
    """Return what was measured of a row and why it is wrong, the suggestion aside."""
    said = row.diagnosis is not None and row.verdict is Verdict.SHAPE
    found = [row.note] if row.note and not said else []
    if row.diagnosis is not None:
        found += [row.diagnosis.text, row.diagnosis.proof]
    return [escaped(text) for text in dict.fromkeys(found) if text]


def suggestion(row: Row) -> str:
    """Return the one line to try."""
    return row.diagnosis.suggestion if row.diagnosis is not None else ""


def caption(picture: Picture) -> str:
    """Return what a picture shows, in words."""
    rows, columns = picture.shape
    return (
        f"{picture.wrong:,} of {picture.entries:,} entries differ; "
        f"{rows} rows down, {columns} columns across"
    )


def summary(report: Report) -> str:
    """Return what the check comes to: how many are right, which are not."""
    good = sum(row.verdict.good for row in report.rows)
    parts = [f"{good} of {len(report.rows)} right"]
    groups = (
        ("wrong", [r for r in report.rows if r.verdict in BAD]),
        ("to do", [r for r in report.rows if r.verdict is Verdict.TO_DO]),
        ("untested", [r for r in report.rows if r.verdict is Verdict.UNTESTED]),
        ("cannot confirm", [r for r in report.rows if r.verdict is Verdict.UNCONFIRMED]),
    )
    parts += [f"{name}: {listed(rows)}" for name, rows in groups if rows]
    inherit = sum(row.inherits for row in report.rows)
    if inherit:
        parts.append(f"{inherit} inherit a mistake above")
    return "; ".join(parts)


def listed(rows: Iterable[Row]) -> str:
    """Return names with their lines."""
    return ", ".join(f"{row.name} (line {row.number})" if row.number else row.name for row in rows)


def notes(report: Report) -> list[str]:
    """Return which gradients were given, as nothing assigns them, and what inputs were made."""
    names = ", ".join(report.supplied)
    return [*([f"given, as no line assigns it: {names}"] if names else []), *report.told]
