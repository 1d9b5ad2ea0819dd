"""Rows of matrix products."""

from typing import Any

import torch

from handgrad.ops.declare import call, exactly, op
from handgrad.ops.words import floating

LEFT = "the product sums over the inner axis, so the right factor comes back transposed"
RIGHT = "the product sums over the inner axis, so the left factor comes back transposed"


def rows(x: Any) -> Any:
    """Return a matrix of all rows of `x`, its leading axes made one."""
    return x.flatten(0, -2) if x.ndim > 2 else x


ROWS = [
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b), torch.mm(a, b), a.mm(b)",
        name="matmul",
        index="y[i,k] = sum[j] a[i,j] * b[j,k]",
        heavy=True,
        when=lambda a, b: a.ndim == b.ndim == 2,
        da=lambda dy, b: dy @ b.T,
        db=lambda dy, a: a.T @ dy,
        why={"a": LEFT, "b": RIGHT},
        examples=[call((3, 4), (4, 5)), call((3, 1), (1, 5)), call((1, 4), (4, 1))],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b), torch.bmm(a, b), a.bmm(b)",
        name="bmm",
        index="y[n,i,k] = sum[j] a[n,i,j] * b[n,j,k]",
        heavy=True,
        when=lambda a, b: a.ndim == b.ndim == 3 and a.shape[0] == b.shape[0],
        da=lambda dy, b: dy @ b.mT,
        db=lambda dy, a: a.mT @ dy,
        why={"a": LEFT, "b": RIGHT},
        examples=[call((2, 3, 4), (2, 4, 5)), call((1, 3, 1), (1, 1, 5))],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b)",
        name="matmul_rows",
        index="y[I,i,k] = sum[j] a[I,i,j] * b[j,k]",
        heavy=True,
        when=lambda a, b: a.ndim > 2 and b.ndim == 2,
        da=lambda dy, b: dy @ b.T,
        db=lambda dy, a: rows(a).T @ rows(dy),
        why={"a": LEFT, "b": "every row met the same matrix, so all rows are taken as one batch"},
        examples=[call((2, 3, 4), (4, 5)), call((2, 1, 3, 4), (4, 5)), call((1, 3, 1), (1, 5))],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b)",
        name="matmul_batched",
        index="y[I,i,k] = sum[j] a[I,i,j] * b[I,j,k]",
        heavy=True,
        when=lambda a, b: (
            a.ndim >= 2 and b.ndim > 2 and not (a.ndim == b.ndim == 3 and a.shape[0] == b.shape[0])
        ),
        da=lambda dy, b: dy @ b.mT,
        db=lambda dy, a: a.mT @ dy,
        why={"a": LEFT, "b": RIGHT},
        examples=[
            call((3, 4), (2, 4, 5)),
            call((1, 3, 4), (2, 4, 5)),
            call((2, 1, 3, 4), (5, 4, 2)),
            call((2, 3, 1, 4), (2, 3, 4, 5)),
        ],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b), torch.dot(a, b), a.dot(b), torch.inner(a, b)",
        name="dot",
        index="y[()] = sum[j] a[j] * b[j]",
        heavy=True,
        when=lambda a, b: a.ndim == b.ndim == 1,
        da=lambda dy, b: dy * b,
        db=lambda dy, a: dy * a,
        why={
            "a": "a dot product passes to each factor the other",
            "b": "a dot product passes to each factor the other",
        },
        examples=[call((4,), (4,)), call((1,), (1,))],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b), torch.mv(a, b), a.mv(b)",
        name="mv",
        index="y[i] = sum[j] a[i,j] * b[j]",
        heavy=True,
        when=lambda a, b: a.ndim == 2 and b.ndim == 1,
        da=lambda dy, b: dy.outer(b),
        db=lambda dy, a: a.T @ dy,
        why={"a": "entry i of the result is row i times the vector", "b": RIGHT},
        examples=[call((3, 4), (4,)), call((1, 4), (4,)), call((3, 1), (1,))],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b)",
        name="matmul_vector",
        index="y[I,i] = sum[j] a[I,i,j] * b[j]",
        heavy=True,
        when=lambda a, b: a.ndim > 2 and b.ndim == 1,
        da=lambda dy, b: dy.unsqueeze(-1) * b,
        db=lambda dy, a: rows(a).T @ dy.flatten(),
        why={
            "a": "each entry of the result is one row times the vector",
            "b": "every row met the same vector, so all rows are taken as one batch",
        },
        examples=[call((2, 3, 4), (4,)), call((2, 1, 3, 4), (4,)), call((1, 3, 1), (1,))],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b)",
        name="vecmat",
        index="y[k] = sum[j] a[j] * b[j,k]",
        heavy=True,
        when=lambda a, b: a.ndim == 1 and b.ndim == 2,
        da=lambda dy, b: b @ dy,
        db=lambda dy, a: a.outer(dy),
        why={"a": LEFT, "b": "entry k of the result is the vector times column k"},
        examples=[call((4,), (4, 5)), call((4,), (4, 1)), call((1,), (1, 5))],
    ),
    op(
        "a @ b, torch.matmul(a, b), a.matmul(b)",
        name="vecmat_batched",
        index="y[I,k] = sum[j] a[j] * b[I,j,k]",
        heavy=True,
        when=lambda a, b: a.ndim == 1 and b.ndim > 2,
        da=lambda dy, b: (b @ dy.unsqueeze(-1)).squeeze(-1),
        db=lambda dy, a: a.unsqueeze(-1) * dy.unsqueeze(-2),
        why={"a": LEFT, "b": "each entry of the result is the vector times one column"},
        examples=[call((4,), (2, 4, 5)), call((4,), (2, 3, 4, 1)), call((1,), (1, 1, 5))],
    ),
    op(
        "a.outer(b), torch.outer(a, b), torch.ger(a, b), a.ger(b)",
        index="y[i,j] = a[i] * b[j]",
        da=lambda dy, b: dy @ floating(b, dy),
        db=lambda dy, a: dy.T @ floating(a, dy),
        why={
            "a": "row i holds a[i] times b, so row i comes back times b",
            "b": "column j holds a times b[j], so column j comes back times a",
        },
        examples=[
            call((3,), (4,)),
            call((1,), (4,)),
            call((3,), (1,)),
            call((3,), exactly(2.0, 0.0, 1.0, dtype=torch.long)),
        ],
    ),
    op(
        "x.addmm(mat1, mat2, beta=1, alpha=1), torch.addmm(x, mat1, mat2, beta=1, alpha=1)",
        index=None,
        heavy=True,
        same_as="beta * x + alpha * (mat1 @ mat2)",
        stretches=("x",),
        dx=lambda dy, beta: dy * beta,
        dmat1=lambda dy, mat2, alpha: dy @ mat2.T * alpha,
        dmat2=lambda dy, mat1, alpha: mat1.T @ dy * alpha,
        why={"x": "it is added, times beta", "mat1": LEFT, "mat2": RIGHT},
        examples=[
            call((3, 5), (3, 4), (4, 5)),
            call((5,), (3, 4), (4, 5)),
            call((3, 1), (3, 4), (4, 5), beta=0.5, alpha=-2.0),
            call((), (3, 1), (1, 5), alpha=3),
        ],
    ),
    op(
        "x.baddbmm(batch1, batch2, beta=1, alpha=1), "
        "torch.baddbmm(x, batch1, batch2, beta=1, alpha=1)",
        index=None,
        heavy=True,
        same_as="beta * x + alpha * (batch1 @ batch2)",
        stretches=("x",),
        dx=lambda dy, beta: dy * beta,
        dbatch1=lambda dy, batch2, alpha: dy @ batch2.mT * alpha,
        dbatch2=lambda dy, batch1, alpha: batch1.mT @ dy * alpha,
        why={"x": "it is added, times beta", "batch1": LEFT, "batch2": RIGHT},
        examples=[
            call((2, 3, 5), (2, 3, 4), (2, 4, 5)),
            call((3, 5), (2, 3, 4), (2, 4, 5), beta=0.5, alpha=-2.0),
            call((), (1, 3, 1), (1, 1, 5), alpha=3),
        ],
    ),
    op(
        "F.linear(x, weight, bias=None)",
        name="linear_rows",
        index="y[I,o] = sum[j] x[I,j] * weight[o,j]",
        heavy=True,
        when=lambda x, weight, bias: x.ndim >= 2 and weight.ndim == 2 and bias is None,
        dx=lambda dy, weight: dy @ weight,
        dweight=lambda dy, x: rows(dy).T @ rows(x),
        why={
            "x": "the weight was used transposed, so it comes back as it is",
            "weight": "every row met the same weight, so its gradient sums over the rows",
        },
        examples=[call((3, 4), (5, 4)), call((2, 3, 4), (5, 4)), call((1, 1), (5, 1))],
    ),
    op(
        "F.linear(x, weight, bias)",
        name="linear",
        index="y[I,o] = bias[o] + sum[j] x[I,j] * weight[o,j]",
        heavy=True,
        when=lambda x, weight, bias: x.ndim >= 2 and weight.ndim == 2 and bias is not None,
        dx=lambda dy, weight: dy @ weight,
        dweight=lambda dy, x: rows(dy).T @ rows(x),
        dbias=lambda dy: dy,
        why={
            "x": "the weight was used transposed, so it comes back as it is",
            "weight": "every row met the same weight, so its gradient sums over the rows",
            "bias": "the bias was added to every row",
        },
        examples=[
            call((3, 4), (5, 4), (5,)),
            call((2, 3, 4), (5, 4), (5,)),
            call((2, 1, 3, 1), (5, 1), (5,)),
        ],
    ),
    op(
        "F.linear(x, weight, bias=None)",
        name="linear_vector",
        index=None,
        heavy=True,
        same_as="weight @ x if bias is None else weight @ x + bias",
        when=lambda x, weight: x.ndim == 1 and weight.ndim == 2,
        dx=lambda dy, weight: dy @ weight,
        dweight=lambda dy, x: dy.outer(x),
        dbias=lambda dy: dy,
        why={
            "x": "the weight was used transposed, so it comes back as it is",
            "weight": "entry o of the result is row o of the weight times the vector",
            "bias": "the bias was added as it is",
        },
        examples=[call((4,), (5, 4)), call((4,), (5, 4), bias=(5,)), call((1,), (5, 1), (5,))],
    ),
]
