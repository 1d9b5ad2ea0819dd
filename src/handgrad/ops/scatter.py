"""Rows that gather and scatter along an axis, look up rows of a table, and fill by masks."""

from typing import Any

import torch

from handgrad.ops.declare import call, exactly, index, mask, op
from handgrad.ops.words import axes, scalar

ROWS_ONCE = exactly(4, 0, 2, dtype=torch.long)
ONCE = exactly([[4, 0, 2], [1, 3, 0]], dtype=torch.long)
KEPT = "the entries that were written over reach the result no more"
ADDED = "adding elsewhere leaves every entry in the result"
WRITTEN = "the entries that were written get the gradient from where they now stand"
REPEATED = "an entry that was picked several times gets the sum of their gradients"
MASKED = "where the mask is set the entry reaches the result no more"


def tensor(value: Any) -> bool:
    """Tell whether an argument is a tensor."""
    return hasattr(value, "ndim")


def covers(x: Any, mask: Any) -> bool:
    """Tell whether a mask stretches to the shape of `x`, which has an axis to index."""
    return 0 < x.ndim >= mask.ndim and all(
        m in (1, n) for m, n in zip(reversed(mask.shape), reversed(x.shape), strict=False)
    )


def over(mask: Any, x: Any) -> Any:
    """Return a mask in the shape of `x`."""
    return mask if tuple(mask.shape) == tuple(x.shape) else mask.expand_as(x)


def matches(x: Any, indices: Any, dim: Any) -> bool:
    """Tell whether `take_along_dim` need not stretch `x`."""
    if dim is None:
        return True
    axis = axes(dim, x.ndim)[0]
    return x.ndim == indices.ndim and all(
        place == axis or size in (1, own)
        for place, (own, size) in enumerate(zip(x.shape, indices.shape, strict=True))
    )


def counts_up(indices: Any) -> bool:
    """Tell whether no index is known to be negative: `scatter_add` refuses one that comes later."""
    return not (isinstance(indices, torch.Tensor) and bool((indices < 0).any()))


def unmasked(dy: Any, index: Any, weight: Any, padding_idx: Any) -> Any:
    """Return the gradient with zeros where the index is the padding's."""
    padding = padding_idx if padding_idx >= 0 else weight.shape[0] - abs(padding_idx)
    return dy.masked_fill((index == padding).unsqueeze(-1), 0)


def in_order(dy: Any, mask: Any, source: Any) -> Any:
    """Return for each entry of `source`, which fills a mask in order, its gradient."""
    place = (mask.flatten().cumsum(0) - 1).clamp(min=0)
    kept = dy.masked_fill(~mask, 0).flatten()
    return torch.zeros_like(source).flatten().scatter_add(0, place, kept).reshape_as(source)


