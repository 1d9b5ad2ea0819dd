"""Rows of activations."""

from handgrad.ir import Op

ROWS: list[Op] = []
