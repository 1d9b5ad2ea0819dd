"""Rows of losses."""

from handgrad.ir import Op

ROWS: list[Op] = []