ALONG = [
    op(
        "x.gather(dim, index), torch.gather(x, dim, index)",
        index=None,
        dx=lambda dy, x, dim, index: torch.zeros_like(x).scatter_add(dim, index, dy),
        why={"x": REPEATED},
        examples=[
            call((5, 3), 0, index(2, 3, below=5)),
            call((5, 3), -1, index(5, 4, below=3)),
            call((2, 5, 3), 1, index(2, 4, 1, below=5)),
            call((5, 3), 1, index(5, 0, below=3)),
        ],
    ),
    op(
        "x.take_along_dim(indices, dim=None), torch.take_along_dim(x, indices, dim=None)",
        index=None,
        when=lambda x, indices, dim: (
            dim is not None and matches(x, indices, dim) and counts_up(indices)
        ),
        dx=lambda dy, x, indices, dim: torch.zeros_like(x).scatter_add(dim, over(indices, dy), dy),
        why={"x": REPEATED},
        examples=[
            call((5, 3), index(2, 3, below=5), dim=0),
            call((5, 3), index(1, 4, below=3), dim=1),
        ],
    ),
    op(
        "x.take_along_dim(indices, dim=None), torch.take_along_dim(x, indices, dim=None)",
        name="take_along_dim_any",
        index=None,
        when=lambda x, indices, dim: dim is not None and matches(x, indices, dim),
        dx=lambda dy, x, indices, dim: torch.zeros_like(x).scatter_add(
            dim, over(torch.remainder(indices, x.shape[axes(dim, x.ndim)[0]]), dy), dy
        ),
        why={"x": f"{REPEATED}; a negative index counts from the end"},
        examples=[
            call((3, 2), exactly([[0, -1], [2, -3]], dtype=torch.int64), dim=0),
            call((5, 3), exactly([[-1, 2, -1, 0]], dtype=torch.int64), dim=-1),
        ],
    ),
    op(
        "x.take(index), torch.take(x, index)",
        index=None,
        dx=lambda dy, x, index: (
            torch.zeros_like(x).flatten().index_put((index,), dy, accumulate=True).reshape_as(x)
        ),
        why={"x": REPEATED},
        examples=[call((5, 3), index(2, 4, below=15)), call((4,), index(below=4))],
    ),
    op(
        "x.scatter_add(dim, index, src), torch.scatter_add(x, dim, index, src)",
        index=None,
        when=lambda index, src: tuple(index.shape) == tuple(src.shape),
        dx=lambda dy: dy,
        dsrc=lambda dy, dim, index: dy.gather(dim, index),
        why={"x": ADDED, "src": WRITTEN},
        examples=[
            call((5, 3), 0, index(2, 3, below=5), (2, 3)),
            call((5, 3), -1, index(4, 2, below=3), (4, 2)),
        ],
    ),
    op(
        "x.scatter(dim, index, src), torch.scatter(x, dim, index, src)",
        index=None,
        when=lambda index, src: tensor(src) and tuple(index.shape) == tuple(src.shape),
        dx=lambda dy, dim, index: dy.scatter(dim, index, 0),
        dsrc=lambda dy, dim, index: dy.gather(dim, index),
        why={"x": KEPT, "src": WRITTEN},
        examples=[
            call((5, 3), 0, ONCE, (2, 3)),
            call((3, 5), -1, exactly([[4, 0]], dtype=torch.long), (1, 2)),
        ],
    ),
    op(
        "x.scatter(dim, index, value), torch.scatter(x, dim, index, value)",
        name="scatter_value",
        index=None,
        when=lambda value: scalar(value),
        dx=lambda dy, dim, index: dy.scatter(dim, index, 0),
        why={"x": KEPT},
        examples=[
            call((5, 3), 0, index(2, 3, below=5), 1.5),
            call((2, 5), 1, index(2, 1, below=5), 0),
        ],
    ),
    op(
        "x.index_select(dim, index), torch.index_select(x, dim, index)",
        index=None,
        when=lambda x: x.ndim > 0,
        dx=lambda dy, x, dim, index: torch.zeros_like(x).index_add(dim, index, dy),
        why={"x": REPEATED},
        examples=[call((5, 3), 0, index(4, below=5)), call((2, 5, 3), -2, index(6, below=5))],
    ),
    op(
        "x.index_add(dim, index, source, alpha=1), torch.index_add(x, dim, index, source, alpha=1)",
        index=None,
        dx=lambda dy: dy,
        dsource=lambda dy, dim, index, alpha: dy.index_select(dim, index) * alpha,
        why={"x": ADDED, "source": WRITTEN},
        examples=[
            call((5, 3), 0, index(4, below=5), (4, 3)),
            call((2, 5), -1, index(3, below=5), (2, 3), alpha=2.5),
        ],
    ),
    op(
        "x.index_copy(dim, index, source), torch.index_copy(x, dim, index, source)",
        index=None,
        dx=lambda dy, dim, index: dy.index_fill(dim, index, 0),
        dsource=lambda dy, dim, index: dy.index_select(dim, index),
        why={"x": KEPT, "source": WRITTEN},
        examples=[call((5, 3), 0, ROWS_ONCE, (3, 3)), call((2, 5), -1, ROWS_ONCE, (2, 3))],
    ),
    op(
        "x.index_fill(dim, index, value), torch.index_fill(x, dim, index, value)",
        index=None,
        when=lambda value: scalar(value),
        dx=lambda dy, dim, index: dy.index_fill(dim, index, 0),
        why={"x": KEPT},
        examples=[call((5, 3), 0, index(4, below=5), 2.5), call((2, 5), -1, ROWS_ONCE, 0)],
    ),
]

