"""Which tensors a backward pass saves: the fewest bytes from which the others are cheaply made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.emit.effort import WORTH
from handgrad.emit.graph import Graph, Node
from handgrad.emit.mincut import cheapest_cut
from handgrad.ir import Name
from handgrad.trace import Trace

BYTE = 2**20  # one byte more outweighs any number of tensors more
MOVED = 2**10  # tensors: what forward would compute for backward alone


@dataclass(frozen=True)
class Residuals:
    """What is saved, and what is made again.

    Attributes:
        saved: the tensors to save, in forward order.
        again: the tensors that backward makes again in lines of their own, in forward order.
        split: parts of forward lines that get a line of their own: what is saved without a name,
            and what that shares with other lines.
        names: the names of those parts.
        shared: the names of parts that several of backward's lines read.
    """

    saved: tuple[Node, ...]
    again: tuple[Node, ...]
    split: tuple[Node, ...]
    names: dict[Any, Name]
    shared: dict[Any, Name]


def choose(graph: Graph, taken: Iterable[str]) -> Residuals:
    """Choose what to save: a cheapest cut between the inputs and what backward reads.

    Bytes are counted as autograd's hooks would: the memory of each tensor once, shared by its
    views. An input that autograd would keep costs nothing: it stays alive either way. Making a
    tensor again costs bytes too, for each pass over memory, unless that keeps more bytes than
    autograd does. Of equal costs fewer tensors are better, then less that is made again.

    Args:
        graph: the tensors there are.
        taken: names that are in use.
    """
    groups: dict[int, list[Node]] = {}
    for node in graph.nodes.values():
        groups.setdefault(node.storage, []).append(node)
    places = {n.name: autograd_leaf(graph.trace, n.name) for n in graph.trace.program.inputs}
    theirs = kept_by_autograd(graph.trace, places)
    memory = {name: place.untyped_storage().data_ptr() for name, place in places.items()}
    free = {name for name, place in memory.items() if place in theirs}
    inner = sum(size for place, size in theirs.items() if place not in memory.values())
    kept = cut(graph, groups, free, WORTH)
    if inner < sum(size_of(groups[storage], free) for storage in kept):
        kept = cut(graph, groups, free, None)
    return settled(graph, {s: groups[s] for s in kept}, set(taken))


def cut(graph: Graph, groups: dict[int, list[Node]], free: set[str], worth: int | None) -> set[int]:
    """Return the memories to keep.

    Args:
        graph: the tensors there are.
        groups: the tensors that share each memory.
        free: the inputs that cost nothing.
        worth: how many passes over memory cost as much as keeping it; None if they cost nothing.
    """
    home = {node.key: storage for storage, many in groups.items() for node in many}
    reads = {
        storage: {home[key] for node in many for key in node.reads} - {storage}
        for storage, many in groups.items()
    }
    again = {
        storage: sum(price(graph, node, worth) for node in many)
        for storage, many in groups.items()
        if not any(once(graph, node) for node in many)
    }
    return cheapest_cut(
        {storage: cost(graph, many, free) for storage, many in groups.items()},
        {storage: sources for storage, sources in reads.items() if storage in again},
        again,
        {home[key] for key in graph.wanted},
    )


def once(graph: Graph, node: Node) -> bool:
    """Tell whether a tensor cannot be made again: an input, or costly and there already."""
    if isinstance(node.expr, Name):
        return True
    return not node.again and (graph.in_forward(node.key) or not node.reads)


def price(graph: Graph, node: Node, worth: int | None) -> int:
    """Return the cost of making a tensor again; what forward does not make is made once anyway."""
    return BYTE * node.effort // worth if worth and graph.in_forward(node.key) else 0


def cost(graph: Graph, group: list[Node], free: set[str]) -> int:
    """Return the cost of keeping the memory that some tensors share."""
    forward = any(graph.in_forward(node.key) for node in group)
    named = any(node.name for node in group)
    return size_of(group, free) * BYTE + (1 if forward and named else 3 if forward else MOVED)


def size_of(group: list[Node], free: set[str]) -> int:
    """Return the bytes that keeping a memory adds."""
    return 0 if any(node.name in free for node in group) else max(n.size for n in group)


def settled(graph: Graph, kept: dict[int, list[Node]], taken: set[str]) -> Residuals:
    """Return which tensor of each kept memory is saved, and which ones are made again."""
    asked: dict[int, dict[Any, None]] = {}
    saved: dict[Any, Node] = {}
    while True:
        again = walk_back(graph, kept, saved, asked)
        chosen = {n.key: n for s, keys in asked.items() for n in picked(graph, kept[s], keys)}
        if chosen.keys() == saved.keys():
            break
        saved = chosen
    order = sorted(saved.values(), key=lambda node: node.place)
    own = {line.target for line in graph.own}
    parts = {n.key: n for n in order if not n.name or n.name in own}
    shared = {n.key: n for part in parts.values() for n in shares(graph, part, own)}
    split = sorted((parts | shared).values(), key=lambda node: node.place)
    names = {node.key: called(node, taken, graph) for node in split}
    twice = {node.key: called(node, taken, graph) for node in repeated(graph, again)}
    lines = sorted((n for n in again if n.name or n.key in twice), key=lambda node: node.place)
    return Residuals(tuple(order), tuple(lines), tuple(split), names, twice)


def repeated(graph: Graph, again: list[Node]) -> list[Node]:
    """Return what has no name and would be made again in several lines."""
    reads = [key for node in again for key in node.reads]
    reads += [key for line in graph.lines for key in dict.fromkeys(graph.parts(line.expr))]
    counts = Counter(reads)
    return [node for node in again if not node.name and node.effort and counts[node.key] > 1]


def shares(graph: Graph, part: Node, own: set[str]) -> Iterator[Node]:
    """Yield what a part that forward lines do not make is made from, and they have no name for."""
    if graph.in_forward(part.key):
        return
    for key in part.reads:
        node = graph.nodes[key]
        if node.name in own or (graph.in_forward(key) and not node.name):
            yield node
        if not graph.in_forward(key):
            yield from shares(graph, node, own)


def walk_back(
    graph: Graph,
    kept: dict[int, list[Node]],
    saved: dict[Any, Node],
    asked: dict[int, dict[Any, None]],
) -> list[Node]:
    """Return what is made again from what is saved; note what else is asked of a kept memory."""
    again: list[Node] = []
    seen: set[Any] = set()
    waiting = list(graph.wanted)
    while waiting:
        key = waiting.pop()
        if key in seen or key in saved:
            continue
        seen.add(key)
        node = graph.nodes[key]
        group = kept.get(node.storage, [])
        rooted = any(other.key in saved and not is_view(graph, other) for other in group)
        if group and not (is_view(graph, node) and (rooted or not node.name)):
            asked.setdefault(node.storage, {})[key] = None
        else:
            again.append(node)
            waiting += node.reads
    return again


def is_view(graph: Graph, node: Node) -> bool:
    """Tell whether a tensor lies in the memory of one that it is made from."""
    return any(graph.nodes[key].storage == node.storage for key in node.reads)


def picked(graph: Graph, group: list[Node], keys: Iterable[Any]) -> list[Node]:
    """Return what to save of one memory: what is asked for, or what all of it are views of."""
    roots = [node for node in group if not is_view(graph, node)]
    lone = len(list(keys)) == 1 and not any(isinstance(node.expr, Name) for node in roots)
    if lone or len(roots) > 1 or not roots[0].name:
        return [graph.nodes[key] for key in keys]
    return roots


def called(node: Node, taken: set[str], graph: Graph) -> Name:
    """Return a name for a part of a line: its own, or that of the line with a number."""
    lines = graph.trace.lines
    after = lines[min(max(node.place[0] + 1, 0), len(lines) - 1)].target
    readers = (n.name for n in graph.nodes.values() if node.key in n.reads and n.name)
    stem = next(readers, after)
    name, count = node.name, 1
    while not name or (name in taken and name != node.name):
        name, count = f"{stem}_{count}", count + 1
    taken.add(name)
    return Name(name, node.expr.shape, node.expr.dtype)


def autograd_leaf(trace: Trace, name: str) -> torch.Tensor:
    """Return an input as autograd would see it."""
    return trace.values[name].detach().requires_grad_(name in trace.leaves)


def kept_by_autograd(trace: Trace, given: dict[str, torch.Tensor]) -> dict[int, int]:
    """Return the address and size of every memory that autograd saves for a forward pass."""
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor.detach()

    scope: dict[str, Any] = {"torch": torch, "F": F, **trace.program.scalars, **given}
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        for line in trace.lines:
            exec(compile(line.text, "<forward>", "exec"), scope)
    return {place: storage.nbytes() for place, storage in kept.items()}
