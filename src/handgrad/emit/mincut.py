"""The cheapest set of nodes that cuts what is given from what is wanted."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from itertools import pairwise
from typing import TypeAlias, TypeVar

N = TypeVar("N", bound=Hashable)
Edges: TypeAlias = "dict[Hashable, dict[Hashable, int]]"

GIVEN, WANTED = ("given",), ("wanted",)


def cheapest_cut(
    costs: Mapping[N, int],
    reads: Mapping[N, Iterable[N]],
    again: Mapping[N, int],
    wanted: Iterable[N],
) -> set[N]:
    """Return the nodes to keep, of least total cost, from which all that is wanted can be made.

    Of several cheapest sets it is the one nearest to what is wanted: the least is made again.

    Args:
        costs: what keeping each node costs.
        reads: what each node is made from.
        again: what making each node again costs; one that is not here cannot be made again.
        wanted: nodes that must be there in the end.
    """
    never = sum(costs.values()) + sum(again.values()) + 1
    edges: Edges = {GIVEN: {}, WANTED: {}}
    for node, cost in costs.items():
        connect(edges, ("in", node), ("out", node), cost)
    for node, sources in reads.items():
        for source in sources:
            connect(edges, ("out", source), ("in", node), never)
    for node in costs:  # cut where the node is made again: then its price is paid
        connect(edges, GIVEN, ("in", node), again.get(node, never))
    for node in wanted:
        connect(edges, ("out", node), WANTED, never)
    saturate(edges)
    near = reaching(edges)
    return {node for node in costs if ("out", node) in near and ("in", node) not in near}


def connect(edges: Edges, start: Hashable, end: Hashable, capacity: int) -> None:
    """Add an edge, and its reverse without capacity."""
    edges.setdefault(start, {})[end] = capacity
    edges.setdefault(end, {}).setdefault(start, 0)


def saturate(edges: Edges) -> None:
    """Send as much flow as goes, along a shortest path each time (Edmonds and Karp, 1972)."""
    while path := shortest_path(edges):
        pairs = list(pairwise(path))
        flow = min(edges[a][b] for a, b in pairs)
        for a, b in pairs:
            edges[a][b] -= flow
            edges[b][a] += flow


def shortest_path(edges: Edges) -> list[Hashable]:
    """Return a path with capacity left from what is given to what is wanted, empty if none is."""
    before: dict[Hashable, Hashable] = {GIVEN: GIVEN}
    waiting: deque[Hashable] = deque([GIVEN])
    while waiting and WANTED not in before:
        node = waiting.popleft()
        for other, capacity in edges[node].items():
            if capacity > 0 and other not in before:
                before[other] = node
                waiting.append(other)
    if WANTED not in before:
        return []
    path: list[Hashable] = [WANTED]
    while path[-1] != GIVEN:
        path.append(before[path[-1]])
    return path[::-1]


def reaching(edges: Edges) -> set[Hashable]:
    """Return the nodes from which capacity is left all the way to what is wanted."""
    found: set[Hashable] = {WANTED}
    waiting: deque[Hashable] = deque([WANTED])
    while waiting:
        node = waiting.popleft()
        for other in edges[node]:
            if other not in found and edges[other].get(node, 0) > 0:
                found.add(other)
                waiting.append(other)
    return found
