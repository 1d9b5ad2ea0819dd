"""Which bytes of the arena an array has: two that do not live at the same time may share them."""

from __future__ import annotations

from collections.abc import Mapping

from handgrad.native.lower.array import SIZES, Array
from handgrad.native.lower.groups import Group

ALIGN = 64


def arena(groups: list[Group], home: Mapping[Array, str]) -> tuple[dict[Array, int], int]:
    """Return where each array without a slot begins, and how many bytes there are in all."""
    first: dict[Array, int] = {}
    last: dict[Array, int] = {}
    for place, group in enumerate(groups):
        for stage in group.stages:
            for array in (stage.array, *stage.sources):
                if array in group.local or home[array]:
                    continue
                first.setdefault(array, place)
                last[array] = place
    offsets: dict[Array, int] = {}
    for array in sorted(first, key=lambda a: -a.numel * SIZES[a.ctype]):
        others = [
            (offsets[o], offsets[o] + bytes_of(o))
            for o in offsets
            if first[o] <= last[array] and first[array] <= last[o]
        ]
        offsets[array] = gap(sorted(others), bytes_of(array))
    return offsets, max((o + bytes_of(a) for a, o in offsets.items()), default=0)


def bytes_of(array: Array) -> int:
    """Return the bytes of an array, up to where the next may begin."""
    return -(-max(array.numel, 1) * SIZES[array.ctype] // ALIGN) * ALIGN


def gap(taken: list[tuple[int, int]], size: int) -> int:
    """Return the first place of this many bytes that none of these ranges meets."""
    start = 0
    for low, high in taken:
        if start + size <= low:
            break
        start = max(start, high)
    return start
