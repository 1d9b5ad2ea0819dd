"""The words for positions: what each part of `x[index]` picks, and how gradients go back there."""

from __future__ import annotations

import ast
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ir import Static
from handgrad.ops.numbers import is_exactly, plain, text_of, write
from handgrad.ops.words import bare

WHOLE = slice(None)


def part(start: Any, stop: Any) -> Any:
    """Return the slice `start:stop`, as it is written."""
    first = "" if start is None or is_exactly(start, 0) else text_of(start)
    last = "" if stop is None else text_of(stop)
    return Static(slice(plain(start) if first else None, plain(stop)), f"{first}:{last}")


def at(axis: int, entry: Any, ndim: int) -> Any:
    """Return the index that applies `entry` to one of `ndim` axes."""
    if axis == 0:
        return entry
    return (..., entry) if axis == ndim - 1 > 1 else (*[WHOLE] * axis, entry)


def is_tensor(entry: Any) -> bool:
    """Tell whether part of an index is a tensor."""
    return hasattr(entry, "ndim") and hasattr(entry, "dtype")


def is_mask(entry: Any) -> bool:
    """Tell whether part of an index is a mask."""
    return is_tensor(entry) and entry.dtype == torch.bool


def is_whole(entry: Any) -> bool:
    """Tell whether part of an index is a bare `:`."""
    value = bare(entry)
    return isinstance(value, slice) and value == WHOLE


def is_slice(entry: Any) -> bool:
    """Tell whether part of an index is a slice."""
    return isinstance(bare(entry), slice)


def is_int(entry: Any) -> bool:
    """Tell whether part of an index is a number."""
    return isinstance(entry, int) and not isinstance(entry, bool)


def depth(entry: Any) -> int:
    """Return how many axes an array of positions has; a mask counts as one list of positions."""
    if is_tensor(entry):
        return 1 if is_mask(entry) else entry.ndim
    value = bare(entry)
    if isinstance(value, range):
        return 1
    return 1 + depth(value[0]) if isinstance(value, list | tuple) and value else 0


def is_array(entry: Any) -> bool:
    """Tell whether part of an index is an array of positions: tensor, list or range."""
    if is_tensor(entry):
        return not entry.dtype.is_floating_point and entry.dtype != torch.uint8
    value = bare(entry)
    if isinstance(value, range):
        return True
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(is_int(v) or (isinstance(v, list | tuple) and is_array(v)) for v in value)
    )


def spread(x: Any, index: Any) -> list[Any]:
    """Return the parts of an index with `...` written out, one for each axis and each None."""
    parts = list(index) if isinstance(index, tuple) else [index]
    taken = sum(p.ndim if is_mask(p) else p is not None and p is not ... for p in parts)
    rest = [WHOLE] * (x.ndim - taken)
    dots = [place for place, p in enumerate(parts) if p is ...]
    if not dots:
        return parts + rest
    return parts[: dots[0]] + rest + parts[dots[0] + 1 :]


def kind(x: Any, index: Any) -> str:
    """Return what sort of index it is, the name of the row that describes it."""
    parts = spread(x, index)
    arrays = [p for p in parts if is_array(p)]
    rest = [p for p in parts if not is_array(p)]
    if any(not (p is None or is_int(p) or is_slice(p)) for p in rest):
        return "unknown"
    if arrays:
        core, layout = core_of(parts)
        if not any(map(is_mask, arrays)):
            return "index"
        if any(is_mask(p) and p.ndim == 0 for p in arrays):
            return "unknown"  # it adds an axis and indexes none
        fits = after_arrays(layout) == 0  # a mask cannot be given axes for slices after it
        return "unknown" if not fits else "mask" if len(core) == 1 else "index"
    busy = [p for p in rest if not is_whole(p)]
    if all(p is None for p in busy):
        return "new_axis" if busy else "whole"
    if len(busy) > 1:
        return "parts"
    return "select" if is_int(busy[0]) else "slice"


def bounds(entry: Any) -> tuple[Any, Any, Any]:
    """Return start, stop and step of a slice, each as it is written."""
    value = bare(entry)
    values = (value.start, value.stop, value.step)
    if not isinstance(entry, Static):
        return values
    source = f"_[{entry.text}]"
    node = ast.parse(source, mode="eval").body
    assert isinstance(node, ast.Subscript)
    if not isinstance(node.slice, ast.Slice):
        return values
    written = (node.slice.lower, node.slice.upper, node.slice.step)
    texts = [part and ast.get_source_segment(source, part) for part in written]
    start, stop, step = (write(v, t) if t else v for v, t in zip(values, texts, strict=True))
    return start, stop, step


def put(x: Any, parts: list[Any], dy: Any) -> Any:
    """Return zeros like `x` with `dy` where an index of numbers, slices and None picked it."""
    dy = without_new_axes(dy, [p for p in parts if not is_int(p)])
    parts = [p for p in parts if p is not None]
    busy = [axis for axis, p in enumerate(parts) if not is_whole(p)]
    if not busy:
        return dy
    first = busy[0]
    if len(busy) > 1:
        pads = borders(x, parts)
        if pads is not None:
            return F.pad(dy, pads)
        if busy == list(range(len(busy))) and all(is_int(parts[axis]) for axis in busy):
            places = tuple(torch.tensor(parts[axis]) for axis in busy)
            return torch.zeros_like(x).index_put(places, dy)
        here = [WHOLE] if is_slice(parts[first]) else []
        inner = x[at(first, parts[first], x.ndim)]
        dy = put(inner, [*parts[:first], *here, *parts[first + 1 :]], dy)
    return put_along(x, first, parts[first], dy)


