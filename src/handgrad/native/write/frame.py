"""Where arrays stand in memory while one group runs, and its entries as flat positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from handgrad.native.lower.array import Array
from handgrad.native.lower.expr import Entry, Index, floordiv, make, mod, ravel, summed, terms, var
from handgrad.native.lower.groups import Group, Member
from handgrad.native.lower.tree import rebuild, substitute, walk
from handgrad.native.write.panels import Held

LEAST = 4  # turns of an innermost loop that runs along memory


@dataclass(frozen=True)
class Frame:
    """The memory of one turn of a group's outer loop.

    Attributes:
        group: whose turn it is.
        names: the C names of arrays.
        block: how many places this turn takes.
        start: the variable that says where the turn begins.
        held: copies that are made before the first turn.
    """

    group: Group
    names: Mapping[Array, str]
    block: int = 0
    start: Entry = field(default_factory=lambda: var("b0", 2**30))
    held: Held = field(default_factory=Held)

    def dims(self, array: Array) -> tuple[int, ...]:
        """Return the shape that an array has in memory."""
        axis = self.group.local.get(array)
        if axis is None:
            return array.shape
        return (*array.shape[:axis], self.block, *array.shape[axis + 1 :])

    def placed(self, member: Member, entry: Entry) -> Entry:
        """Return an entry of a member in terms of this turn's variables, its reads flat."""
        outer = member.outer
        if outer is not None:
            inner = var(outer.args[0], self.block)
            entry = substitute(entry, {outer: summed((self.start, 1), (inner, 1))})
        return rebuild(entry, self.flat)

    def flat(self, node: Entry) -> Entry | None:
        """Return a read at a flat position."""
        if node.op != "read":
            return None
        array, index = node.args
        return make("read", (array, (self.position(array, index),)), node.ctype)

    def position(self, array: Array, index: Index) -> Entry:
        """Return the flat position of an index into an array."""
        axis = self.group.local.get(array)
        if axis is not None:
            own = summed((index[axis], 1), (self.start, -1))
            index = (*index[:axis], own, *index[axis + 1 :])
        return ravel(index, self.dims(array))


def collapsed(loops: list[Entry], entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Join neighbouring loops that run over memory as one."""
    loops, place = list(loops), 0
    while place + 1 < len(loops):
        outer, inner = loops[place], loops[place + 1]
        joint = var(outer.args[0], outer.args[1] * inner.args[1])
        given = {outer: floordiv(joint, inner.args[1]), inner: mod(joint, inner.args[1])}
        fresh = [substitute(entry, given) for entry in entries]
        if any(broken(entry, joint) for entry in fresh):
            place += 1
            continue
        loops[place : place + 2] = [joint]
        entries = fresh
        place = max(place - 1, 0)
    return loops, entries


def broken(entry: Entry, variable: Entry) -> bool:
    """Tell whether a variable is divided in an entry."""
    return any(
        node.op in ("floordiv", "mod") and any(n is variable for n in walk(node.args[0]))
        for node in walk(entry)
    )


def step_of(position: Entry, variable: Entry) -> int | None:
    """Return how far a position moves with a variable; None where it jumps."""
    _, parts = terms(position)
    if any(
        part is not variable and part.op != "var" and variable in set(walk(part)) for part in parts
    ):
        return None
    return parts.get(variable, 0)


def positions(entry: Entry) -> list[Entry]:
    """Return the flat positions that are read."""
    return [node.args[1][0] for node in walk(entry) if node.op == "read"]


def fittest(loops: list[Entry], entries: list[Entry], target: Entry) -> Entry | None:
    """Return the loop that should be innermost: the one that runs along memory most often."""
    best, score = None, -1.0
    for variable in loops:
        steps = [step_of(p, variable) for entry in entries for p in positions(entry)]
        steps += [step_of(target, variable)] * 2
        along = sum(step == 1 for step in steps)
        still = sum(step == 0 for step in steps)
        jumps = len(steps) - along - still
        own = along + 0.2 * still - 1.5 * jumps + (0.3 if variable.args[1] >= 8 else -1.0)
        if own > score:
            best, score = variable, own
    return best or (loops[-1] if loops else None)


def straight(
    loops: list[Entry], entries: list[Entry]
) -> tuple[list[Entry], list[Entry], Entry | None]:
    """Return a map's loops with the innermost, split where a read position divides it.

    Args:
        loops: the variables.
        entries: an entry of the map, and last the position that it is stored at.
    """
    inner = fittest(loops, entries[:-1], entries[-1])
    by = None if inner is None else divisor(entries, inner)
    if inner is None or by is None or by < LEAST or inner.args[1] % by:
        return loops, entries, inner
    name, size = inner.args
    high, low = var(f"{name}_hi", size // by), var(f"{name}_lo", by)
    entries = [substitute(entry, {inner: summed((high, by), (low, 1))}) for entry in entries]
    at = loops.index(inner)
    parts = [v for v in (high, low) if v.op == "var"]
    return [*loops[:at], *parts, *loops[at + 1 :]], entries, low


def divisor(entries: list[Entry], variable: Entry) -> int | None:
    """Return what a variable is divided by in entries, if it is one number."""
    found = {
        node.args[1]
        for entry in entries
        for node in walk(entry)
        if node.op in ("floordiv", "mod") and node.args[0] is variable
    }
    return found.pop() if len(found) == 1 else None
