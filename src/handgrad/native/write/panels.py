"""Operands of large products copied into panels: side by side, as tiles read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from handgrad.native.kernels.tiles import LETTER, Strip, lanes, padded
from handgrad.native.lower.array import SIZES

NEAREST = 16 * 1024  # bytes of an operand that is read from the nearest cache however it stands
DEEPEST = 192  # products that an entry sums at a time
TALLEST = 480  # rows that are copied at a time
APART = 16  # entries between copied rows, so that they do not meet in the cache


@dataclass(frozen=True)
class Source:
    """A matrix in memory.

    Attributes:
        text: the place of its first entry.
        step: how far apart its rows are.
        across: how far apart the entries of a row are.
    """

    text: str
    step: int
    across: int


@dataclass
class Held:
    """Copies that are made once before a loop, and read at each of its turns.

    Attributes:
        made: the lines that make each copy, by what it is a copy of.
        bytes: how much memory they take.
    """

    made: dict[tuple[object, ...], tuple[str, int, list[str]]] = field(
        default_factory=dict["tuple[object, ...]", "tuple[str, int, list[str]]"]
    )
    bytes: int = 0

    def hold(self, key: tuple[object, ...], size: int, make: Callable[[str], list[str]]) -> str:
        """Return the name of a copy, which is made if there is none yet."""
        if key not in self.made:
            name = f"held{len(self.made)}_"
            self.made[key] = name, self.bytes, make(name)
            self.bytes += -(-size // 64) * 64
        return self.made[key][0]

    def lines(self, begin: int) -> list[str]:
        """Return the lines that make the copies in the memory from a place on."""
        found: list[str] = []
        for (ctype, *_), (name, offset, lines) in self.made.items():
            found.append(f"{ctype} *{name} = (void *)(scratch + {begin + offset});")
            found += lines
        return found


@dataclass(frozen=True)
class Run:
    """Strips of one width, side by side.

    Attributes:
        strip: the first of them.
        count: how many there are.
        wide: how many columns each has in a copy.
    """

    strip: Strip
    count: int
    wide: int

    def loop(self, inside: Callable[[str], list[str]]) -> list[str]:
        """Return lines for each strip, which are told its first column."""
        first, wide = self.strip.column, self.wide
        if self.count == 1:
            return inside(str(first))
        end = first + self.count * wide
        head = f"for (int n_ = {first}; n_ < {end}; n_ += {wide}) {{"
        return [head, *("    " + line for line in inside("n_")), "}"]


def runs(strips: Sequence[Strip], ctype: str) -> list[Run]:
    """Return strips, joined where they are alike."""
    found: list[Run] = []
    for strip in strips:
        wide = strip.tile.wide * lanes(ctype)
        if found:
            run = found[-1]
            alike = (strip.tile, strip.count, strip.last) == (
                run.strip.tile,
                run.strip.count,
                run.strip.last,
            )
            if alike and strip.column == run.strip.column + run.count * wide:
                found[-1] = Run(run.strip, run.count + 1, wide)
                continue
        found.append(Run(strip, 1, wide))
    return found


def panel_lines(
    name: str, b: Source, n: int, depth: int, strips: Sequence[Strip], ctype: str
) -> list[str]:
    """Write a copy of a right operand, strip after strip, each in whole vectors.

    Args:
        name: where the copy stands.
        b: the operand; its rows are what products are summed over.
        n: how many columns it has.
        depth: how many rows.
        strips: its columns by tiles.
        ctype: the type of its entries.
    """
    found: list[str] = []
    for run in runs(strips, ctype):
        many = min(run.wide, n - run.strip.column)

        def lines(column: str, run: Run = run, many: int = many) -> list[str]:
            to = f"{name} + {column} * {depth}"
            place = f"{b.text} + {column} * {b.across}"
            return strip_lines(to, Source(place, b.step, b.across), many, run.wide, depth, ctype)

        found += run.loop(lines)
    return found


def strip_lines(to: str, b: Source, many: int, wide: int, depth: int, ctype: str) -> list[str]:
    """Write a copy of some columns, the rest of the last vector zeros."""
    if b.step == 1 and depth >= lanes(ctype):
        return flip_lines(to, b, many, wide, depth, ctype)
    lines = [f"for (int k_ = 0; k_ < {depth}; k_++) {{"]
    if b.across == 1:
        size = many * SIZES[ctype]
        lines.append(f"    memcpy({to} + {wide} * k_, {b.text} + {b.step} * k_, {size});")
    else:
        entry = f"({b.text})[{b.step} * k_ + {b.across} * c_]"
        lines.append(f"    for (int c_ = 0; c_ < {many}; c_++)")
        lines.append(f"        ({to})[{wide} * k_ + c_] = {entry};")
    if many < wide:
        rest = (wide - many) * SIZES[ctype]
        lines.append(f"    memset({to} + {wide} * k_ + {many}, 0, {rest});")
    return [*lines, "}"]


def flip_lines(to: str, b: Source, many: int, wide: int, depth: int, ctype: str) -> list[str]:
    """Write a transposed copy, square by square; the last ones may overlap."""
    unit, name, last = lanes(ctype), f"flip_{LETTER[ctype]}", depth - lanes(ctype)
    lines = [f"for (int k_ = 0, at_; k_ < {depth}; k_ += {unit}) {{"]
    lines.append(f"    at_ = k_ < {last} ? k_ : {last};")
    whole, rest = many // unit * unit, many % unit
    if whole:
        place = f"{b.text} + at_ + {b.across} * c_"
        lines.append(f"    for (int c_ = 0; c_ < {whole}; c_ += {unit})")
        lines.append(
            f"        {name}({unit}, {place}, {b.across}, {to} + {wide} * at_ + c_, {wide});"
        )
    if rest:
        place = f"{b.text} + at_ + {b.across * whole}"
        lines.append(
            f"    {name}({rest}, {place}, {b.across}, {to} + {wide} * at_ + {whole}, {wide});"
        )
    return [*lines, "}"]


def panel_bytes(n: int, depth: int, ctype: str) -> int:
    """Return the memory of a copy of a right operand."""
    return padded(n, ctype) * depth * SIZES[ctype]
