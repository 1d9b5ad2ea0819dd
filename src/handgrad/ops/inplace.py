"""In-place operations as functions that return the changed tensor, in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

REFLEXIVE = {
    "__iadd__": "__add__",
    "__isub__": "__sub__",
    "__imul__": "__mul__",
    "__itruediv__": "__truediv__",
    "__idiv__": "__truediv__",
    "__ipow__": "__pow__",
}
NOT_WRITING = {"requires_grad_", "detach_", "share_memory_", "rename_", "retain_grad_"}


def is_inplace(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Tell whether a torch function of that name changes its first argument."""
    if name == "__setitem__" or name in REFLEXIVE or kwargs.get("inplace") is True:
        return True
    return name.endswith("_") and not name.startswith("_") and name not in NOT_WRITING


def functional(function: Any, name: str) -> Callable[..., torch.Tensor] | None:
    """Return a function of the same arguments that gives the changed tensor back."""
    if name == "__setitem__":
        return write_at
    if name in REFLEXIVE:
        return getattr(torch.Tensor, REFLEXIVE[name])
    if name in WRITERS:
        return WRITERS[name]
    if name.endswith("_"):
        return getattr(torch.Tensor, name[:-1], None)
    return lambda *args, **kwargs: function(*args, **{**kwargs, "inplace": False})


def copied(x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Return what `x.copy_(source)` makes of x."""
    same = source if source.dtype == x.dtype else source.to(x.dtype)
    return same if same.shape == x.shape else same.expand_as(x)


def diagonal_filled(x: torch.Tensor, value: float, wrap: bool = False) -> torch.Tensor:
    """Return what `x.fill_diagonal_(value)` makes of a matrix x.

    Raises:
        NotImplementedError: there are more than two axes, or the diagonal wraps.
    """
    if x.ndim != 2 or wrap:
        raise NotImplementedError
    return x.masked_fill(torch.eye(*x.shape, dtype=torch.bool), value)


WRITERS: dict[str, Callable[..., torch.Tensor]] = {
    "zero_": torch.zeros_like,
    "fill_": torch.full_like,
    "copy_": copied,
    "fill_diagonal_": diagonal_filled,
}


def write_at(x: torch.Tensor, index: Any, value: Any) -> torch.Tensor:
    """Return what `x[index] = value` makes of x.

    An index that mixes tensors with slices is written as the places of its entries.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if all(isinstance(part, int | slice | type(...)) for part in parts):
        return write_basic(x, whole(parts, x.ndim), 0, value)
    masked = len(parts) == 1 and is_mask(parts[0]) and parts[0].ndim == x.ndim
    if masked and not isinstance(value, torch.Tensor):
        return x.masked_fill(parts[0], value)
    entries = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=x.dtype)
    entries = entries if entries.dtype == x.dtype else entries.to(x.dtype)
    while parts and parts[-1] == slice(None):
        parts = parts[:-1]
    if masked and x.ndim == 0:
        return x.reshape(1).index_put((parts[0].reshape(1),), entries).reshape(())
    if all(isinstance(part, torch.Tensor | range | list | int) for part in parts):
        return x.index_put(tuple(as_tensor(part) for part in parts), entries)
    with torch._C.DisableTorchFunction():
        places = torch.arange(x.numel()).reshape(x.shape)[index]
    stretched = entries.expand(places.shape).reshape(-1)
    return x.reshape(-1).index_put((places.reshape(-1),), stretched).reshape(x.shape)


def whole(parts: list[Any], ndim: int) -> list[Any]:
    """Write out what `...` stands for."""
    if ... not in parts:
        return parts
    place = parts.index(...)
    missing = ndim - len(parts) + 1
    return [*parts[:place], *[slice(None)] * missing, *parts[place + 1 :]]


def write_basic(x: torch.Tensor, parts: list[Any], axis: int, value: Any) -> torch.Tensor:
    """Return x with the part that ints and slices pick, from an axis on, replaced."""
    while parts and parts[0] == slice(None):
        parts, axis = parts[1:], axis + 1
    if not parts:
        if not isinstance(value, torch.Tensor):
            return torch.full_like(x, value)
        return value if value.shape == x.shape else value.expand_as(x)
    part, *rest = parts
    if isinstance(part, int):
        return x.select_scatter(write_basic(x.select(axis, part), rest, axis, value), axis, part)
    here = (slice(None),) * axis + (part,)
    inner = write_basic(x[here], rest, axis + 1, value)
    step = 1 if part.step is None else part.step
    return x.slice_scatter(inner, axis, part.start, part.stop, step)


def is_mask(part: Any) -> bool:
    """Tell whether part of an index is a mask."""
    return isinstance(part, torch.Tensor) and part.dtype == torch.bool


def as_tensor(part: Any) -> torch.Tensor:
    """Return part of an index as an index tensor."""
    if isinstance(part, torch.Tensor):
        return part
    return torch.arange(part.stop) if isinstance(part, range) else torch.tensor(part)
