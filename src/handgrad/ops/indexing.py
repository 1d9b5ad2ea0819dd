"""Rows of `x[index]` in its forms, and of writing to a part of a tensor."""

from typing import Any

import torch

from handgrad.ir import Name
from handgrad.ops.declare import call, exactly, index, mask, op
from handgrad.ops.positions import at, is_mask, kind, layout_of, merged, part, places, put, spread
from handgrad.ops.words import axes

ALL = slice(None)
BACK = "the entries that were picked get the gradient, the others zero"
REPEATED = "an entry that was picked several times gets the sum of their gradients"
KEPT = "the entries that were written over reach the result no more"
WRITTEN = "the entries that were written get the gradient from where they now stand"


def along(dim: Any, entry: Any, ndim: int) -> Any:
    """Return the index that applies an entry to one axis, which may be counted from the right."""
    return at(axes(dim, ndim)[0], entry, ndim)


def window(start: Any, end: Any, step: Any) -> Any:
    """Return the slice that `slice_scatter` writes to."""
    return slice(start, end, step) if step != 1 else part(start, end)


def fills(x: Any, values: Any, mask: Any) -> bool:
    """Tell whether values are of full shape, or stretch along the axis of what a mask picks."""
    rest = tuple(x.shape[mask.ndim :])
    full = values.ndim == len(rest) + 1 and tuple(values.shape[1:]) == rest
    return full or stretch(values, rest)


def rank(x: Any, indices: Any) -> int:
    """Return how many axes the entries that `index_put` writes have."""
    return len(layout_of(spread(x, indices)))


def stretch(values: Any, rest: tuple[int, ...]) -> bool:
    """Tell whether values are the same for every entry that a mask picks."""
    return values.ndim <= len(rest) or values.shape[0] == 1


def from_mask(dy: Any, mask: Any, values: Any) -> Any:
    """Return the gradient of values written to a mask; the same ones everywhere are summed."""
    if not stretch(values, tuple(dy.shape[mask.ndim :])):
        return dy[mask]
    return dy.masked_fill(~over_rest(mask, dy), 0)


def over_rest(mask: Any, dy: Any) -> Any:
    """Return a mask over leading axes with an axis of size 1 for each of the others."""
    after = dy.ndim - mask.ndim
    if after == 0:
        return mask
    return mask.unsqueeze(-1) if after == 1 else mask[(..., *[None] * after)]


def blank(dy: Any, src: Any, index: Any) -> Any:
    """Return zeros in the shape of what was written at an index."""
    return torch.zeros_like(src if isinstance(src.expr, Name) else dy[index])


