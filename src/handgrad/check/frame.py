"""What the process that judges a person's file may say: JSON, every field looked at before use.

Next to that process runs somebody's code, so nothing is trusted to have the right form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from handgrad.check.picture import COLUMNS, ROWS, Picture
from handgrad.check.report import Diagnosis, Report, Row, Verdict

LARGEST = 8 * 2**20  # bytes of one frame
LONGEST = 20_000  # characters of one text
MOST_ROWS = 5_000
MOST_AXES = 64
T = TypeVar("T")


class BadFrame(ValueError):
    """A frame that does not have the form of a result."""


@dataclass(frozen=True)
class Checked:
    """A file, checked.

    Attributes:
        report: the rows.
        pictures: where wrong gradients are wrong, by name.
        printed: what the file printed.
        notes: what else should be known of the run.
    """

    report: Report
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    printed: str = ""
    notes: tuple[str, ...] = ()


def dumps(data: Mapping[str, Any]) -> bytes:
    """Return a frame: one line of JSON, with a line break before it too."""
    return b"\n" + json.dumps(data, allow_nan=False).encode("ascii") + b"\n"


def loads(line: bytes) -> dict[str, Any] | None:
    """Return a frame's data, None where the line is no frame."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def checked(data: Mapping[str, Any]) -> Checked:
    """Return the result in a frame.

    Raises:
        BadFrame: it does not have the form of one.
    """
    told = get(data, "report", dict)
    rows = get(told, "rows", list)
    supplied, said = get(told, "supplied", list), get(told, "told", list)
    if len(rows) > MOST_ROWS:
        raise BadFrame("too many rows")
    report = Report(tuple(map(row, rows)), tuple(map(text, supplied)), tuple(map(text, said)))
    pictures = {text(n): picture(p) for n, p in get(data, "pictures", dict).items()}
    return Checked(report, pictures)


def get(data: Any, key: str, kind: type[T]) -> T:
    """Return a field of a mapping, of the type that it must have.

    Raises:
        BadFrame: it is not there, or is something else.
    """
    if not isinstance(data, dict) or type(data.get(key)) is not kind:
        raise BadFrame(f"{key} is no {kind.__name__}")
    return data[key]


def text(value: Any) -> str:
    """Return a text, no longer than one may be.

    Raises:
        BadFrame: it is none.
    """
    if not isinstance(value, str):
        raise BadFrame("a text is missing")
    return value if len(value) <= LONGEST else value[:LONGEST] + " ..."


def row(data: Any) -> Row:
    """Return one row."""
    verdict = get(data, "verdict", str)
    if verdict not in list(Verdict):
        raise BadFrame("no such verdict")
    given, difference = data.get("shape"), data.get("maxdiff")
    return Row(
        text(get(data, "name", str)),
        Verdict(verdict),
        line=text(get(data, "line", str)),
        number=get(data, "number", int),
        shape=None if given is None else shape(given),
        expected_shape=shape(data.get("expected_shape")),
        exact=get(data, "exact", bool),
        approximate=get(data, "approximate", bool),
        maxdiff=math.nan if difference is None else number(difference),
        note=text(get(data, "note", str)),
        inherits=get(data, "inherits", bool),
        diagnosis=None if data.get("diagnosis") is None else diagnosis(data["diagnosis"]),
    )


def shape(value: Any) -> tuple[int, ...]:
    """Return a shape."""
    if not isinstance(value, list) or len(value) > MOST_AXES:
        raise BadFrame("a shape is missing")
    if not all(type(size) is int and 0 <= size < 2**63 for size in value):
        raise BadFrame("a shape holds something else than sizes")
    return tuple(value)


def number(value: Any) -> float:
    """Return a finite number."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise BadFrame("a number is missing")
    return float(value)


def diagnosis(data: Any) -> Diagnosis:
    """Return a diagnosis."""
    keys = ("kind", "text", "proof", "suggestion")
    return Diagnosis(*(text(get(data, key, str)) for key in keys))


def picture(data: Any) -> Picture:
    """Return a picture."""
    rows = get(data, "cells", list)
    if not 0 < len(rows) <= ROWS or not all(isinstance(each, list) for each in rows):
        raise BadFrame("a picture has no rows")
    width = len(rows[0])
    if not 0 < width <= COLUMNS or any(len(each) != width for each in rows):
        raise BadFrame("a picture's rows differ")
    cells = tuple(tuple(min(1.0, max(0.0, number(cell))) for cell in each) for each in rows)
    across = shape(data.get("shape"))
    if len(across) != 2:
        raise BadFrame("a picture is of no matrix")
    return Picture(
        cells, (across[0], across[1]), get(data, "wrong", int), get(data, "entries", int)
    )
