"""Rows of conv."""

from handgrad.ir import Op

ROWS: list[Op] = []
