"""One-hot algebra: picking entries by label is a sum with a one-hot, and putting is a product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from handgrad.ir import Arg, Call, Expr, Item, Name, Static
from handgrad.simplify.layout import permuted
from handgrad.simplify.normal import EMPTY, Poly, atom
from handgrad.simplify.ring import Ring
from handgrad.simplify.sizes import Sizes
from handgrad.spell import spell


class Lowering(Protocol):
    """What lowers the operands."""

    sizes: Sizes
    ring: Ring
    reduce: Callable[[Poly], Poly]

    def lower(self, expr: Expr) -> Poly:
        """Return an expression's normal form at its own labels."""
        ...


def picked(lowering: Lowering, call: Call) -> Poly | None:
    """Lower an op that picks or puts by label along the last axis, None if it is no such op."""
    name, args = call.op.name, call.args
    if name == "one_hot":
        return one_hot(lowering, args["x"], lowering.sizes.axes(call)[-1])
    x = args.get("x")
    if not isinstance(x, Name | Call | Item):
        return None
    size = lowering.sizes.axes(x)[-1] if x.ndim else ""
    if name in ("select_scatter", "slice_scatter"):
        return put_whole(lowering, call, x)
    if name == "index":
        return pick_row_by_row(lowering, x, args["index"], size)
    if name in ("index_put", "index_add_put"):
        return put_row_by_row(lowering, call, x, size)
    if name == "gather":
        hot = column(lowering, x, args, size)
        whole = None if hot is None else lowering.ring.times(hot, lowering.lower(x))
        return None if whole is None else lowering.reduce(whole.sum_over(-1, size))
    if name in ("scatter_add", "scatter"):
        hot, src = column(lowering, x, args, size), args.get("src")
        if hot is None or lowering.lower(x) != EMPTY or not isinstance(src, Name | Call | Item):
            return None
        return lowering.ring.times(hot, lowering.lower(src))
    return None


def put_whole(lowering: Lowering, call: Call, x: Expr) -> Poly | None:
    """Lower a write of all of zeros, along an axis of size 1."""
    src = call.args.get("src")
    dim = call.args.get("dim")
    if not isinstance(src, Name | Call | Item) or not isinstance(dim, Static):
        return None
    if lowering.lower(x) != EMPTY or x.shape[dim.value] != 1 or src.shape == x.shape:
        return None
    place = dim.value % x.ndim - x.ndim
    return lowering.lower(src).relabel({i + 1: i for i in range(-x.ndim, place)})


def one_hot(lowering: Lowering, label: Arg, size: str) -> Poly | None:
    """Return the one-hot of labels: 1 at the label, 0 elsewhere along a new last axis."""
    if not isinstance(label, Name | Call | Item) or not size:
        return None
    base, kept = unstretched(label)
    name = f"[one_hot {spell(base)}, {size}]"  # the same labels may be of two sets of classes
    axes = (*lowering.sizes.axes(base), size)
    ring = lowering.ring
    ring.texts[name] = spell(base)
    if name not in ring.axes:
        ring.axes[name] = axes
        ring.notice(name)
    at = (*(k - label.ndim - 1 for k in kept), -1)
    return atom(name, tuple(i if axis else -99 for i, axis in zip(at, axes, strict=True)))


def unstretched(label: Expr) -> tuple[Expr, list[int]]:
    """Return labels without the axes of size 1 that were added, and where the others went."""
    if isinstance(label, Call):
        found = permuted(label)
        inner = next((a for a in label.args.values() if isinstance(a, Name | Call | Item)), None)
        if found is not None and inner is not None and inner.ndim == len(found):
            places = {source: k for k, source in found.items()}
            if sorted(places.values()) == [places[k] for k in range(inner.ndim)]:
                return inner, [places[k] for k in range(inner.ndim)]
    return label, list(range(label.ndim))


def column(lowering: Lowering, x: Expr, args: Mapping[str, Arg], size: str) -> Poly | None:
    """Return the one-hot of an index with one entry a row, along the last axis."""
    dim, index = args.get("dim"), args.get("index")
    if not isinstance(dim, Static) or not isinstance(index, Name | Call | Item) or not size:
        return None
    if dim.value % x.ndim != x.ndim - 1 or index.shape != (*x.shape[:-1], 1):
        return None
    base, kept = unstretched(index)
    if base.ndim != x.ndim - 1 or kept != list(range(x.ndim - 1)):
        return None
    return one_hot(lowering, base, size)


def row_by_row(lowering: Lowering, x: Expr, index: Arg, size: str) -> Poly | None:
    """Return the one-hot of `y` in the index `[range(n), y]` of a matrix with n rows."""
    parts = index if isinstance(index, tuple) else (index,)
    if x.ndim != 2 or len(parts) != 2 or not size or not counts(parts[0], x.shape[0]):
        return None
    label = parts[1]
    if not isinstance(label, Name | Call | Item) or label.shape != x.shape[:1]:
        return None
    return one_hot(lowering, label, size)


def counts(part: Arg, size: int) -> bool:
    """Tell whether an index is every row in order: `range(n)` or `torch.arange(n)`."""
    if isinstance(part, Static):
        return isinstance(part.value, range) and part.value == range(size)
    if isinstance(part, Call) and part.op.name == "arange":
        stop = part.args.get("stop")
        return isinstance(stop, Static) and stop.value == size
    return False


def pick_row_by_row(lowering: Lowering, x: Expr, index: Arg, size: str) -> Poly | None:
    """Lower `x[range(n), y]`."""
    hot = row_by_row(lowering, x, index, size)
    if hot is None:
        return None
    rows = lowering.sizes.axes(x)[0]
    whole = lowering.ring.times(hot, lowering.lower(x)).sum_over(-1, size)
    return lowering.reduce(whole.relabel({-2: -1}) if rows else whole)


def put_row_by_row(lowering: Lowering, call: Call, x: Expr, size: str) -> Poly | None:
    """Lower `zeros.index_put([range, y], values)`."""
    values, index = call.args.get("values"), call.args.get("indices")
    if index is None or not isinstance(values, Name | Call | Item) or lowering.lower(x) != EMPTY:
        return None
    hot = row_by_row(lowering, x, index, size)
    if hot is None:
        return None
    return lowering.ring.times(hot, lowering.lower(values).relabel({-1: -2}))