def put_along(x: Any, axis: int, entry: Any, dy: Any) -> Any:
    """Return zeros like `x` with `dy` in one place or slice of one axis."""
    if is_int(entry):
        return torch.zeros_like(x).select_scatter(dy, axis, entry)
    start, stop, step = bounds(entry)
    start = None if start is None or is_exactly(start, 0) else start
    return torch.zeros_like(x).slice_scatter(
        dy, dim=axis, start=start, end=stop, step=1 if step is None else step
    )


def without_new_axes(dy: Any, layout: list[Any]) -> Any:
    """Drop the axes of a result that None made; `layout` has a part for each axis."""
    new = [place for place, p in enumerate(layout) if p is None]
    if not new:
        return dy
    return dy.squeeze(tuple(new) if len(new) > 1 else next(iter(new)))


def borders(x: Any, parts: list[Any]) -> tuple[Any, ...] | None:
    """Return the widths of zeros around what slices without steps cut out, for `F.pad`."""
    if not all(map(is_slice, parts)):
        return None
    pads: list[Any] = []
    for axis in reversed(range(len(parts))):
        size = x.shape[axis]
        first, last, step = bare(parts[axis]).indices(plain(size))
        if step != 1 or first >= last:
            return None
        start, stop, _ = bounds(parts[axis])
        before = first if start is None or not 0 <= start <= size else start
        after = plain(size) - last
        if stop is not None and 0 <= stop <= size:
            after = size - stop
        elif stop is not None and -size <= stop < 0:
            after = opposite(stop)
        pads += [before, after]
    while pads[-2:] == [0, 0]:
        del pads[-2:]
    return tuple(pads)


def opposite(number: Any) -> Any:
    """Return `k` for a number written `-k`."""
    text = text_of(number)
    simple = text.startswith("-") and text[1:].isidentifier()
    return write(-plain(number), text[1:]) if simple else -number


def layout_of(parts: list[Any]) -> list[Any]:
    """Return a part for each axis of the result; axes from arrays, "array", come together."""
    axes = [p for p in parts if not (is_int(p) or (is_array(p) and depth(p) == 0))]
    places = [place for place, p in enumerate(axes) if is_array(p)]
    if not places:
        return axes
    arrays = ["array"] * max(depth(axes[place]) for place in places)
    together = places[-1] - places[0] == len(places) - 1
    first = places[0] if together else 0  # apart: torch puts their axes in front
    before = [p for p in axes[:first] if not is_array(p)]
    return before + arrays + [p for p in axes[first:] if not is_array(p)]


def core_of(parts: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the parts without None and the `:` at the end, and their axes of the result."""
    core = [p for p in parts if p is not None]
    layout = [p for p in layout_of(parts) if p is not None]
    while is_whole(core[-1]):
        core.pop()
        layout.pop()
    return core, layout


def places(x: Any, index: Any) -> tuple[Any, ...]:
    """Return an index that has arrays as the tuple of index tensors that `index_put` takes."""
    core, layout = core_of(spread(x, index))
    after_slices = [len(layout) - 1 - k for k, p in enumerate(layout) if not isinstance(p, str)]
    found: list[Any] = []
    axis = 0
    for entry in core:
        if is_slice(entry):
            found.append(stretched(torch.arange(x.shape[axis]), entry, after_slices.pop(0)))
        else:
            found.append(as_tensor(entry, after_arrays(layout)))
        axis += entry.ndim if is_mask(entry) else 1
    return tuple(found)


def after_arrays(layout: list[Any]) -> int:
    """Return how many axes of the result come after those from arrays."""
    last = max((place for place, p in enumerate(layout) if isinstance(p, str)), default=None)
    return 0 if last is None else len(layout) - 1 - last


def stretched(positions: Any, entry: Any, after: int) -> Any:
    """Return the positions that a slice picks, with axes of size 1 for those after it."""
    if after == 0 and is_whole(entry):
        return positions
    return positions[(entry, *[None] * after)]


def as_tensor(entry: Any, after: int) -> Any:
    """Return an array of positions as a tensor, with axes of size 1 for those after it."""
    if is_int(entry):
        return torch.tensor(entry)
    if not is_tensor(entry):
        value = bare(entry)
        entry = torch.arange(*limits(entry)) if isinstance(value, range) else torch.tensor(value)
    if after == 0 or entry.ndim == 0:
        return entry
    return entry[(WHOLE if entry.ndim == 1 else ..., *[None] * after)]


def limits(entry: Any) -> tuple[Any, ...]:
    """Return the arguments of a range, as they are written."""
    value = bare(entry)
    short: tuple[int, ...] = (value.start, value.stop, value.step)
    if value.step == 1:
        short = (value.stop,) if value.start == 0 else (value.start, value.stop)
    node = ast.parse(entry.text, mode="eval").body if isinstance(entry, Static) else None
    if not isinstance(node, ast.Call) or len(node.args) != len(short):
        return short
    texts = [ast.get_source_segment(entry.text, arg) or "" for arg in node.args]
    return tuple(write(v, t) for v, t in zip(short, texts, strict=True))


def merged(dy: Any, x: Any, index: Any) -> Any:
    """Return the gradient of an indexed result without the axes that None made."""
    return without_new_axes(dy, layout_of(spread(x, index)))
