"""The rows of scaled dot-product attention."""

ROWS = []
