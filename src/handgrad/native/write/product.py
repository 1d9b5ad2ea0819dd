"""Stages that are matrix products, found by how their operands are read, and written in tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from handgrad.native.kernels.tiles import LETTER, Strip, Tile, lanes, padded, strips
from handgrad.native.lower.array import SIZES
from handgrad.native.lower.expr import Entry, is_float, summed, var
from handgrad.native.lower.tree import substitute, walk
from handgrad.native.write.frame import collapsed, step_of

LEAST = 2 * 8 * 8  # products below this are not worth a tile


@dataclass(frozen=True)
class Product:
    """C[m, n] = sum over k of A[m, k] * B[k, n], for each turn of the loops.

    Attributes:
        a: the read of the left operand; b of the right one; c the position of the result.
        m: the variable of rows, n of columns, k of what is summed; None where there is one entry.
        loops: variables of loops around it.
        more: variables of loops that add to what is there.
    """

    a: Entry
    b: Entry
    c: Entry
    m: Entry | None
    n: Entry | None
    k: Entry
    loops: tuple[Entry, ...]
    more: tuple[Entry, ...]


def find_product(
    loops: list[Entry], over: list[Entry], body: Entry, target: Entry, ctype: str
) -> Product | None:
    """Return a stage's loops as a matrix product, if they are one."""
    if body.op != "mul" or not is_float(ctype) or any(a.op != "read" for a in body.args):
        return None
    if any(a.ctype != ctype for a in body.args):
        return None
    a, b = body.args
    loops, over, entries = divided(loops, over, [a, b, target])
    loops, entries = collapsed(loops, entries)
    over, entries = collapsed(over, entries)
    a, b, target = entries
    steps = {
        v: (step_of(a.args[1][0], v), step_of(b.args[1][0], v), step_of(target, v))
        for v in (*loops, *over)
    }
    if any(step is None for many in steps.values() for step in many) or not over:
        return None
    rows = [v for v in loops if steps[v][0] and not steps[v][1]]
    columns = [v for v in loops if steps[v][1] and not steps[v][0]]
    k = max(over, key=lambda v: (bool(steps[v][0] and steps[v][1]), v.args[1]))
    if not (steps[k][0] and steps[k][1]):
        return None
    found = Product(a, b, target, last(rows), last(columns), k, (), ())
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


def divisor(entries: list[Entry], variable: Entry) -> int | None:
    """Return what a variable is divided by in entries, if it is one number."""
    found = {
        node.args[1]
        for entry in entries
        for node in walk(entry)
        if node.op in ("floordiv", "mod") and node.args[0] is variable
    }
    return found.pop() if len(found) == 1 else None


