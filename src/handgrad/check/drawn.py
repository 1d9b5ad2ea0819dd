"""The pictures of a check: where each wrong gradient is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from handgrad.check.judge import Judge
from handgrad.check.picture import picture
from handgrad.check.report import Row, Verdict


def pictures(judge: Judge, rows: Iterable[Row]) -> dict[str, Any]:
    """Return where each wrong gradient is wrong."""
    made: dict[str, Any] = {}
    for row in rows:
        if row.verdict is not Verdict.WRONG or row.shape != row.expected_shape:
            continue
        with suppress(Exception):  # it is an extra: its failure says nothing
            local = judge.local(row.name)
            drawn = picture(local.values[0], local.full[0]) if not local.error else None
            if drawn is not None:
                made[row.name] = drawn.to_dict()
    return made
