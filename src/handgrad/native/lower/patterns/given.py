"""What a pattern is given: the arguments of a call, lowered, and what it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handgrad.ir import Op
from handgrad.native.lower.array import Array, Graph
from handgrad.native.lower.expr import Entry, Index


@dataclass(frozen=True)
class Given:
    """The arguments of a call.

    Attributes:
        values: arrays, plain values and tuples of them, by name.
        outputs: shape and C type of each result.
    """

    graph: Graph
    values: Mapping[str, Any]
    outputs: tuple[tuple[tuple[int, ...], str], ...]
    op: Op

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the result."""
        return self.outputs[0][0]

    @property
    def ctype(self) -> str:
        """Return the C type of the result."""
        return self.outputs[0][1]

    def map(self, entry: Callable[[Index], Entry]) -> Array:
        """Return the result, entry by entry."""
        return self.graph.map(self.shape, self.ctype, entry)


def stretched(array: Array, index: Index) -> Index:
    """Return where an array that is stretched to an index' rank is read."""
    return index[len(index) - len(array.shape) :]
