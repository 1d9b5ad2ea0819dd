"""Rows of norms."""

from handgrad.ir import Op

ROWS: list[Op] = []
