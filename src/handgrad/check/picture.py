"""Where a wrong gradient is wrong: a small grid of how far off it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROWS, COLUMNS = 16, 32  # at most; larger gradients are shown in blocks
FAINT = 0.125  # the least that a cell with any wrong entry shows
MOST = 0.75  # of the entries wrong: in a picture with more there is little to see
ROUNDING = 1e-9  # of the largest entry, in float64


@dataclass(frozen=True)
class Picture:
    """How far off each block of a gradient is, seen as a matrix.

    Attributes:
        cells: rows of numbers from 0, right, to 1, as far off as any.
        shape: the matrix that the cells stand for: all axes but the last are its rows.
        wrong: how many entries are wrong.
        entries: how many there are.
    """

    cells: tuple[tuple[float, ...], ...]
    shape: tuple[int, int]
    wrong: int
    entries: int

    @property
    def helps(self) -> bool:
        """Tell whether there is something to see: a good part of it is right."""
        return 0 < self.wrong <= MOST * self.entries

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "cells": [list(row) for row in self.cells],
            "shape": list(self.shape),
            "wrong": self.wrong,
            "entries": self.entries,
        }


def picture(value: torch.Tensor, truth: torch.Tensor) -> Picture | None:
    """Return where a gradient differs from the truth, None if it does nowhere or in shape."""
    if value.shape != truth.shape or not truth.numel():
        return None
    largest = max(float(truth.abs().max()), float(value.abs().nan_to_num().max()))
    off = (value - truth).abs().nan_to_num(nan=largest or 1.0, posinf=largest or 1.0)
    off[off <= ROUNDING * largest] = 0
    wrong = int((off > 0).sum())
    if not wrong:
        return None
    matrix = off.reshape(-1, off.shape[-1] if off.ndim else 1)
    blocks = [
        [float(part.max()) for part in band.tensor_split(min(COLUMNS, matrix.shape[1]), dim=1)]
        for band in matrix.tensor_split(min(ROWS, matrix.shape[0]), dim=0)
    ]
    top = float(matrix.max())
    cells = tuple(tuple(round(max(FAINT, c / top), 3) if c else 0.0 for c in row) for row in blocks)
    return Picture(cells, (matrix.shape[0], matrix.shape[1]), wrong, off.numel())