EMBEDDING = (
    "F.embedding(index, weight, padding_idx=None, max_norm=None, norm_type=2.0, "
    "scale_grad_by_freq=False)"
)
TABLES = [
    op(
        EMBEDDING,
        index=None,
        when=lambda padding_idx, max_norm, scale_grad_by_freq: (
            (padding_idx, max_norm, scale_grad_by_freq) == (None, None, False)
        ),
        dweight=lambda dy, index, weight: torch.zeros_like(weight).index_put(
            (index,), dy, accumulate=True
        ),
        why={"weight": "a row that was looked up several times gets the sum of their gradients"},
        examples=[
            call(index(4, below=5), (5, 3)),
            call(index(2, 4, below=5), (5, 3)),
            call(index(below=5), (5, 1)),
        ],
    ),
    op(
        EMBEDDING,
        name="embedding_padded",
        index=None,
        when=lambda padding_idx, max_norm, scale_grad_by_freq: (
            padding_idx is not None and (max_norm, scale_grad_by_freq) == (None, False)
        ),
        dweight=lambda dy, index, weight, padding_idx: torch.zeros_like(weight).index_put(
            (index,), unmasked(dy, index, weight, padding_idx), accumulate=True
        ),
        why={
            "weight": "each row sums the gradients of its look-ups, and the padding's row gets none"
        },
        examples=[
            call(index(2, 6, below=4), (4, 3), padding_idx=1),
            call(index(7, below=4), (4, 3), padding_idx=-1),
        ],
    ),
]

MASKS = [
    op(
        "x.masked_fill(mask, value), torch.masked_fill(x, mask, value)",
        index="y[I] = where(mask[I], value, x[I])",
        when=lambda value: scalar(value),
        dx=lambda dy, mask: dy.masked_fill(mask, 0),
        why={"x": MASKED},
        examples=[
            call((3, 4), mask(3, 4), 0),
            call((3, 4), mask(4), -1.5),
            call((2, 3, 4), mask(3, 1), float("-inf")),
            call((3, 1), mask(3, 4), 2.0),
            call((), mask(), 1),
        ],
    ),
    op(
        "x.masked_fill(mask, value), torch.masked_fill(x, mask, value)",
        name="masked_fill_tensor",
        index="y[I] = where(mask[I], value[I], x[I])",
        when=lambda value: tensor(value),
        dx=lambda dy, mask: dy.masked_fill(mask, 0),
        dvalue=lambda dy, mask: dy.masked_fill(~mask, 0),
        why={"x": MASKED, "value": "the value stands everywhere that the mask is set"},
        examples=[
            call((3, 4), mask(3, 4), ()),
            call((3, 4), mask(4), ()),
            call((3,), mask(2, 1), ()),
        ],
    ),
    op(
        "x.masked_select(mask), torch.masked_select(x, mask)",
        index=None,
        when=lambda x, mask: covers(x, mask),
        dx=lambda dy, x, mask: torch.zeros_like(x).index_put((over(mask, x),), dy),
        why={"x": "the entries that were picked get the gradient, the others zero"},
        examples=[call((3, 4), mask(3, 4)), call((3, 4), mask(4)), call((2, 5), mask(2, 1))],
    ),
    op(
        "x.masked_scatter(mask, source), torch.masked_scatter(x, mask, source)",
        index=None,
        when=lambda x, mask: covers(x, mask),
        dx=lambda dy, mask: dy.masked_fill(mask, 0),
        dsource=lambda dy, mask, source: in_order(dy, over(mask, dy), source),
        why={"x": MASKED, "source": "the entries fill the mask in order, so they collect in order"},
        examples=[
            call((3, 4), mask(3, 4), (3, 4)),
            call((3, 4), mask(4), (12,)),
            call((4,), exactly(True, False, True, False, dtype=torch.bool), (2,)),
            call((4,), exactly(False, False, True, True, dtype=torch.bool), (3, 1)),
        ],
    ),
]

ROWS = [*ALONG, *TABLES, *MASKS]
