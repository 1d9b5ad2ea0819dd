"""Rows that pick entries by position and put gradients back where they were picked."""

import torch

from handgrad.ops.declare import call, index, op
from handgrad.ops.words import as_indices

ROWS = [
    op(
        "x[index]",
        index=None,
        dx=lambda dy, x, index: torch.zeros_like(x).index_put(
            as_indices(index), dy, accumulate=True
        ),
        why={"x": "an entry that was picked several times gets the sum of their gradients"},
        examples=[call((5, 3), index(4, below=5)), call((5, 3), (range(3), index(3, below=3)))],
    ),
    op(
        "x.index_put(indices, values, accumulate=False)",
        index=None,
        when=lambda accumulate: accumulate,
        stretches=("values",),
        dx=lambda dy: dy,
        dvalues=lambda dy, indices: dy[indices],
        examples=[call((5, 3), (index(4, below=5),), (4, 3), accumulate=True)],
    ),
    op(
        "torch.arange(stop)",
        index=None,
        when=lambda stop: isinstance(stop, int),
        examples=[call(5)],
    ),
    op(
        "x.gather(dim, index), torch.gather(x, dim, index)",
        index=None,
        dx=lambda dy, x, dim, index: torch.zeros_like(x).scatter_add(dim, index, dy),
        examples=[call((5, 3), 0, index(2, 3, below=5))],
    ),
    op(
        "x.scatter_add(dim, index, src), torch.scatter_add(x, dim, index, src)",
        index=None,
        dx=lambda dy: dy,
        dsrc=lambda dy, dim, index: dy.gather(dim, index),
        examples=[call((5, 3), 0, index(2, 3, below=5), (2, 3))],
    ),
]
