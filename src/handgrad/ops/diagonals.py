"""Rows of triangles and diagonals of matrices, and one-hot codes."""

from typing import Any

import torch

from handgrad.ir import Op
from handgrad.ops.declare import call, index, op

DIAGONAL = "the entries of the diagonal go back to it, the others get zero"
KEPT = "the diagonal that was written over reaches the result no more"
MATRICES = [
    call((3, 4)),
    call((4, 3), offset=-1),
    call((2, 3, 5), offset=1, dim1=0, dim2=-1),
    call((2, 3, 3), dim1=-2, dim2=-1),
]


def length(x: Any) -> Any:
    """Return how many entries the diagonal of a matrix has."""
    return min(x.shape)


def triangle(name: str, keep: Any) -> Op:
    """Declare the lower or upper triangle."""
    return op(
        f"x.{name}(diagonal=0), torch.{name}(x, diagonal=0)",
        index=None,
        dx=lambda dy, diagonal: keep(dy, diagonal),
        why={"x": "only the triangle that was kept reaches the result"},
        examples=[
            call((4, 4)),
            call((3, 5), diagonal=1),
            call((2, 4, 3), diagonal=-1),
            call((1, 1)),
        ],
    )


ROWS = [
    triangle("tril", torch.tril),
    triangle("triu", torch.triu),
    op(
        "x.diagonal(offset=0, dim1=0, dim2=1), torch.diagonal(x, offset=0, dim1=0, dim2=1)",
        index=None,
        dx=lambda dy, x, offset, dim1, dim2: torch.zeros_like(x).diagonal_scatter(
            dy, offset=offset, dim1=dim1, dim2=dim2
        ),
        why={"x": DIAGONAL},
        examples=MATRICES,
    ),
    op(
        "x.diagonal_scatter(src, offset=0, dim1=0, dim2=1), "
        "torch.diagonal_scatter(x, src, offset=0, dim1=0, dim2=1)",
        index=None,
        dx=lambda dy, src, offset, dim1, dim2: dy.diagonal_scatter(
            torch.zeros_like(src), offset=offset, dim1=dim1, dim2=dim2
        ),
        dsrc=lambda dy, offset, dim1, dim2: dy.diagonal(offset=offset, dim1=dim1, dim2=dim2),
        why={"x": KEPT, "src": "the entries that were written now stand on the diagonal"},
        examples=[
            call((3, 4), (3,)),
            call((4, 3), (3,), offset=-1),
            call((2, 3, 3), (2, 3), dim1=-2, dim2=-1),
        ],
    ),
    op(
        "x.diag(diagonal=0), torch.diag(x, diagonal=0)",
        name="diag_matrix",
        index=None,
        when=lambda x: x.ndim == 1,
        dx=lambda dy, diagonal: dy.diag(diagonal),
        why={"x": "the vector stands on the diagonal, so its gradient is read there"},
        examples=[call((3,)), call((3,), diagonal=-2), call((1,), diagonal=1)],
    ),
    op(
        "x.diag(diagonal=0), torch.diag(x, diagonal=0)",
        name="diag_vector",
        index=None,
        when=lambda x: x.ndim == 2,
        dx=lambda dy, x, diagonal: torch.zeros_like(x).diagonal_scatter(dy, offset=diagonal),
        why={"x": DIAGONAL},
        examples=[call((3, 4)), call((4, 3), diagonal=1), call((3, 3), diagonal=-1)],
    ),
    op(
        "x.diag_embed(offset=0, dim1=-2, dim2=-1), torch.diag_embed(x, offset=0, dim1=-2, dim2=-1)",
        index=None,
        dx=lambda dy, offset, dim1, dim2: dy.diagonal(offset=offset, dim1=dim1, dim2=dim2),
        why={"x": "the entries stand on the diagonal, so their gradient is read there"},
        examples=[call((3, 4)), call((3,), offset=1), call((2, 3), dim1=0, dim2=2)],
    ),
    op(
        "x.trace(), torch.trace(x)",
        index=None,
        dx=lambda dy, x: torch.zeros_like(x).diagonal_scatter(dy.expand(length(x))),
        why={"x": "each entry of the diagonal went into the sum once"},
        examples=[call((3, 3)), call((3, 5)), call((4, 1))],
    ),
    op(
        "F.one_hot(x, num_classes=-1)",
        index="y[I,k] = where(x[I] == k, 1, 0)",
        when=lambda num_classes: num_classes > 0,
        examples=[
            call(index(4, below=5), 5),
            call(index(2, 3, below=4), num_classes=6),
            call(index(below=3), 3),
        ],
    ),
]