PICKING = [
    op(
        "x[index]",
        name="select_index",
        index=None,
        when=lambda x, index: kind(x, index) == "select",
        dx=lambda dy, x, index: put(x, spread(x, index), dy),
        why={"x": BACK},
        examples=[
            call((5, 3), 2),
            call((5, 3), -1),
            call((2, 5, 3), (ALL, 1)),
            call((2, 5, 3), (..., 0)),
            call((4,), (3,)),
        ],
    ),
    op(
        "x[index]",
        name="slice_index",
        index=None,
        when=lambda x, index: kind(x, index) == "slice",
        dx=lambda dy, x, index: put(x, spread(x, index), dy),
        why={"x": BACK},
        examples=[
            call((5, 3), slice(1, 4)),
            call((5, 3), slice(None, -1)),
            call((2, 5, 3), (ALL, slice(None, None, 2))),
            call((2, 7, 3), (ALL, slice(1, 6, 3), ALL)),
            call((2, 5, 3), (..., slice(-2, None))),
            call((5, 3), slice(2, 100)),
            call((5, 3), slice(3, 3)),
            call((1,), slice(0, 1)),
        ],
    ),
    op(
        "x[index]",
        name="new_axis",
        index=None,
        when=lambda x, index: kind(x, index) == "new_axis",
        dx=lambda dy, x, index: put(x, spread(x, index), dy),
        why={"x": "an axis of size 1 was added, so it is dropped again"},
        examples=[
            call((5, 3), None),
            call((5, 3), (ALL, None)),
            call((5, 3), (..., None)),
            call((5, 3), (None, ALL, None)),
            call((), None),
        ],
    ),
    op(
        "x[index]",
        name="whole_index",
        index="y[I] = x[I]",
        when=lambda x, index: kind(x, index) == "whole",
        dx=lambda dy: dy,
        why={"x": "everything was picked"},
        examples=[call((5, 3), ALL), call((5, 3), ...), call((), ()), call((2, 3), (ALL, ALL))],
    ),
    op(
        "x[index]",
        name="parts_index",
        index=None,
        when=lambda x, index: kind(x, index) == "parts",
        dx=lambda dy, x, index: put(x, spread(x, index), dy),
        why={"x": BACK},
        examples=[
            call((5, 3), (2, 1)),
            call((5, 3), (-1, slice(1, None))),
            call((2, 7, 5), (ALL, slice(1, -1), slice(1, -1))),
            call((7, 5), (slice(None, 3), slice(-2, None))),
            call((7, 5), (slice(1, 50), slice(2, 4))),
            call((7, 5), (slice(None, None, 2), slice(3, 3))),
            call((2, 5, 3), (ALL, -1, slice(None, 2))),
            call((2, 5, 3), (0, ALL, 2)),
            call((2, 5, 3), (..., slice(None, None, 2), 1)),
            call((2, 5, 3), (None, 1, ALL, None, slice(0, 2))),
            call((2, 3, 4), (1, 2, 3)),
            call((5, 3), (None, slice(1, 3))),
        ],
    ),
    op(
        "x[index]",
        name="index",
        index=None,
        when=lambda x, index: kind(x, index) == "index",
        dx=lambda dy, x, index: torch.zeros_like(x).index_put(
            places(x, index), merged(dy, x, index), accumulate=True
        ),
        why={"x": REPEATED},
        examples=[
            call((5, 3), index(4, below=5)),
            call((5, 3), index(2, 4, below=5)),
            call((5, 3), index(below=5)),
            call((5,), index(4, below=5)),
            call((5, 3), (range(3), index(3, below=3))),
            call((5, 3), (range(1, 5, 2), index(2, below=3))),
            call((5, 3), [0, 2, 2, -1]),
            call((5, 3), range(2)),
            call((5, 3), ([0, 1, 1], [2, -1, 2])),
            call((5, 3), ([[0, 1], [1, 4]], index(2, below=3))),
            call((5, 3), (index(4, below=5), 1)),
            call((5, 3, 2), (0, index(4, below=3))),
            call((5, 3), (ALL, index(4, below=3))),
            call((5, 3, 2), (ALL, index(2, 4, below=3))),
            call((5, 3, 2), (..., index(4, below=2))),
            call((5, 3, 2), (index(4, below=5), ALL, index(4, below=2))),
            call((5, 3, 2), (0, ALL, index(4, below=2))),
            call((2, 5, 3, 4), (ALL, index(3, below=5), ALL, index(3, below=4))),
            call((5, 3, 2), (index(4, below=5), slice(1, 3))),
            call((5, 3, 2), (slice(None, -1), index(4, below=3), slice(None, 1))),
            call((5, 3), (index(4, below=5), None)),
            call((5, 3), (None, index(4, below=5))),
            call((5, 3, 2), (index(4, below=5), None, index(4, below=3))),
            call((5, 3), (index(3, 1, below=5), index(2, below=3))),
            call((5, 3, 2), (index(below=5), ALL, index(4, below=2))),
            call((5, 3), index(0, below=5)),
            call((5, 3), (ALL, mask(3))),
            call((5, 3), (mask(5), 1)),
            call(
                (3, 2),
                (
                    exactly(True, False, True, dtype=torch.bool),
                    exactly([[1], [1]], dtype=torch.long),
                ),
            ),
        ],
    ),
    op(
        "x[index]",
        name="mask_index",
        index=None,
        when=lambda x, index: kind(x, index) == "mask",
        dx=lambda dy, x, index: torch.zeros_like(x).index_put(
            places(x, index), merged(dy, x, index)
        ),
        why={"x": BACK},
        examples=[
            call((5, 3), mask(5, 3)),
            call((5, 3), mask(5)),
            call((2, 5, 3), mask(2, 5)),
            call((5, 3), (mask(5), None)),
            call((5, 3), (None, mask(5), ALL)),
            call((5, 3), exactly(*[False] * 5, dtype=torch.bool)),
        ],
    ),
]

