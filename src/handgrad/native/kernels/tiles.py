"""Matrix products of known sizes, in tiles whose sums stay in registers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from handgrad.native.cpu import by_width, vectors
from handgrad.native.lower.array import SIZES

LETTER = {"float": "f", "double": "d"}
LATENCY = 4.5  # cycles from a multiply-add to one that needs its result
FIXED = 12.0  # cycles that a tile costs beside its products


@dataclass(frozen=True, order=True)
class Finish:
    """What is stored in place of a tile's sums.

    Attributes:
        name: tells it from others; empty where the sums themselves are stored.
        text: an entry in C, in terms of `made`, operands `x0`... and numbers `s0`...
        along: for each operand, whether it has an entry for each column, else one for each row.
        numbers: how many numbers there are.
        once: it reads what it overwrites, so that no entry may be made twice.
    """

    name: str = ""
    text: str = "made"
    along: tuple[bool, ...] = ()
    numbers: int = 0
    once: bool = False


@dataclass(frozen=True, order=True)
class Tile:
    """A tile.

    Attributes:
        rows: how many rows of the result it makes.
        wide: how many vectors of each row.
        part: how many entries of the last vector are stored; 0 is all of them.
        skip: how many entries of the first vector stay as they were.
        finish: what is stored.
        dot: its vectors run along what is summed, and `wide` counts columns.
    """

    ctype: str
    rows: int
    wide: int
    part: int = 0
    skip: int = 0
    finish: Finish = Finish()
    dot: bool = False

    @property
    def name(self) -> str:
        """Return the name of its function."""
        part = f"_{self.part}" if self.part else ""
        skip = f"_from{self.skip}" if self.skip else ""
        end = f"_{self.finish.name}" if self.finish.name else ""
        kind = "dot" if self.dot else "tile"
        return f"{kind}_{LETTER[self.ctype]}{self.rows}x{self.wide}{part}{skip}{end}"


@dataclass(frozen=True)
class Strip:
    """Columns of a product that are made of tiles of one width.

    Attributes:
        column: where it begins.
        tile: what makes the first rows.
        count: how many of these there are.
        last: what makes the other rows, of one row less; None where there are no others.
    """

    column: int
    tile: Tile
    count: int
    last: Tile | None


def lanes(ctype: str) -> int:
    """Return how many entries a vector has."""
    return vectors().bytes // SIZES[ctype]


def cycles(rows: int, wide: int, depth: int) -> float:
    """Return about how many cycles a tile takes: products, loads, or waiting for sums."""
    each = max(rows * wide / 2, (rows + wide) / 2, LATENCY)
    return depth * each + FIXED + rows * wide


@by_width
def strips(ctype: str, m: int, n: int, depth: int, *, whole: bool) -> tuple[Strip, ...]:
    """Return the tiles of an m by n product that sums over `depth`, the fastest by count.

    Args:
        ctype: the type of the entries.
        m: how many rows.
        n: how many columns.
        depth: how many products each entry sums.
        whole: at the end, columns are made twice by vectors that overlap; else the operand has
            whole vectors, and what is too much is not stored.
    """
    unit = lanes(ctype)
    count = -(-n // unit)
    options = []
    for widest in range(1, min(count, 6) + 1):
        parts = -(-count // widest)
        widths = [count // parts + (k < count % parts) for k in range(parts)]
        if whole and widths[-1] * unit > n:
            continue  # the last vectors would reach beyond what there is
        chosen = [best_rows(m, width, depth) for width in widths]
        options.append((sum(cost for cost, _ in chosen), widths, [rows for _, rows in chosen]))
    _, widths, many = min(options)
    found, column = [], 0
    for width, rows in zip(widths, many, strict=True):
        over = column + width * unit - n
        begin, part = column, 0
        if over > 0 and whole:
            begin = n - width * unit
        elif over > 0:
            part = unit - over
        count = -(-m // rows)
        small = count * rows - m
        last = Tile(ctype, rows - 1, width, part) if small else None
        found.append(Strip(begin, Tile(ctype, rows, width, part), count - small, last))
        column += width * unit
    return tuple(found)


@by_width
def best_rows(m: int, wide: int, depth: int) -> tuple[float, int]:
    """Return the cost and the rows of the best tile of a width for m rows."""
    options = []
    for rows in range(1, m + 1):
        if rows * wide + wide + 1 > vectors().count and rows > 1:
            break
        count = -(-m // rows)
        small = count * rows - m  # these have a row less
        if small > count or (small and rows == 1):
            continue
        cost = (count - small) * cycles(rows, wide, depth)
        options.append((cost + small * cycles(rows - 1, wide, depth), -rows))
    cost, rows = min(options)
    return cost, -rows


def tile_lines(tile: Tile) -> Iterator[str]:
    """Write a tile: C = A B, or C += A B, of rows of A and vectors of B."""
    t, letter, unit = tile.ctype, LETTER[tile.ctype], lanes(tile.ctype)
    places = [(r, v) for r in range(tile.rows) for v in range(tile.wide)]
    if tile.finish.name:
        yield f"/* stores {tile.finish.text} */"
    yield (
        f"INLINE void {tile.name}(int depth, const {t} *a, int a_row, int a_step, "
        f"const {t} *b, int b_step, {t} *c, int c_row, {last_parameters(tile)}) {{"
    )
    for r, v in places:
        yield f"    vec{letter} c{r}_{v} = {{0}};"
    yield "    for (int k = 0; k < depth; k++) {"
    for v in range(tile.wide):
        yield f"        vec{letter} b{v} = LOAD{letter}(b + {v * unit});"
        yield f"        KEEP(b{v});"
    for r in range(tile.rows):
        yield f"        const {t} a{r} = a[{r} * a_row];"
        for v in range(tile.wide):
            yield f"        c{r}_{v} += a{r} * b{v};"
    yield "        a += a_step;"
    yield "        b += b_step;"
    yield "    }"
    yield from finishing_lines(tile, places) if tile.finish.name else storing_lines(tile, places)
    yield "}"


def last_parameters(tile: Tile) -> str:
    """Return the last parameters of a tile: whether it adds, or what its sums are finished with."""
    if not tile.finish.name:
        return "bool add"
    operands = [f"const {tile.ctype} *p{k}, int p{k}_row" for k in range(len(tile.finish.along))]
    numbers = [f"{tile.ctype} s{k}" for k in range(tile.finish.numbers)]
    return ", ".join([*operands, *numbers]) or "bool add"


def storing_lines(tile: Tile, places: list[tuple[int, int]]) -> Iterator[str]:
    """Write how a tile stores its sums, or adds them to what is there."""
    letter, unit = LETTER[tile.ctype], lanes(tile.ctype)
    full = [(r, v) for r, v in places if not (tile.part and v == tile.wide - 1)]
    yield "    if (add) {"
    for r, v in full:
        yield f"        c{r}_{v} += LOAD{letter}(c + {r} * c_row + {v * unit});"
    yield "    }"
    for r, v in places:
        to = f"c + {r} * c_row + {v * unit}"
        if tile.part and v == tile.wide - 1:
            sign = f"(add ? ({to})[e] : 0) + c{r}_{v}[e]"
            yield f"    for (int e = 0; e < {tile.part}; e++) ({to})[e] = {sign};"
        else:
            yield f"    STORE{letter}({to}, c{r}_{v});"


def finishing_lines(tile: Tile, places: list[tuple[int, int]]) -> Iterator[str]:
    """Write how a tile stores what is made of its sums."""
    letter, unit = LETTER[tile.ctype], lanes(tile.ctype)
    for r, v in places:
        to = f"c + {r} * c_row + {v * unit}"
        yield "    {"
        yield f"        const vec{letter} made = c{r}_{v};"
        for k, along in enumerate(tile.finish.along):
            place = f"p{k} + {r} * p{k}_row"
            if along:
                yield f"        const vec{letter} x{k} = LOAD{letter}({place} + {v * unit});"
            else:
                yield f"        const {tile.ctype} x{k} = *({place});"
        yield f"        const vec{letter} y = {tile.finish.text};"
        made = "y"
        if tile.skip and v == 0:
            order = [j if j < tile.skip else unit + j for j in range(unit)]
            made = f"MIX(order{letter}, LOAD{letter}({to}), y, {', '.join(map(str, order))})"
        yield f"        STORE{letter}({to}, {made});"
        yield "    }"


KEEP = """\
/* keeps a vector in a register, where a compiler would read it again for every product */
#if defined(__AVX512F__)
#define KEEP(x) __asm__("" : "+v"(x))
#elif defined(__x86_64__)
#define KEEP(x) __asm__("" : "+x"(x))
#elif defined(__aarch64__)
#define KEEP(x) __asm__("" : "+w"(x))
#else
#define KEEP(x)
#endif
/* what was read before is read again, so that no register holds it through the tiles */
#define AGAIN __asm__ volatile("" ::: "memory")"""


