"""Arrays by definition: what an entry at `i0, i1, ...` is, and how entries are collected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from handgrad.errors import BadInput
from handgrad.native.forms import CTYPES
from handgrad.native.lower.expr import (
    INT,
    Entry,
    Index,
    axes_of,
    axis,
    cast,
    const,
    make,
    var,
    whole,
)
from handgrad.native.lower.tree import parts, substitute, walk

SIZES = {"float": 4, "double": 8, "int64_t": 8, "int32_t": 4, "int16_t": 2, "int8_t": 1}
SIZES |= {"uint8_t": 1, "bool": 1}
NOTHING = {"sum": 0, "prod": 1}  # what collecting no entries comes to
KEPT = "kept"
"""How a map is made that is stored though it could be made anew wherever it is read."""


@dataclass(frozen=True, eq=False)
class Array:
    """An array, defined entry by entry.

    Attributes:
        kind: input, map, reduce, scatter or scan.
        body: the entry at the axes `i0...`; of a reduction what is collected over `r0...`; of a
            scatter what is written for each of `s0...`.
        how: sum, prod, max, min, argmax or argmin; of a scatter sum or set; of a map empty or KEPT.
        over: the sizes of `r0...` or `s0...`; of a scan the axis.
        places: where a scatter writes, in terms of `s0...`.
        base: what a scatter writes into; None is zeros.
        line: the line of the program that it comes from.
        name: the name in the program, if it has one.
    """

    shape: tuple[int, ...]
    ctype: str
    kind: str
    body: Entry | None = None
    how: str = ""
    over: tuple[int, ...] = ()
    places: Index = ()
    base: Array | None = None
    line: str = ""
    name: str = field(default="", compare=False)

    @property
    def numel(self) -> int:
        """Return the number of entries."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def at(self, index: Index) -> Entry:
        """Return the entry at an index; what is only another way to read is read there."""
        if self.numel == 0:
            return const(0, self.ctype)  # there is none, so that whoever asks has no entry either
        index = tuple(
            whole(0) if n == 1 else i if i.ctype == INT else cast(i, INT)
            for i, n in zip(index, self.shape, strict=True)
        )
        body = self.body
        if self.kind == "map" and self.how != KEPT and body is not None and is_view(body):
            return substitute(body, dict(zip(axes_of(self.shape), index, strict=True)))
        return make("read", (self, index), self.ctype)

    def __repr__(self) -> str:
        return f"{self.name or self.kind}{list(self.shape)}"


def is_view(body: Entry) -> bool:
    """Tell whether an entry is a number or an entry of another array, at places known ahead."""
    if body.op in ("const", "var", "lin"):
        return not any(node.op == "read" for node in walk(body))
    return body.op == "read" and not any(
        node.op in ("read", "select", "wrap") for i in body.args[1] for node in walk(i)
    )


def reads(array: Array) -> list[Entry]:
    """Return every read in an array's definition."""
    found: dict[Entry, None] = {}
    for entry in (array.body, *array.places):
        if entry is not None:
            found |= {node: None for node in walk(entry) if node.op == "read"}
    return list(found)


def operands(array: Array) -> list[Array]:
    """Return the arrays that an array is made of."""
    found = {node.args[0]: None for node in reads(array)}
    if array.base is not None:
        found[array.base] = None
    return list(found)


class Graph:
    """Makes arrays; equal definitions are one array.

    Attributes:
        line: the line of the program that is being lowered.
    """

    def __init__(self) -> None:
        self.line = ""
        self.made: dict[Any, Array] = {}
        self.constants: dict[str, torch.Tensor] = {}

    def array(self, **fields: Any) -> Array:
        """Return the array with a definition."""
        key = tuple(sorted(fields.items(), key=lambda pair: pair[0]))
        if key not in self.made:
            self.made[key] = Array(**fields, line=self.line)
        return self.made[key]

    def input(self, name: str, shape: tuple[int, ...], ctype: str) -> Array:
        """Return an array that is given."""
        return self.array(shape=shape, ctype=ctype, kind="input", name=name)

    def map(
        self, shape: tuple[int, ...], ctype: str, entry: Callable[[Index], Entry], how: str = ""
    ) -> Array:
        """Return the array whose entry at an index is given; how is KEPT for one to be stored."""
        body = cast(entry(axes_of(shape)), ctype)
        return self.array(shape=shape, ctype=ctype, kind="map", body=body, how=how)

    def reduce(self, how: str, body: Entry, free: list[Entry], over: list[Entry]) -> Entry:
        """Return the entry that collects `body` over variables, as a read of an array of its own.

        Args:
            how: sum, prod, max, min, argmax or argmin.
            body: in terms of free variables and those it is collected over.
            free: the variables that stay.
            over: the variables that go.

        Raises:
            BadInput: there is nothing to collect, and no number stands for it.
        """
        if any(v.args[1] == 0 for v in over):
            if how not in NOTHING:
                raise BadInput(f"{how} of nothing")
            return const(NOTHING[how], body.ctype)
        used = {node for node in walk(body) if node.op == "var"}
        kept = [v for v in free if v in used]
        names = {v: axis(place, v.args[1]) for place, v in enumerate(kept)}
        names |= {v: var(f"r{k}", v.args[1]) for k, v in enumerate(over)}
        array = self.array(
            shape=tuple(v.args[1] for v in kept),
            ctype=INT if how.startswith("arg") else body.ctype,
            kind="reduce",
            body=substitute(body, names),
            how=how,
            over=tuple(v.args[1] for v in over),
        )
        return array.at(tuple(kept))

    def scatter(
        self, base: Array, how: str, places: Index, body: Entry, over: tuple[int, ...]
    ) -> Array:
        """Return an array with entries, one for each of `s0...`, written into it.

        Args:
            base: what they are written into.
            how: sum or set.
            places: where, in terms of `s0...`.
            body: what, in terms of `s0...`.
            over: the sizes of all of `s0...`, whether or not anything depends on them.
        """
        return self.array(
            shape=base.shape,
            ctype=body.ctype,
            kind="scatter",
            body=body,
            how=how,
            over=over,
            places=places,
            base=None if is_zero(base) else base,
        )

    def constant(self, tensor: torch.Tensor) -> Array:
        """Return an array of values that are known ahead."""
        name = f"table{len(self.constants)}"
        tensor = tensor.detach().contiguous()
        self.constants[name] = tensor
        return self.input(name, tuple(tensor.shape), CTYPES[tensor.dtype])


def is_zero(array: Array) -> bool:
    """Tell whether an array is zeros."""
    body = array.body
    return array.kind == "map" and body is not None and body.op == "const" and body.args[0] == 0


def depends(entry: Entry, on: Entry) -> bool:
    """Tell whether an entry depends on a variable."""
    return any(node is on for node in walk(entry))


__all__ = [
    "CTYPES",
    "KEPT",
    "SIZES",
    "Array",
    "Graph",
    "depends",
    "is_view",
    "is_zero",
    "operands",
    "parts",
    "reads",
]