WRITING = [
    op(
        "x.index_put(indices, values, accumulate=False), "
        "torch.index_put(x, indices, values, accumulate=False)",
        name="index_add_put",
        index=None,
        when=lambda x, indices, values, accumulate: (
            accumulate and (not any(map(is_mask, indices)) or values.ndim == rank(x, indices))
        ),
        stretches=("values",),
        dx=lambda dy: dy,
        dvalues=lambda dy, indices: dy[indices],
        why={"x": "adding elsewhere leaves every entry in the result", "values": WRITTEN},
        examples=[
            call((5, 3), (index(4, below=5),), (4, 3), accumulate=True),
            call((5, 3), (index(4, below=5), index(4, below=3)), (4,), accumulate=True),
            call((5, 3), (index(4, below=5),), (), accumulate=True),
            call((5, 3), (index(2, 2, below=5),), (3,), accumulate=True),
        ],
    ),
    op(
        "x.index_put(indices, values, accumulate=False), "
        "torch.index_put(x, indices, values, accumulate=False)",
        index=None,
        when=lambda accumulate, indices: not accumulate and not any(map(is_mask, indices)),
        stretches=("values",),
        dx=lambda dy, indices, values: dy.index_put(indices, torch.zeros_like(values)),
        dvalues=lambda dy, indices: dy[indices],
        why={"x": KEPT, "values": WRITTEN},
        examples=[
            call((5, 3), (exactly(3, 0, 4, dtype=torch.long),), (3, 3)),
            call((5, 3), (exactly(3, 0, dtype=torch.long), exactly(1, 2, dtype=torch.long)), (2,)),
            call((5, 3), (exactly(3, 0, 4, dtype=torch.long),), ()),
            call((5, 3), (exactly(3, 0, 4, dtype=torch.long),), (1, 3)),
        ],
    ),
    op(
        "x.index_put(indices, values, accumulate=False), "
        "torch.index_put(x, indices, values, accumulate=False)",
        name="index_put_mask",
        index=None,
        when=lambda x, indices, values, accumulate: (
            not accumulate
            and len(indices) == 1
            and is_mask(indices[0])
            and fills(x, values, indices[0])
        ),
        stretches=("values",),
        dx=lambda dy, indices: dy.masked_fill(over_rest(indices[0], dy), 0),
        dvalues=lambda dy, indices, values: from_mask(dy, indices[0], values),
        why={"x": KEPT, "values": WRITTEN},
        examples=[
            call((2, 3), (exactly(True, False, dtype=torch.bool),), (1, 3)),
            call((4,), (exactly(True, False, True, False, dtype=torch.bool),), (2,)),
            call((3, 2), (exactly(True, False, True, dtype=torch.bool),), (2, 2)),
            call((5, 3), (mask(5, 3),), ()),
            call((5, 3), (mask(5),), (3,)),
            call((2, 5, 3), (mask(2, 5),), (1, 3)),
            call((2, 5, 3), (mask(2, 5),), ()),
        ],
    ),
    op(
        "x.slice_scatter(src, dim=0, start=None, end=None, step=1), "
        "torch.slice_scatter(x, src, dim=0, start=None, end=None, step=1)",
        index=None,
        dx=lambda dy, src, dim, start, end, step: dy.slice_scatter(
            blank(dy, src, along(dim, window(start, end, step), dy.ndim)),
            dim=dim,
            start=start,
            end=end,
            step=step,
        ),
        dsrc=lambda dy, dim, start, end, step: dy[along(dim, window(start, end, step), dy.ndim)],
        why={"x": KEPT, "src": WRITTEN},
        examples=[
            call((5, 3), (2, 3), start=1, end=3),
            call((2, 7, 3), (2, 3, 3), dim=1, start=1, step=2),
            call((2, 5), (2, 4), dim=-1, end=-1),
            call((5, 3), (0, 3), start=3, end=3),
        ],
    ),
    op(
        "x.select_scatter(src, dim, index), torch.select_scatter(x, src, dim, index)",
        index=None,
        dx=lambda dy, src, dim, index: dy.select_scatter(
            blank(dy, src, along(dim, index, dy.ndim)), dim, index
        ),
        dsrc=lambda dy, dim, index: dy[along(dim, index, dy.ndim)],
        why={"x": KEPT, "src": WRITTEN},
        examples=[
            call((5, 3), (3,), 0, 2),
            call((2, 5, 3), (2, 3), 1, -1),
            call((2, 5, 3), (2, 5), -1, 0),
            call((4,), (), 0, 1),
        ],
    ),
    op(
        "x.select(dim, index), torch.select(x, dim, index)",
        index=None,
        when=lambda dim, index: isinstance(index, int),
        dx=lambda dy, x, dim, index: torch.zeros_like(x).select_scatter(dy, dim, index),
        why={"x": BACK},
        examples=[call((5, 3), 0, 2), call((2, 5, 3), -1, -2)],
    ),
    op(
        "x.narrow(dim, start, length), torch.narrow(x, dim, start, length)",
        index=None,
        when=lambda start: isinstance(start, int) and start >= 0,
        dx=lambda dy, x, dim, start, length: torch.zeros_like(x).slice_scatter(
            dy, dim=dim, start=start, end=start + length
        ),
        why={"x": BACK},
        examples=[call((5, 3), 0, 1, 2), call((2, 5, 3), -2, 0, 4)],
    ),
]

ROWS = [*PICKING, *WRITING]
