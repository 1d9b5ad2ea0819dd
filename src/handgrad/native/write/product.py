"""Stages that are matrix products, found by how their operands are read, and written in tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from handgrad.native.kernels.tiles import Strip, Tile, lanes, strips
from handgrad.native.lower.array import SIZES
from handgrad.native.lower.expr import Entry, is_float, summed, var
from handgrad.native.lower.tree import substitute
from handgrad.native.write.dotted import (
    columns_lines,
    dotted,
    edge_of,
    flipped_edge,
    is_faster,
    runs_along,
)
from handgrad.native.write.finish import Finishing
from handgrad.native.write.frame import collapsed, divisor, step_of
from handgrad.native.write.panels import (
    APART,
    DEEPEST,
    NEAREST,
    TALLEST,
    Held,
    Run,
    Source,
    panel_bytes,
    panel_lines,
    runs,
)
from handgrad.native.write.turns import chunks, rows_lines, with_rows

LEAST = 2 * 8 * 8  # products below this are not worth a tile
MANY = 64  # rows that make a copy of the right operand worth its while
LINE = 64  # bytes that come from memory together
SECOND = 256 * 1024  # bytes of a left operand that the next cache holds


@dataclass(frozen=True)
class Product:
    """C[m, n] = sum over k of A[m, k] * B[k, n], for each turn of the loops.

    Attributes:
        a: the read of the left operand; b of the right one; c the position of the result.
        m: the variable of rows, n of columns, k of what is summed; None where there is one entry.
        loops: variables of loops around it.
        more: variables of loops that add to what is there.
        other: another entry at the place of the result.
    """

    a: Entry
    b: Entry
    c: Entry
    m: Entry | None
    n: Entry | None
    k: Entry
    loops: tuple[Entry, ...]
    more: tuple[Entry, ...]
    other: Entry | None = None


def find_product(
    loops: list[Entry],
    over: list[Entry],
    body: Entry,
    target: Entry,
    ctype: str,
    other: Entry | None = None,
) -> Product | None:
    """Return a stage's loops as a matrix product, if they are one.

    Args:
        loops: the variables of the result's axes.
        over: those that are summed over.
        body: what is summed.
        target: the position of the result.
        ctype: the type of the result.
        other: another entry at the place of the result.
    """
    if body.op != "mul" or not is_float(ctype) or any(a.op != "read" for a in body.args):
        return None
    if any(a.ctype != ctype for a in body.args):
        return None
    a, b = body.args
    given = [a, b, target] if other is None else [a, b, target, other]
    loops, over, entries = divided(loops, over, given)
    loops, entries = collapsed(loops, entries)
    over, entries = collapsed(over, entries)
    a, b, target = entries[:3]
    other = None if other is None else entries[3]
    return arranged(a, b, target, loops, over, other)


def arranged(
    a: Entry, b: Entry, target: Entry, loops: list[Entry], over: list[Entry], other: Entry | None
) -> Product | None:
    """Return a product with its rows and columns chosen; None if there are none."""
    steps = {
        v: (step_of(a.args[1][0], v), step_of(b.args[1][0], v), step_of(target, v))
        for v in (*loops, *over)
    }
    if any(step is None for many in steps.values() for step in many) or not over:
        return None
    rows = [v for v in loops if steps[v][0] and not steps[v][1]]
    columns = [v for v in loops if steps[v][1] and not steps[v][0]]
    k = max(over, key=lambda v: depth_of(steps[v], v.args[1]))
    if not (steps[k][0] and steps[k][1]):
        return None
    found = Product(a, b, target, last(rows), last(columns), k, (), (), other)
    if found.m is not None and steps[found.m][2] == 1:
        found = replace(found, a=b, b=a, m=found.n, n=found.m)
    if found.n is None or steps[found.n][2] != 1:
        return None
    size = (found.m.args[1] if found.m else 1) * found.n.args[1] * k.args[1]
    if size < LEAST:
        return None
    own = (found.m, found.n)
    rest = tuple(v for v in loops if v not in own)
    return replace(found, loops=rest, more=tuple(v for v in over if v is not k))


def depth_of(steps: tuple[int | None, ...], size: int) -> tuple[bool, int, int, int]:
    """Return what makes a variable the one to sum over in registers: long, along memory."""
    a, b, _ = (abs(step or 0) for step in steps)
    return bool(a and b), min(size, 32), -max(a, b), size


def last(variables: list[Entry]) -> Entry | None:
    """Return the variable with the longest loop, the last of several."""
    return max(reversed(variables), key=lambda v: v.args[1], default=None)


def divided(
    loops: list[Entry], over: list[Entry], entries: list[Entry]
) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Split loops whose variable is divided in a position, so that positions are sums again."""
    found = (list(loops), list(over))
    for several in found:
        for variable in list(several):
            by = divisor(entries, variable)
            if by is None or variable.args[1] % by:
                continue
            name, size = variable.args
            high, low = var(f"{name}_hi", size // by), var(f"{name}_lo", by)
            whole = summed((high, by), (low, 1))
            entries = [substitute(entry, {variable: whole}) for entry in entries]
            at = several.index(variable)
            several[at : at + 1] = [v for v in (high, low) if v.op == "var"]
    return found[0], found[1], entries


@dataclass
class ProductWriter:
    """Writes a product.

    Attributes:
        text: writes a whole number.
        tiles: the tiles that were needed.
        held: where copies are made that serve every turn of a loop around this stage; None where
            the right operand is another at each turn.
        finishing: what is made of the sums before they are stored.
        scratch: the most bytes that a copy of an operand needed.
    """

    product: Product
    ctype: str
    names: tuple[str, str, str]
    text: Callable[[Entry], str]
    tiles: set[Tile]
    held: Held | None = None
    finishing: Finishing | None = None
    scratch: int = 0

    def __post_init__(self) -> None:
        p = self.product
        assert p.n is not None
        self.m, self.n, self.depth = (1 if v is None else v.args[1] for v in (p.m, p.n, p.k))
        a_row, c_row = (0 if p.m is None else self.step(x, p.m) for x in (p.a.args[1][0], p.c))
        self.a = Source(self.begin(0, p.a.args[1][0]), a_row, self.step(p.a.args[1][0], p.k))
        b = p.b.args[1][0]
        self.b = Source(self.begin(1, b), self.step(b, p.k), self.step(b, p.n))
        self.c = Source(self.begin(2, p.c), c_row, 1)
        self.add = " || ".join(v.args[0] for v in p.more) or "0"

    def step(self, position: Entry, variable: Entry) -> int:
        """Return how far a position moves with a variable."""
        return step_of(position, variable) or 0

    def begin(self, operand: int, position: Entry) -> str:
        """Return where an operand begins."""
        p = self.product
        first = {v: summed() for v in (p.m, p.n, p.k) if v is not None}
        return f"{self.names[operand]} + {self.text(substitute(position, first))}"

    def lines(self) -> list[str]:
        """Return the loops of tiles."""
        p, n, unit = self.product, self.n, lanes(self.ctype)
        large = panel_bytes(n, self.depth, self.ctype) > NEAREST
        copied = self.b.across != 1 or n < unit or bool(p.more and n % unit)
        held = self.held is not None and not p.loops and not p.more
        if held and (copied or large):
            return self.from_held()
        far = far_apart(self.a, self.depth, self.ctype) and n >= 2 * unit
        if self.m >= MANY and (large or far):
            return self.in_blocks(far)
        exact = not p.more and not copied  # a copy has whole vectors
        found = strips(self.ctype, self.m, n, self.depth, whole=exact)
        if not p.more and self.finishing is None and runs_along(self.a, self.depth, self.ctype):
            lines = self.along(found, copied)
            if lines:
                return lines
        if not p.more and not copied and self.a.step == 1 and self.finishing is not None:
            lines = self.with_flipped_edge(self.finishing)
            if lines:
                return lines
        if not copied:
            return self.tiled(found, self.m, self.depth, self.a, (self.b.text, self.b.step), self.c)
        self.scratch = panel_bytes(n, self.depth, self.ctype)
        return [
            f"{self.ctype} *restrict pack_ = (void *)scratch;",
            *panel_lines("pack_", self.b, n, self.depth, found, self.ctype),
            *self.tiled(found, self.m, self.depth, self.a, ("pack_", 0), self.c),
        ]

    def along(self, found: Sequence[Strip], copied: bool) -> list[str]:
        """Return the loops of tiles whose vectors run along the sums; none if others are faster.

        Args:
            found: the others.
            copied: whether these want a copy of the right operand.
        """
        b, many = self.b, (self.m, self.n, self.depth)
        if copied:
            if b.step != 1 or not is_faster(found, *many, self.ctype):
                return []
            columns = Source(b.text, b.across, 1)
            return dotted(self.a, columns, self.c, many, self.ctype, self.tiles)
        edge = edge_of(*many, self.ctype)
        if not edge:
            return []
        whole = self.n - edge
        self.scratch = edge * self.depth * SIZES[self.ctype]
        inner = strips(self.ctype, self.m, whole, self.depth, whole=True)
        last = replace(self.c, text=f"{self.c.text} + {whole}")
        copy, size = Source("pack_", self.depth, 1), (self.m, edge, self.depth)
        return [
            *self.tiled(inner, self.m, self.depth, self.a, (b.text, b.step), self.c),
            f"{self.ctype} *restrict pack_ = (void *)scratch;",
            *columns_lines("pack_", b, whole, edge, self.depth),
            *dotted(self.a, copy, last, size, self.ctype, self.tiles),
        ]

    def with_flipped_edge(self, finishing: Finishing) -> list[str]:
        """Return the loops of tiles, the last columns with vectors along rows; none if slower."""
        edge, found = flipped_edge(self.m, self.n, self.depth, self.ctype)
        if not edge:
            return []
        whole, a, b, c = self.n - edge, self.a, self.b, self.c
        self.scratch = edge * self.m * SIZES[self.ctype]
        inner = strips(self.ctype, self.m, whole, self.depth, whole=True)
        lines = self.tiled(inner, self.m, self.depth, a, (b.text, b.step), c)
        sums = replace(self, finishing=None)
        left, flipped = Source(f"{b.text} + {whole}", 1, b.step), Source("pack_", self.m, 1)
        column = f"({whole} + c_)"
        opening, text = finishing.one_by_one(self.ctype, f"pack_[{self.m} * c_ + m_]", "m_", column)
        return [
            f"{self.ctype} *restrict pack_ = (void *)scratch;",
            *sums.tiled(found, edge, self.depth, left, (a.text, a.across), flipped),
            "AGAIN;",
            *lines,
            "AGAIN;",
            f"for (int m_ = 0; m_ < {self.m}; m_++)",
            f"    for (int c_ = 0; c_ < {edge}; c_++) {{",
            *("        " + line for line in opening),
            f"        ({c.text})[{c.step} * m_ + {column}] = {text};",
            "    }",
        ]

    def at_once(self) -> bool:
        """Tell whether each sum is made at once, and its tiles store whole vectors."""
        p, unit = self.product, lanes(self.ctype)
        if p.more or self.n < unit:
            return False
        copied = self.b.across != 1
        large = panel_bytes(self.n, self.depth, self.ctype) > NEAREST
        if copied or large:
            if self.n % unit:
                return False
            if self.held is not None and not p.loops:
                return True
        far = far_apart(self.a, self.depth, self.ctype) and self.n >= 2 * unit
        return self.m < MANY or not (large or far)

    def from_held(self) -> list[str]:
        """Return the loops of tiles on a copy that serves every turn."""
        assert self.held is not None
        found = strips(self.ctype, self.m, self.n, self.depth, whole=False)
        widths = tuple(strip.tile.wide for strip in found)
        name = self.held.hold(
            (self.ctype, self.b, widths),
            panel_bytes(self.n, self.depth, self.ctype),
            lambda name: panel_lines(name, self.b, self.n, self.depth, found, self.ctype),
        )
        return self.tiled(found, self.m, self.depth, self.a, (name, 0), self.c)

    def in_blocks(self, far: bool) -> list[str]:
        """Return the loops of tiles, part of the sums at a time, on copies of the operands."""
        size = SIZES[self.ctype]
        most = DEEPEST if far else 2 * DEEPEST
        parts = -(-self.depth // most)
        deep = -(-self.depth // (8 * parts)) * 8 if parts > 1 else self.depth
        tall = TALLEST if far else max(SECOND // (deep * size), MANY)
        tall = -(-self.m // -(-self.m // tall))
        across = -(-(tall + APART) * deep * size // LINE) * LINE if far else 0
        self.scratch = across + panel_bytes(self.n, deep, self.ctype)
        opening = [f"{self.ctype} *restrict pack_ = (void *)(scratch + {across});"]
        if far:
            opening.append(f"{self.ctype} *restrict tall_ = (void *)scratch;")
        return opening + chunks(
            "k0_", self.depth, deep, lambda k, many: self.part(k, many, tall, far)
        )

    def part(self, k0: str, deep: int, tall: int, far: bool) -> list[str]:
        """Return the loops of tiles for part of the sums, some rows at a time."""
        b = Source(f"{self.b.text} + {self.b.step} * {k0}", self.b.step, self.b.across)
        found = strips(self.ctype, tall, self.n, deep, whole=False)

        def rows(m0: str, high: int) -> list[str]:
            place = f"{self.a.text} + {self.a.across} * {k0} + {self.a.step} * {m0}"
            a = Source(place, self.a.step, self.a.across)
            lines: list[str] = []
            if far:
                wide, size = high + APART, high * SIZES[self.ctype]
                lines = [
                    f"for (int k_ = 0; k_ < {deep}; k_++)",
                    f"    memcpy(tall_ + {wide} * k_, {place} + {self.a.across} * k_, {size});",
                ]
                a = Source("tall_", 1, wide)
            c = Source(f"{self.c.text} + {self.c.step} * {m0}", self.c.step, 1)
            own = [with_rows(strip, high, deep) for strip in found]
            add = f"{self.add} || {k0}"
            return lines + self.tiled(own, high, deep, a, ("pack_", 0), c, add)

        copy = panel_lines("pack_", b, self.n, deep, found, self.ctype)
        return copy + chunks("m0_", self.m, tall, rows)

    def tiled(
        self,
        found: Sequence[Strip],
        m: int,
        depth: int,
        a: Source,
        b: tuple[str, int],
        c: Source,
        add: str = "",
    ) -> list[str]:
        """Return the loops of tiles.

        Args:
            found: the columns by tiles.
            m: how many rows.
            depth: how many products each entry sums.
            a: the left operand, its entries `across` apart in a row.
            b: the right operand and how far apart its rows are, 0 for a copy in panels.
            c: the result.
            add: whether to add to what is there.
        """
        lines: list[str] = []
        if self.finishing is not None:
            found = self.finishing.strips(found, self.ctype)
        for run in runs(found, self.ctype):
            first, last = run.strip, run.strip.last
            self.tiles |= {t for t in (first.tile if first.count else None, last) if t is not None}

            def strip(column: str, run: Run = run) -> list[str]:
                at = f" + {column}" if column != "0" else ""
                there = at if b[1] else f" + {depth} * {column}" if at else ""
                right = f"{b[0]}{there}, {b[1] or run.wide}"
                call = partial(self.call, depth, a, right, c, at, add or self.add)
                return rows_lines(run.strip, m, call)

            lines += run.loop(strip)
        return lines

    def call(
        self,
        depth: int,
        a: Source,
        right: str,
        c: Source,
        at: str,
        add: str,
        tile: Tile,
        row: str,
    ) -> str:
        """Return the call of a tile."""
        last = add if self.finishing is None else self.finishing.arguments(row, at)
        return (
            f"{tile.name}({depth}, {a.text} + {a.step} * {row}, {a.step}, {a.across}, "
            f"{right}, {c.text} + {c.step} * {row}{at}, {c.step}, {last});"
        )


def far_apart(a: Source, depth: int, ctype: str) -> bool:
    """Tell whether a left operand's rows stand side by side, and what is summed far apart."""
    return a.step == 1 and a.across * SIZES[ctype] >= LINE and depth >= 2 * LINE
