"""Rows that take axes together: sums, means, extremes."""

import torch

from handgrad.ops.declare import call, exactly, op
from handgrad.ops.words import count, restore

DIMS = [
    call((3, 4)),
    call((3, 4), dim=1),
    call((2, 3, 5), dim=-2, keepdim=True),
    call((2, 3, 5), dim=(0, 2)),
    call((3, 1), dim=0),
]

ROWS = [
    op(
        "x.sum(dim=None, keepdim=False), torch.sum(x, dim=None, keepdim=False)",
        index="y[I-dim] = sum[dim] x[I]",
        dx=lambda dy, x, dim, keepdim: restore(dy, x, dim, keepdim).expand_as(x),
        why={"x": "each entry went into the sum once, so each gets the sum's gradient"},
        examples=DIMS,
    ),
    op(
        "x.mean(dim=None, keepdim=False), torch.mean(x, dim=None, keepdim=False)",
        index="y[I-dim] = mean[dim] x[I]",
        dx=lambda dy, x, dim, keepdim: (restore(dy, x, dim, keepdim) / count(x, dim)).expand_as(x),
        why={"x": "a mean gives each of its n entries 1/n of its gradient"},
        examples=DIMS,
    ),
    op(
        "values, indices = x.max(dim, keepdim=False), torch.max(x, dim, keepdim=False)",
        name="max_dim",
        index=None,
        when=lambda dim: isinstance(dim, int),
        dx=lambda dvalues, x, indices, dim, keepdim: torch.zeros_like(x).scatter_add(
            dim, restore(indices, x, dim, keepdim), restore(dvalues, x, dim, keepdim)
        ),
        why={"x": "only the entry that was picked reaches the result"},
        examples=[
            call((3, 5), 1, keepdim=True),
            call((2, 3, 5), -2),
            call(exactly([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]]), 1),
        ],
    ),
]
