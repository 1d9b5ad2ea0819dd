"""The words that rules are written with, beyond torch's own."""

from __future__ import annotations

import math
from typing import Any

from handgrad.ir import Static
from handgrad.ops.numbers import is_exactly

__all__ = [
    "align",
    "along_channels",
    "axes",
    "bare",
    "count",
    "is_exactly",
    "last_to",
    "over_channels",
    "restore",
    "scalar",
    "to_last",
]


def scalar(value: Any) -> bool:
    """Tell whether an argument is a plain number."""
    return isinstance(value, int | float)


def axes(dim: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes that `dim` names, counted from the left, in order; None names all."""
    if dim is None or dim == () or ndim == 0:
        return tuple(range(ndim))
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    return tuple(sorted(int(d) % ndim for d in dims))


def restore(dy: Any, x: Any, dim: Any, keepdim: bool = False) -> Any:
    """Put back, with size 1, the axes that a reduction over `dim` took from `x`."""
    if keepdim or dim is None or x.ndim == 0:
        return dy
    for axis in axes(dim, x.ndim) if isinstance(dim, tuple | list) else (dim,):
        dy = dy.unsqueeze(axis)
    return dy


def align(dy: Any, x: Any, dim: Any, keepdim: bool = False) -> Any:
    """Put back the axes that a reduction took, but for the leading ones: broadcasting does."""
    if keepdim or dim is None or x.ndim == 0:
        return dy
    taken = axes(dim, x.ndim)
    leading = sum(axis == place for place, axis in enumerate(taken))
    if len(taken) == 1:
        return dy if leading else dy.unsqueeze(dim[0] if isinstance(dim, tuple | list) else dim)
    for axis in taken[leading:]:
        dy = dy.unsqueeze(axis - leading)
    return dy


def count(x: Any, dim: Any) -> Any:
    """Return how many entries of `x` a reduction over `dim` takes together."""
    if len(axes(dim, x.ndim)) >= x.ndim:
        return x.numel()
    return math.prod(x.shape[axis] for axis in axes(dim, x.ndim))


def to_last(x: Any, dim: Any) -> Any:
    """Move the axis that an op works along to the end; None joins all axes to one."""
    if dim is None:
        return x if x.ndim == 1 else x.flatten()
    return x if axes(dim, x.ndim)[0] == x.ndim - 1 else x.movedim(dim, -1)


def last_to(y: Any, x: Any, dim: Any) -> Any:
    """Move the last axis back to where `to_last` found it in `x`."""
    if dim is None:
        return y if x.ndim == 1 else y.reshape_as(x)
    return y if axes(dim, x.ndim)[0] == x.ndim - 1 else y.movedim(-1, dim)


def along_channels(weight: Any, x: Any) -> Any:
    """Lay one value a channel along axis 1 of `x`."""
    return weight.view(-1, *[1] * (x.ndim - 2)) if x.ndim > 2 else weight


def over_channels(dy: Any) -> Any:
    """Sum over all axes but axis 1, where broadcasting does not ask for that by itself."""
    rest = tuple(axis for axis in range(dy.ndim) if axis != 1)
    return dy.sum(dim=rest) if dy.ndim > 2 else dy


def bare(part: Any) -> Any:
    """Return a range or slice without its text."""
    return part.value if isinstance(part, Static) else part


def floating(x: Any, like: Any) -> Any:
    """Return a tensor as floats where it is whole numbers: torch's own call promotes it."""
    return x if x.dtype.is_floating_point else x.type_as(like)
