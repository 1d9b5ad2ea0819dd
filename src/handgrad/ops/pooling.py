"""Rows of pooling and resizing."""

ROWS = []