@dataclass
class ProductWriter:
    """Writes a product.

    Attributes:
        text: writes a whole number.
        tiles: the tiles that were needed.
        scratch: the most bytes that a copy of an operand needed.
    """

    product: Product
    ctype: str
    names: tuple[str, str, str]
    text: Callable[[Entry], str]
    tiles: set[Tile]
    scratch: int = 0

    def lines(self) -> list[str]:
        """Return the loops of tiles."""
        p = self.product
        m, n, depth = (1 if v is None else v.args[1] for v in (p.m, p.n, p.k))
        assert p.n is not None
        b_position = p.b.args[1][0]
        b_step, n_step = step_of(b_position, p.k) or 0, step_of(b_position, p.n)
        unit = padded(1, self.ctype)
        copied = n_step != 1 or n < unit or bool(p.more and n % unit)
        lines = self.copy(n, depth, n_step or 0, b_step) if copied else []
        a_row = 0 if p.m is None else step_of(p.a.args[1][0], p.m)
        c_row = 0 if p.m is None else step_of(p.c, p.m)
        a_step = step_of(p.a.args[1][0], p.k)
        begin = {v: summed() for v in (p.m, p.n, p.k) if v is not None}
        a = f"{self.names[0]} + {self.text(substitute(p.a.args[1][0], begin))}"
        c = f"{self.names[2]} + {self.text(substitute(p.c, begin))}"
        b = "pack_" if copied else f"{self.names[1]} + {self.text(substitute(b_position, begin))}"
        step = padded(n, self.ctype) if copied else b_step
        add = " || ".join(v.args[0] for v in p.more) or "0"
        exact = not p.more and n >= unit and not copied  # a copy has whole vectors
        for strip in strips(self.ctype, m, n, depth, whole=exact):
            left, result = (a, a_row or 0, a_step or 0), (c, c_row or 0)
            lines += self.strip(strip, m, depth, left, (b, step), result, add)
        return lines

    def copy(self, n: int, depth: int, n_step: int, k_step: int) -> list[str]:
        """Write a copy of the right operand, its columns side by side and in whole vectors."""
        p, wide = self.product, padded(n, self.ctype)
        assert p.n is not None
        self.scratch = depth * wide * SIZES[self.ctype]
        begin = {p.n: summed(), p.k: summed()}
        place = self.text(substitute(p.b.args[1][0], begin))
        lines = [f"{self.ctype} *restrict pack_ = (void *)scratch;"]
        if k_step == 1 and depth >= lanes(self.ctype):
            return lines + self.flips(n, depth, n_step, f"{self.names[1]} + {place}")
        b = f"{self.names[1]}[{place}"
        if n < wide:
            lines.append(f"memset(pack_, 0, {self.scratch});")
        return [
            *lines,
            f"for (int k_ = 0; k_ < {depth}; k_++) {{",
            f"    for (int n_ = 0; n_ < {n}; n_++) {{",
            f"        pack_[{wide} * k_ + n_] = {b} + {k_step} * k_ + {n_step} * n_];",
            "    }",
            "}",
        ]

    def flips(self, n: int, depth: int, n_step: int, b: str) -> list[str]:
        """Write a transposed copy, square by square; the last ones may overlap."""
        unit, wide = lanes(self.ctype), padded(n, self.ctype)
        name = f"flip_{LETTER[self.ctype]}"
        lines = [f"for (int k_ = 0, at_; k_ < {depth}; k_ += {unit}) {{"]
        last = depth - unit
        lines.append(f"    at_ = k_ < {last} ? k_ : {last};")
        whole, rest = n // unit * unit, n % unit
        if whole:
            to = f"pack_ + {wide} * at_ + n_, {wide}"
            lines += [
                f"    for (int n_ = 0; n_ < {whole}; n_ += {unit})",
                f"        {name}({unit}, {b} + at_ + {n_step} * n_, {n_step}, {to});",
            ]
        if rest:
            to = f"pack_ + {wide} * at_ + {whole}, {wide}"
            lines.append(f"    {name}({rest}, {b} + at_ + {n_step * whole}, {n_step}, {to});")
        return [*lines, "}"]

    def strip(
        self,
        strip: Strip,
        m: int,
        depth: int,
        a: tuple[str, int, int],
        b: tuple[str, int],
        c: tuple[str, int],
        add: str,
    ) -> list[str]:
        """Write the tiles of some columns."""
        rows = strip.tile.rows
        self.tiles |= {tile for tile in (strip.tile, strip.last) if tile is not None}

        def call(tile: Tile, row: str) -> str:
            at = f" + {strip.column}" if strip.column else ""
            return (
                f"{tile.name}({depth}, {a[0]} + {a[1]} * {row}, {a[1]}, {a[2]}, "
                f"{b[0]}{at}, {b[1]}, {c[0]} + {c[1]} * {row}{at}, {c[1]}, {add});"
            )

        first = strip.count * rows
        lines = rows_loop(0, first, rows, lambda row: call(strip.tile, row))
        if strip.last is not None:
            own = strip.last
            lines += rows_loop(first, m, own.rows, lambda row: call(own, row))
        return lines


def rows_loop(begin: int, end: int, step: int, call: Callable[[str], str]) -> list[str]:
    """Return a loop over tiles of rows, or the call itself where there is one."""
    if end - begin == step:
        return [call(str(begin))]
    return [f"for (int m_ = {begin}; m_ < {end}; m_ += {step}) {{", f"    {call('m_')}", "}"]
