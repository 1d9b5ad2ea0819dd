"""Tiles of products whose operands both run along what is summed: vectors of partial sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from handgrad.native.cpu import by_width, vectors
from handgrad.native.kernels.tiles import FIXED, LATENCY, LETTER, Tile, lanes
from handgrad.native.lower.array import SIZES

LANE = 16  # bytes inside which every CPU can interleave two vectors


@dataclass(frozen=True, order=True)
class Cut:
    """How a product is cut into tiles.

    Attributes:
        cost: about how many cycles it takes.
        rows: how many rows a tile has.
        wide: how many columns.
    """

    cost: float
    rows: int
    wide: int


@by_width
def best_cut(ctype: str, m: int, n: int, depth: int) -> Cut:
    """Return the fastest tiles, by count, of an m by n product that sums over `depth`.

    What is left at the bottom, and then at the right, is cut anew.
    """
    if not (m and n):
        return Cut(0, 1, 1)
    options = []
    for rows in range(1, min(m, 8) + 1):
        for wide in range(1, min(n, 8) + 1):
            if rows * wide + min(rows, wide) + 1 > vectors().count:
                break
            low, right = m % rows, n % wide
            cost = (m // rows) * (n // wide) * dot_cycles(ctype, rows, wide, depth)
            cost += best_cut(ctype, low, n - right, depth).cost
            cost += best_cut(ctype, m, right, depth).cost
            options.append(Cut(cost, rows, wide))
    return min(options)


def dot_tiles(
    ctype: str, m: int, n: int, depth: int, row: int = 0, column: int = 0
) -> Iterator[tuple[Tile, range, range]]:
    """Yield the tiles of a product, each with the rows and columns at which it begins."""
    if m and n:
        cut = best_cut(ctype, m, n, depth)
        low, right = m % cut.rows, n % cut.wide
        rows = range(row, row + m - low, cut.rows)
        columns = range(column, column + n - right, cut.wide)
        yield Tile(ctype, cut.rows, cut.wide, dot=True), rows, columns
        yield from dot_tiles(ctype, low, n - right, depth, row + m - low, column)
        yield from dot_tiles(ctype, m, right, depth, row, column + n - right)


def dot_cycles(ctype: str, rows: int, wide: int, depth: int) -> float:
    """Return about how many cycles a tile takes: its products, then to add up the partial sums."""
    unit = lanes(ctype)
    each = max(rows * wide / 2, (rows + wide) / 2, LATENCY)
    joins = sum(-(-wide // 2**level) for level in range(1, unit.bit_length()))
    stores = 1.5 * wide if wide & (wide - 1) else 1
    return depth // unit * each + FIXED + rows * (joins + stores)


def dot_lines(tile: Tile) -> Iterator[str]:
    """Write a tile: C = A B, where a row of A and a column of B each stand side by side."""
    t, letter, unit = tile.ctype, LETTER[tile.ctype], lanes(tile.ctype)
    yield (
        f"INLINE void {tile.name}(int depth, const {t} *a, int a_row, "
        f"const {t} *b, int b_column, {t} *c, int c_row) {{"
    )
    for r in range(tile.rows):
        for v in range(tile.wide):
            yield f"    vec{letter} c{r}_{v} = {{0}};"
    yield f"    for (int k = 0; k < depth; k += {unit}) {{"
    few, many = (tile.rows, tile.wide) if tile.rows <= tile.wide else (tile.wide, tile.rows)
    near, far = ("a", "b") if few is tile.rows else ("b", "a")
    step = {"a": "a_row", "b": "b_column"}
    for j in range(few):
        yield f"        vec{letter} {near}{j} = LOAD{letter}({near} + {j} * {step[near]} + k);"
        yield f"        KEEP({near}{j});"
    for i in range(many):
        yield f"        vec{letter} {far}{i} = LOAD{letter}({far} + {i} * {step[far]} + k);"
        yield f"        KEEP({far}{i});"
        for j in range(few):
            r, v = (j, i) if near == "a" else (i, j)
            yield f"        c{r}_{v} += a{r} * b{v};"
    yield "    }"
    for r in range(tile.rows):
        for v in range(0, tile.wide, unit):
            names = [f"c{r}_{w}" for w in range(v, min(v + unit, tile.wide))]
            yield "    {"
            yield from joining_lines(names, f"c + {r} * c_row + {v}", tile.ctype)
            yield "    }"
    yield "}"


def joining_lines(names: list[str], to: str, ctype: str) -> Iterator[str]:
    """Write how vectors of partial sums are added up, all at once, and stored side by side."""
    letter, unit, many = LETTER[ctype], lanes(ctype), len(names)
    span, count = 1, 0
    while span < unit:
        firsts, seconds = halves(span, unit, LANE // SIZES[ctype])
        pairs = [(names[k], names[min(k + 1, len(names) - 1)]) for k in range(0, len(names), 2)]
        names = []
        for x, y in pairs:
            name, count = f"s{count}", count + 1
            mixed = [f"MIX(order{letter}, {x}, {y}, {order})" for order in (firsts, seconds)]
            yield f"        const vec{letter} {name} = {mixed[0]} + {mixed[1]};"
            names.append(name)
        span *= 2
    if many & (many - 1):
        for k in range(many):
            yield f"        ({to})[{k}] = {names[0]}[{k}];"
    else:
        yield f"        memcpy({to}, &{names[0]}, {many * SIZES[ctype]});"


def halves(span: int, unit: int, lane: int) -> tuple[str, str]:
    """Return which entries of two vectors are added to which others.

    After spans 1, 2, 4... up to half a vector, entry k is the sum of the k-th of the vectors.
    """
    if span == 1 and lane == 4:  # interleaved, which is one instruction
        firsts = [j - j % 4 + j % 4 // 2 + unit * (j % 2) for j in range(unit)]
        apart = 2
    else:
        firsts = [j if not j & span else j - span + unit for j in range(unit)]
        apart = span
    first, second = (", ".join(str(j + shift) for j in firsts) for shift in (0, apart))
    return first, second
