"""Entries as trees: walking over their nodes, and exchanging some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from handgrad.native.lower.budget import spend
from handgrad.native.lower.expr import (
    COMPARES,
    Entry,
    apply,
    cast,
    floordiv,
    make,
    mod,
    select,
    summed,
    whole,
)


def parts(entry: Entry) -> Iterator[Entry]:
    """Yield the entries that an entry is directly made of."""
    if entry.op == "lin":
        yield from (part for part, _ in entry.args[1])
    elif entry.op in ("read", "load"):
        yield from entry.args[1]
    else:
        yield from (a for a in entry.args if isinstance(a, Entry))


def walk(entry: Entry) -> Iterator[Entry]:
    """Yield every distinct node, operands first."""
    spend()
    seen: set[Entry] = set()
    stack = [(entry, False)]
    while stack:
        node, done = stack.pop()
        if done:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((part, False) for part in parts(node))


def rebuild(entry: Entry, change: Callable[[Entry], Entry | None]) -> Entry:
    """Return an entry with some nodes exchanged, and simplified again.

    Args:
        entry: what is rebuilt.
        change: gives what stands for a node, whose operands have been rebuilt, or None to keep it.
    """
    done: dict[Entry, Entry] = {}
    made: set[Entry] = set()
    for node in walk(entry):
        fresh = remade(node, done)
        if fresh is node or fresh not in made:  # what a node came down to was exchanged before
            fresh = change(fresh) or fresh
        done[node] = fresh
        made.add(fresh)
    return done[entry]


def remade(node: Entry, done: Mapping[Entry, Entry]) -> Entry:
    """Return a node on the rebuilt operands."""
    if all(done[part] is part for part in parts(node)):
        return node
    if node.op == "lin":
        constant = whole(node.args[0])
        return summed((constant, 1), *((done[part], times) for part, times in node.args[1]))
    if node.op in ("read", "load"):
        return make(node.op, (node.args[0], tuple(done[i] for i in node.args[1])), node.ctype)
    if node.op in ("floordiv", "mod"):
        return {"floordiv": floordiv, "mod": mod}[node.op](done[node.args[0]], node.args[1])
    args = tuple(done[a] if isinstance(a, Entry) else a for a in node.args)
    if node.op == "select":
        return select(*args)
    if node.op == "cast":
        return cast(args[0], node.ctype)
    if node.op in COMPARES or node.op in ("add", "sub", "mul", "neg", "div", "and"):
        return apply(node.op, *args)
    return make(node.op, args, node.ctype)


def substitute(entry: Entry, given: Mapping[Entry, Entry]) -> Entry:
    """Return an entry with variables exchanged, all at once."""
    done: dict[Entry, Entry] = {}
    for node in walk(entry):
        done[node] = given[node] if node in given else remade(node, done)
    return done[entry]
