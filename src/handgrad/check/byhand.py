"""Point out where a backward pass by hand asks autograd, or holds what cannot be seen into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from handgrad.check.judge import Judge
from handgrad.check.pack import Opaque
from handgrad.check.report import Report, Row, Verdict
from handgrad.check.run import held

FOREIGN = ("numpy", "jax", "tensorflow", "ctypes", "cupy")


def remarked(report: Report, judge: Judge) -> Report:
    """Add to each row what its statements should be read with."""
    names = held(judge.environment, judge.run)
    return replace(report, rows=tuple(remark(row, judge, names) for row in report.rows))


def remark(row: Row, judge: Judge, names: Mapping[str, Any]) -> Row:
    """Return a row whose note says where autograd was asked, or what cannot be seen into."""
    if not judge.run.writes.get(row.name):
        return row
    places = judge.slice_of(row.name)
    told = [
        f"line {judge.body[place].line} asks autograd: {asked}"
        for place in places
        for asked in judge.run.asked.get(place, ())
    ]
    read = {n for place in places for n in judge.body[place].reads}
    if row.verdict is Verdict.UNCONFIRMED and any(foreign(names.get(n)) for n in read):
        told.append("cannot see inside what is not torch's")
    return replace(row, note="; ".join(filter(None, [row.note, *told]))) if told else row


def foreign(value: Any) -> bool:
    """Tell whether something is a module or a function of another library of arrays."""
    if isinstance(value, Opaque):
        return value.home.split(".")[0] in FOREIGN
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return isinstance(home, str) and home.split(".")[0] in FOREIGN
