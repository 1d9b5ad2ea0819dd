"""Loops over the tiles of a product, and over its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from handgrad.native.kernels.tiles import Strip, Tile, best_rows


def with_rows(strip: Strip, m: int, depth: int) -> Strip:
    """Return the tiles of a strip's columns for so many rows."""
    wide = strip.tile.wide
    _, rows = best_rows(m, wide, depth)
    count = -(-m // rows)
    small = count * rows - m
    last = replace(strip.tile, rows=rows - 1) if small else None
    return replace(strip, tile=replace(strip.tile, rows=rows), count=count - small, last=last)


def chunks(name: str, size: int, most: int, inside: Callable[[str, int], list[str]]) -> list[str]:
    """Return lines for each part of a range: where it begins, and how many it has."""
    whole = size // most
    lines = inside("0", most) if whole == 1 else []
    if whole > 1:
        head = f"for (int {name} = 0; {name} < {whole * most}; {name} += {most}) {{"
        lines = [head, *("    " + line for line in inside(name, most)), "}"]
    if size % most:
        lines += inside(str(whole * most), size % most)
    return lines


def rows_lines(strip: Strip, m: int, call: Callable[[Tile, str], str]) -> list[str]:
    """Return the loops over tiles of rows of a strip."""
    first, found = strip.count * strip.tile.rows, list[str]()
    if first:
        found = rows_loop(0, first, strip.tile.rows, partial(call, strip.tile))
    if strip.last is not None:
        found += rows_loop(first, m, strip.last.rows, partial(call, strip.last))
    return found


def rows_loop(begin: int, end: int, step: int, call: Callable[[str], str]) -> list[str]:
    """Return a loop over tiles of rows, or the call itself where there is one."""
    if end - begin == step:
        return [call(str(begin))]
    return [f"for (int m_ = {begin}; m_ < {end}; m_ += {step}) {{", f"    {call('m_')}", "}"]
