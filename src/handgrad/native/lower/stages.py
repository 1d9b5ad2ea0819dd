"""Which arrays are stored, and what is computed anew wherever it is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from handgrad.native.lower.array import KEPT, Array, operands
from handgrad.native.lower.expr import Entry, Index, axes_of
from handgrad.native.lower.tree import remade, substitute, walk

COSTS = {"const": 0, "var": 0, "lin": 0, "hyper": 0, "read": 1, "cast": 1, "div": 4, "sqrt": 6}
COSTS |= dict.fromkeys(
    ["exp", "log", "log1p", "expm1", "erf", "tanh", "sigmoid", "pow", "sin", "cos", "tan"], 14
)
STORING = 5  # what it costs to store an entry, in units of an addition
LARGEST = 160  # nodes of a definition that takes other definitions into itself


@dataclass(frozen=True, eq=False)
class Stage:
    """One array that is stored, with its definition in terms of arrays that are stored.

    Attributes:
        into: the input whose memory it overwrites; empty if it has memory of its own.
    """

    array: Array
    body: Entry
    places: Index = ()
    into: str = ""

    @cached_property
    def reads(self) -> list[Entry]:
        """Return every read in the definition."""
        found: dict[Entry, None] = {}
        for entry in (self.body, *self.places):
            found |= {node: None for node in walk(entry) if node.op == "read"}
        return list(found)

    @cached_property
    def sources(self) -> set[Array]:
        """Return the arrays that it reads."""
        found = {node.args[0] for node in self.reads}
        return found | ({self.array.base} if self.array.base is not None else set())


def ordered(roots: Iterable[Array]) -> list[Array]:
    """Return all arrays that some arrays are made of, operands first."""
    found: dict[Array, None] = {}
    stack = [(root, False) for root in reversed(list(roots))]
    seen: set[Array] = set()
    while stack:
        array, done = stack.pop()
        if done:
            found[array] = None
        elif array not in seen:
            seen.add(array)
            stack.append((array, True))
            stack.extend((operand, False) for operand in reversed(operands(array)))
    return list(found)


def stages(roots: Iterable[Array], into: Mapping[Array, str]) -> list[Stage]:
    """Return the stages that compute some arrays, in an order that respects what they read.

    Args:
        roots: the arrays that are wanted; they are stored.
        into: for roots that overwrite an input, its name.
    """
    roots = list(roots)
    arrays = ordered(roots)
    stored = chosen(arrays, set(roots))
    bodies: dict[Array, Entry] = {}
    found: list[Stage] = []
    for array in arrays:
        if array.kind == "input" or array.numel == 0:
            continue
        assert array.body is not None
        body = inlined(array.body, stored, bodies)
        if array in stored:
            places = tuple(inlined(place, stored, bodies) for place in array.places)
            found.append(Stage(array, body, places, into.get(array, "")))
        else:
            bodies[array] = body
    return found


def inlined(entry: Entry, stored: set[Array], bodies: Mapping[Array, Entry]) -> Entry:
    """Return an entry with what is not stored computed where it is read."""
    done: dict[Entry, Entry] = {}

    for node in walk(entry):
        fresh = remade(node, done)
        if fresh.op == "read" and fresh.args[0] not in stored:
            array, index = fresh.args
            if array.kind != "input":
                fresh = substitute(
                    bodies[array], dict(zip(axes_of(array.shape), index, strict=True))
                )
        done[node] = fresh
    return done[entry]


def chosen(arrays: list[Array], roots: set[Array]) -> set[Array]:
    """Choose the arrays to store: those that would cost more to compute at every use."""
    fixed = {a for a in arrays if a in roots or a.kind != "map" or a.how == KEPT}
    fixed |= {a.base for a in arrays if a.base is not None}  # read as it stands, not entry by entry
    stored = {a for a in fixed if a.kind != "input"}
    always = set(stored)
    stored |= {a for a in arrays if a.kind == "map" and own_cost(a) > 0}
    for _ in range(3):
        evaluations = counted(arrays, stored)
        stored = set(always)
        costs: dict[Array, tuple[float, int]] = {}
        for array in arrays:
            if array.kind == "input" or array in always:
                continue
            cost, size = full_cost(array, costs, stored)
            extra = (evaluations[array] / max(array.numel, 1) - 1) * cost
            if extra > STORING or size > LARGEST:
                stored.add(array)
            else:
                costs[array] = cost, size
    return stored


def own_cost(array: Array) -> float:
    """Return what an entry costs beside what it reads."""
    assert array.body is not None
    return sum(COSTS.get(node.op, 1) for node in walk(array.body) if node.op != "read")


def full_cost(
    array: Array, costs: Mapping[Array, tuple[float, int]], stored: set[Array]
) -> tuple[float, int]:
    """Return the cost of an entry, and the nodes in it, with what it computes anew."""
    assert array.body is not None
    cost, size = 0.0, 0
    for node in walk(array.body):
        if node.op == "read" and node.args[0] in costs and node.args[0] not in stored:
            more, nodes = costs[node.args[0]]
            cost, size = cost + more, size + nodes
        elif node.op not in ("lin", "var", "const"):
            cost, size = cost + COSTS.get(node.op, 1) * (node.op != "read"), size + 1
    return cost, size


def counted(arrays: list[Array], stored: set[Array]) -> dict[Array, float]:
    """Return how many entries of each array are read in all."""
    found: dict[Array, float] = dict.fromkeys(arrays, 0.0)
    for array in reversed(arrays):
        if array.body is None:
            continue
        times = float(array.numel * math.prod(array.over if array.kind == "reduce" else ()))
        if array.kind == "scatter":
            times = float(math.prod(array.over))
        if array not in stored and array.kind == "map":
            times = found[array]
        for entry in (array.body, *array.places):
            for node in walk(entry):
                if node.op == "read":
                    found[node.args[0]] += times
        if array.base is not None:
            found[array.base] += array.numel
    return found
