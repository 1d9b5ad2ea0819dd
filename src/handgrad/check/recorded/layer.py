"""Torch's NumPy layer, and what its arrays and functions lack of what NumPy's have."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np
import torch


def layer() -> Any:
    """Return torch's NumPy layer."""
    return importlib.import_module("torch._numpy")


def held(thing: Any) -> Any:
    """Return the tensor that an array of ours holds; anything else as it is."""
    found = getattr(thing, "tensor", None)
    known = type(thing).__module__.startswith("torch._numpy")
    return found if known and isinstance(found, torch.Tensor) else thing


def on_tensors(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return a call on the tensors that arrays hold; `t.numpy()` gives an array that holds `t`."""
    name = getattr(func, "__name__", "")
    args, kwargs = tuple(map(held, args)), {k: held(v) for k, v in kwargs.items()}
    if name == "numpy" and isinstance(args[0], torch.Tensor):
        return lambda t, **_: layer().ndarray(t), args, {}
    if name == "from_numpy" and isinstance(args[0], torch.Tensor):
        return torch.Tensor.view_as, (args[0], args[0]), {}
    return func, args, kwargs


def as_numpy() -> None:
    """Give torch's arrays what NumPy's have."""
    array = layer().ndarray
    if hasattr(array, "__round__"):
        return
    module: Any = importlib.import_module("torch._numpy._ndarray")
    plain_array = module.array
    module.array = lambda obj, *args, **kwargs: plain_array(taken(obj), *args, **kwargs)
    plain_astype, read, write = array.astype, array.__getitem__, array.__setitem__

    def astype(self: Any, dtype: Any, *_: Any, **__: Any) -> Any:
        return plain_astype(self, dtype)

    def getitem(self: Any, index: Any) -> Any:
        return read(*forwards(self, of_integers(index)))

    array.astype, array.__getitem__ = astype, getitem
    array.__setitem__ = lambda self, index, value: write(self, of_integers(index), value)
    array.__round__ = lambda self, digits=0: layer().round(self, digits)
    array.__format__ = lambda self, form: format(shown(self), form)
    array.__str__ = lambda self: str(shown(self))
    array.__repr__ = lambda self: repr(shown(self))
    array.__array__, array.__array_priority__ = as_array, 1000.0  # NumPy's own leave `@` to ours
    array.__class_getitem__ = classmethod(lambda cls, _: cls)  # `np.ndarray[Any, float]`


@dataclass
class TakenUp:
    """Arrays of NumPy's own that a library gave, and ours in their place: for each always one."""

    known: dict[int, tuple[Any, int, Any]] = field(default_factory=dict[int, tuple[Any, int, Any]])

    def one(self, real: np.ndarray[Any, Any]) -> Any:
        """Return ours for an array of NumPy's own."""
        if not of_numbers(real):
            return real
        found, entries = self.known.get(id(real)), crc32(np.ascontiguousarray(real).data)
        if found is None or found[1] != entries:  # it was written into since
            found = self.known[id(real)] = real, entries, of_tensor(real)
        return found[2]


def of_numbers(real: np.ndarray[Any, Any]) -> bool:
    """Tell whether torch has tensors of an array's kind."""
    return real.dtype.kind in "fiub" and real.dtype.itemsize <= 8


TAKEN_UP = TakenUp()


def taken(thing: Any) -> Any:
    """Return what a library gave with its arrays as ours."""
    if type(thing) is np.ndarray:
        return TAKEN_UP.one(thing)
    if type(thing) is tuple and any(type(part) is np.ndarray for part in thing):
        return tuple(map(taken, thing))
    return thing


def of_tensor(real: np.ndarray[Any, Any]) -> Any:
    """Return an array of ours with the entries of NumPy's own; one that is of no numbers as is."""
    if not of_numbers(real):
        return real
    native = np.array(real, dtype=real.dtype.newbyteorder("="), order="C")
    with torch._C.DisableTorchFunction():
        return layer().ndarray(torch.from_numpy(native))


def as_array(array: Any, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
    """Return an array as NumPy's own, for another library."""
    note_leaving(array)
    return copied(array).astype(dtype or array.dtype.name, copy=False)


def note_leaving(array: Any) -> None:
    """Read an array where a recorder sees it: its entries leave what is followed."""
    tensor = array.tensor
    (torch.Tensor.tolist if tensor.requires_grad else torch.Tensor.__array__)(tensor)


def copied(array: Any) -> np.ndarray[Any, Any]:
    """Return a copy of an array as NumPy's own; no recorder sees it."""
    with torch._C.DisableTorchFunction():
        return array.tensor.detach().cpu().numpy().copy()


def shown(array: Any) -> Any:
    """Return an array as NumPy's own, to be printed: no number of it goes anywhere."""
    found = copied(array)
    return found if found.ndim else found[()]


def of_integers(index: Any) -> Any:
    """Return an index whose slices are of Python's integers: `X[s:s + 4]`, `s` of an array."""
    if isinstance(index, tuple):
        return tuple(map(of_integers, index))
    if not isinstance(index, slice):
        return index
    parts = (index.start, index.stop, index.step)
    return slice(*(None if part is None else operator.index(part) for part in parts))


def forwards(array: Any, index: Any) -> tuple[Any, Any]:
    """Return an array and an index of it without negative steps: its axes are flipped for them."""
    parts = index if isinstance(index, tuple) else (index,)
    if not any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts):
        return array, index
    used = [part for part in parts if part is not None and part is not ...]
    wide = sum(getattr(part, "ndim", 1) if is_mask(part) else 1 for part in used)
    axis, found, flipped = 0, list[Any](), list[int]()
    for part in parts:
        if part is None or part is ...:
            axis += 0 if part is None else array.ndim - wide
            found.append(part)
            continue
        if isinstance(part, slice) and (part.step or 1) < 0:
            size = array.shape[axis]
            start, stop, step = part.indices(size)
            flipped.append(axis)
            part = slice(size - 1 - start, size - 1 - stop, -step)
        found.append(part)
        axis += getattr(part, "ndim", 1) if is_mask(part) else 1
    return layer().flip(array, tuple(flipped)), tuple(found)


def is_mask(part: Any) -> bool:
    """Tell whether a part of an index is an array of conditions, which reads several axes."""
    return getattr(held(part), "dtype", None) in (torch.bool, np.dtype(bool))


def full(shape: Any, fill_value: Any, dtype: Any = None, **_: Any) -> Any:
    """Return an array of one number, or of rows that are all the same."""
    value = layer().array(fill_value, dtype=dtype)
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    return layer().broadcast_to(value, tuple(map(operator.index, sizes))).copy()


def full_like(a: Any, fill_value: Any, dtype: Any = None, **_: Any) -> Any:
    """Return an array of one number, as large as another."""
    return full(layer().shape(a), fill_value, dtype or layer().asarray(a).dtype)


def identity(n: int, dtype: Any = None, **_: Any) -> Any:
    """Return the identity matrix."""
    return layer().eye(n, dtype=dtype)


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """Move an axis back to before another."""
    axis, start = axis % a.ndim, start + (a.ndim if start < 0 else 0)
    return layer().moveaxis(a, axis, start - (axis < start))


def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """Pad an array; with one number on all sides, however often it is named."""
    numbers = np.unique(np.asarray(kwargs.get("constant_values", 0)))
    if mode != "constant" or len(numbers) != 1:
        raise NotImplementedError
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
    return layer().pad(array, widths, mode, constant_values=numbers.item())


def median(a: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return the median: of all entries it has no axes."""
    found = layer().median(a, axis, *args, **kwargs)
    return found if axis is not None or kwargs.get("keepdims") else found.reshape(())


def percentile(a: Any, q: Any, axis: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Return percentiles: of all entries each has no axes."""
    found = layer().percentile(a, q, axis, *args, **kwargs)
    return found if axis is not None or kwargs.get("keepdims") else found.reshape(np.shape(q))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    made.__name__: made for made in (full, full_like, identity, rollaxis, pad, median, percentile)
}
