"""Rows of matrix products."""

from handgrad.ops.declare import call, op

ROWS = [
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b)",
        index="y[I,i,k] = sum[j] a[I,i,j] * b[I,j,k]",
        when=lambda a, b: a.ndim >= 2 and b.ndim >= 2,
        da=lambda dy, b: dy @ b.mT,
        db=lambda dy, a: a.mT @ dy,
        why={
            "a": "the product sums over the inner axis, so the right factor comes back transposed",
            "b": "the product sums over the inner axis, so the left factor comes back transposed",
        },
        examples=[
            call((3, 4), (4, 5)),
            call((2, 3, 4), (2, 4, 5)),
            call((2, 3, 4), (4, 5)),
            call((3, 4), (2, 4, 5)),
            call((1, 3, 1), (2, 1, 5)),
        ],
    ),
]