MIX = """\
/* entries of two vectors, by their numbers */
#if defined(__clang__) || __GNUC__ >= 12
#define MIX(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIX(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif"""


def mix_lines(ctype: str) -> Iterator[str]:
    """Write what makes a vector of the entries of two."""
    whole = {4: "int32_t", 8: "int64_t"}[SIZES[ctype]]
    yield MIX
    yield f"typedef {whole} order{LETTER[ctype]} __attribute__((vector_size({vectors().bytes})));"


def flip_lines(ctype: str) -> Iterator[str]:
    """Write the transpose of a square of one vector's width; rows beyond `rows` are zeros."""
    letter, unit = LETTER[ctype], lanes(ctype)
    yield from mix_lines(ctype)
    head = (
        f"INLINE void flip_{letter}(int rows, const {ctype} *from, int row, {ctype} *to, int wide)"
    )
    yield head + " {"
    for k in range(unit):
        yield f"    vec{letter} r{k} = {{0}};"
        yield f"    if ({k} < rows) r{k} = LOAD{letter}(from + {k} * row);"
    names, span = [f"r{k}" for k in range(unit)], 1
    while span < unit:
        fresh = list(names)
        for k in (k for k in range(unit) if not k & span):
            low = [j if not j & span else j - span + unit for j in range(unit)]
            for place, shift in ((k, 0), (k + span, span)):
                order = ", ".join(str(j + shift) for j in low)
                fresh[place] = f"s{span}_{place}"
                yield (
                    f"    vec{letter} {fresh[place]} = "
                    f"MIX(order{letter}, {names[k]}, {names[k + span]}, {order});"
                )
        names, span = fresh, span * 2
    for k in range(unit):
        yield f"    STORE{letter}(to + {k} * wide, {names[k]});"
    yield "}"


def head_lines() -> Iterator[str]:
    """Write the vector types: the compiler's own, as wide as the CPU's registers."""
    yield KEEP
    width = vectors().bytes
    for t, letter in LETTER.items():
        yield f"typedef {t} vec{letter} __attribute__((vector_size({width})));"
        yield (
            f"typedef {t} any{letter} __attribute__((vector_size({width}), "
            f"aligned({SIZES[t]}), may_alias));"
        )
        yield f"#define LOAD{letter}(p) (*(const any{letter} *)(p))"
        yield f"#define STORE{letter}(p, v) (*(any{letter} *)(p) = (v))"


def padded(n: int, ctype: str) -> int:
    """Return a count of columns in whole vectors."""
    return math.ceil(n / lanes(ctype)) * lanes(ctype)
