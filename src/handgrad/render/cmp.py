"""The notebook's `cmp`, with a verdict at the end of its line."""

from __future__ import annotations

import torch

from handgrad.check import Row, compare
from handgrad.escape import escaped


def cmp(s: str, dt: torch.Tensor | None, t: torch.Tensor) -> None:
    """Print whether a gradient equals PyTorch's, as the notebook does, and what it is worth.

    Args:
        s: the name to print.
        dt: the gradient written by hand; None is *to do*.
        t: the primal, whose `.grad` PyTorch filled.
    """
    print(escaped(line(s, compare(dt, t, s))))


def line(name: str, row: Row) -> str:
    """Return the line of one gradient."""
    ex, app = str(row.exact), str(row.approximate)
    measured = f"{name:15s} | exact: {ex:5s} | approximate: {app:5s} | maxdiff: {row.maxdiff}"
    note = f" ({row.note})" if row.note and not row.verdict.good else ""
    return f"{measured} | {row.verdict.value}{note}"
