"""Products whose sums are finished in registers: an update or another map stored in their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from handgrad.native.kernels.tiles import Finish, Strip, lanes
from handgrad.native.lower.array import Array
from handgrad.native.lower.expr import Entry, axes_of, summed
from handgrad.native.lower.groups import Member
from handgrad.native.lower.tree import substitute
from handgrad.native.write.frame import step_of
from handgrad.native.write.text import Writer

ARITHMETIC = {"add", "sub", "mul", "div", "neg"}  # what vectors have operators for
OPERANDS = {"read", "const", "hyper"}


@dataclass(frozen=True)
class Finishing:
    """How the tiles of a product store what is made of their sums.

    Attributes:
        finish: what they store.
        places: for each operand the place of its first entry, and how far apart its rows are.
        numbers: the numbers in C.
    """

    finish: Finish
    places: tuple[tuple[str, int], ...]
    numbers: tuple[str, ...]

    def strips(self, found: Sequence[Strip], ctype: str) -> list[Strip]:
        """Return the columns with tiles that finish their sums."""
        done, changed = 0, []
        for strip in found:
            skip = max(done - strip.column, 0) if self.finish.once else 0
            tiles = [
                None if tile is None else replace(tile, skip=skip, finish=self.finish)
                for tile in (strip.tile, strip.last)
            ]
            assert tiles[0] is not None
            changed.append(replace(strip, tile=tiles[0], last=tiles[1]))
            done = strip.column + strip.tile.wide * lanes(ctype)
        return changed

    def arguments(self, row: str, at: str) -> str:
        """Return the last arguments of a tile's call."""
        places = [
            f"{text} + {step} * {row}{at if along else ''}, {step}"
            for (text, step), along in zip(self.places, self.finish.along, strict=True)
        ]
        return ", ".join([*places, *self.numbers]) or "0"

    def one_by_one(self, ctype: str, made: str, row: str, column: str) -> tuple[list[str], str]:
        """Return declarations in C, and an entry that is made of them.

        Args:
            ctype: the type of the entries.
            made: the sum.
            row: its row.
            column: its column.
        """
        found = [f"const {ctype} made = {made};"]
        for k, ((text, step), along) in enumerate(zip(self.places, self.finish.along, strict=True)):
            place = f"{text} + {step} * {row}" + (f" + {column}" if along else "")
            found.append(f"const {ctype} x{k} = *({place});")
        found += [f"const {ctype} s{k} = {text};" for k, text in enumerate(self.numbers)]
        return found, self.finish.text


@dataclass(frozen=True)
class Site:
    """Where a map is made of a product's sums.

    Attributes:
        made: the array of the sums.
        target: the position of a sum, and of what is made of it.
        rows: the variable of the product's rows; None where there is one.
        columns: that of its columns.
        names: the C names of arrays.
    """

    made: Array
    target: Entry
    rows: Entry | None
    columns: Entry
    names: Mapping[Array, str]

    def steps(self, position: Entry) -> tuple[int, int] | None:
        """Return how far a position moves from row to row and from column to column."""
        row = 0 if self.rows is None else step_of(position, self.rows)
        column = step_of(position, self.columns)
        return None if row is None or column not in (0, 1) else (row, column)

    def begin(self, position: Entry) -> Entry:
        """Return a position at the first row and column."""
        first = {v: summed() for v in (self.rows, self.columns) if v is not None}
        return substitute(position, first)


def finishing(
    name: str, body: Entry, site: Site, writer: Writer, known: Iterable[Finish]
) -> Finishing | None:
    """Return how a map's entries are made where a product's sums are; None if tiles cannot.

    Args:
        name: the array that the map writes.
        body: an entry of it, at flat positions.
        site: where it is made.
        writer: writes whole numbers and numbers that are given.
        known: what tiles store already.
    """
    nodes = list(walk_arithmetic(body))
    if any(node.ctype != site.made.ctype or node.op not in OPERANDS for node in nodes):
        return None
    inside = {node: "made" for node in nodes if node.op == "read" and node.args[0] is site.made}
    reads = [node for node in nodes if node.op == "read" and node not in inside]
    numbers = [node for node in nodes if node.op == "hyper"]
    own = [node for node in reads if site.names[node.args[0]] == name]
    steps = [site.steps(node.args[1][0]) for node in reads]
    if any(node.args[1][0] is not site.target for node in own):
        return None
    places: list[tuple[str, int]] = []
    along: list[bool] = []
    for node, step in zip(reads, steps, strict=True):
        if step is None:
            return None
        text = writer.text(site.begin(node.args[1][0]))
        places.append((f"{site.names[node.args[0]]} + {text}", step[0]))
        along.append(step[1] == 1)
    inside |= {node: f"x{k}" for k, node in enumerate(reads)}
    inside |= {node: f"s{k}" for k, node in enumerate(numbers)}
    text = Writer(writer.address, writer.hypers, named=inside).text(body)
    finish = named(Finish("", text, tuple(along), len(numbers), bool(own)), known)
    return Finishing(finish, tuple(places), tuple(writer.text(node) for node in numbers))


def walk_arithmetic(body: Entry) -> Iterator[Entry]:
    """Yield the distinct operands of an entry's arithmetic, in order; what else it is made of too.

    Positions are not walked into.
    """
    seen: dict[Entry, None] = {}
    stack = [body]
    while stack:
        node = stack.pop()
        if node.op in ARITHMETIC:
            stack.extend(reversed(node.args))
        seen[node] = None
    yield from (node for node in seen if node.op not in ARITHMETIC)


def named(finish: Finish, known: Iterable[Finish]) -> Finish:
    """Return what tiles store with the name that it has, or with a new one."""
    names = {replace(each, name=""): each.name for each in known if each.name}
    return replace(finish, name=names.get(finish, f"end{len(names)}"))


def finishes(maker: Member, users: Sequence[Member], between: Sequence[Member]) -> Member | None:
    """Return the only map that reads a product, if the product may be made where the map is.

    Args:
        maker: the product.
        users: all members that read it.
        between: the members after it, in order.
    """
    if len(users) != 1 or maker.collects:
        return None
    (user,) = users
    stage, array = user.stage, maker.stage.array
    reads = [read for read in stage.reads if read.args[0] is array]
    if stage.array.kind != "map" or stage.array.shape != array.shape or user not in between:
        return None
    if len(reads) != 1 or reads[0].args[1] != axes_of(array.shape):
        return None
    before = between[: between.index(user) + 1]
    written = {member.stage.into for member in before if member.stage.into}
    if written & {source.name for source in maker.stage.sources if source.kind == "input"}:
        return None
    return user
