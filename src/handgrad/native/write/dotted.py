"""Products, or their last columns, whose vectors run along what is summed."""

from __future__ import annotations

from collections.abc import Sequence

from handgrad.native.kernels.dots import best_cut, dot_tiles
from handgrad.native.kernels.tiles import Strip, Tile, best_rows, lanes, strips
from handgrad.native.lower.array import SIZES
from handgrad.native.write.panels import Source

FLIP = 3.0  # cycles that a vector takes to be copied transposed
COPY = 1.0  # cycles that an entry takes to be copied by itself
STORE = 1.5  # cycles that an entry takes to be finished by itself
CALL = 40.0  # cycles that two kinds of tiles cost beside one
NEAREST = 64 * 1024  # bytes of both operands that stay near


def runs_along(a: Source, depth: int, ctype: str) -> bool:
    """Tell whether the rows of a left operand are whole vectors of what is summed."""
    return a.across == 1 and depth % lanes(ctype) == 0


def is_faster(found: Sequence[Strip], m: int, n: int, depth: int, ctype: str) -> bool:
    """Tell whether vectors along what is summed are faster than a transposed copy and its tiles.

    Args:
        found: the tiles on a copy.
        m: how many rows.
        n: how many columns.
        depth: how many products each entry sums.
        ctype: the type of the entries.
    """
    if (m + n) * depth * SIZES[ctype] > NEAREST:
        return False
    widths = [strip.tile.wide for strip in found]
    copied = sum(best_rows(m, wide, depth)[0] + FLIP * wide * depth for wide in widths)
    return best_cut(ctype, m, n, depth).cost < copied


def edge_of(m: int, n: int, depth: int, ctype: str) -> int:
    """Return how many last columns are summed faster along the rows of the left operand."""
    unit = lanes(ctype)
    rest = n % unit
    if n < unit or not rest:
        return 0
    spared = m * depth / 2
    own = best_cut(ctype, m, rest, depth).cost + COPY * rest * depth + CALL
    return rest if own < spared else 0


def flipped_edge(m: int, n: int, depth: int, ctype: str) -> tuple[int, tuple[Strip, ...]]:
    """Return how many last columns are made faster with vectors along the rows, and their tiles.

    These sums are stored transposed, and from there one by one.
    """
    unit = lanes(ctype)
    rest = n % unit
    if n < unit or m < unit or not rest:
        return 0, ()
    found = strips(ctype, rest, m, depth, whole=True)
    own = sum(best_rows(rest, strip.tile.wide, depth)[0] for strip in found)
    own += STORE * rest * m + CALL
    return (rest, found) if own < m * depth / 2 else (0, ())


def dotted(
    a: Source, b: Source, c: Source, size: tuple[int, int, int], ctype: str, tiles: set[Tile]
) -> list[str]:
    """Return the loops of tiles of a product.

    Args:
        a: the left operand, its rows along memory.
        b: the right one: `step` is how far apart its columns are, which run along memory.
        c: the result.
        size: rows, columns, and how many products each entry sums.
        ctype: the type of the entries.
        tiles: where the tiles that are needed are noted.
    """
    lines: list[str] = []
    for tile, rows, columns in dot_tiles(ctype, *size):
        tiles.add(tile)
        lines += [
            f"for (int m_ = {rows.start}; m_ < {rows.stop}; m_ += {rows.step})",
            f"    for (int n_ = {columns.start}; n_ < {columns.stop}; n_ += {columns.step})",
            f"        {tile.name}({size[2]}, {a.text} + {a.step} * m_, {a.step}, "
            f"{b.text} + {b.step} * n_, {b.step}, {c.text} + {c.step} * m_ + n_, {c.step});",
        ]
    return lines


def columns_lines(name: str, b: Source, first: int, many: int, depth: int) -> list[str]:
    """Write a copy of some columns of a right operand, each along memory."""
    place = f"({b.text} + {first})[{b.step} * k_ + c_]"
    return [
        f"for (int k_ = 0; k_ < {depth}; k_++)",
        f"    for (int c_ = 0; c_ < {many}; c_++) {name}[{depth} * c_ + k_] = {place};",
    ]
