"""The words that rules are written with, beyond torch's own."""

from __future__ import annotations

from typing import Any

import torch

from handgrad.ir import Static
from handgrad.ops.numbers import is_exactly, write

__all__ = ["as_indices", "axes", "bare", "count", "is_exactly", "restore", "scalar"]


def scalar(value: Any) -> bool:
    """Tell whether an argument is a plain number."""
    return isinstance(value, int | float)


def axes(dim: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes that `dim` names, counted from the left, in order; None names all."""
    if dim is None or dim == ():
        return tuple(range(ndim))
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    return tuple(sorted(int(d) % ndim if ndim else 0 for d in dims))


def restore(dy: Any, x: Any, dim: Any, keepdim: bool = False) -> Any:
    """Put back, with size 1, the axes that a reduction over `dim` took from `x`."""
    if keepdim or dim is None or x.ndim == 0:
        return dy
    for axis in axes(dim, x.ndim) if isinstance(dim, tuple | list) else (dim,):
        dy = dy.unsqueeze(axis)
    return dy


def count(x: Any, dim: Any) -> Any:
    """Return how many entries of `x` a reduction over `dim` takes together."""
    total: Any = 1
    for axis in axes(dim, x.ndim):
        if x.ndim:
            total = x.shape[axis] * total
    return total


def as_indices(index: Any) -> tuple[Any, ...]:
    """Return an index as the tuple of index tensors that `index_put` takes."""
    parts = index if isinstance(index, tuple) else (index,)
    return tuple(torch.arange(stop(part)) if is_range(part) else part for part in parts)


def bare(part: Any) -> Any:
    """Return a range or slice without its text."""
    return part.value if isinstance(part, Static) else part


def is_range(part: Any) -> bool:
    """Tell whether part of an index is `range(stop)`."""
    value = bare(part)
    return isinstance(value, range) and value.start == 0 and value.step == 1


def stop(part: Any) -> Any:
    """Return where `range(stop)` ends, as it is written."""
    if isinstance(part, Static):
        return write(part.value.stop, part.text.removeprefix("range(").removesuffix(")"))
    return part.stop
