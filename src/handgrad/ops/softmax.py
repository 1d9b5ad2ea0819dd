"""Rows of softmax."""

from handgrad.ir import Op

ROWS: list[Op] = []
