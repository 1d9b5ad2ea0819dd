"""A file however it is written: recorded whole, settled, and judged as straight lines."""
