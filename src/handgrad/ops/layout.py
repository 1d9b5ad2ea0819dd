"""Rows that move, stretch or join entries without changing them."""

from handgrad.ops.declare import call, op

ROWS = [
    op(
        "x.view(*shape), x.reshape(*shape), torch.reshape(x, shape)",
        index=None,
        dx=lambda dy, x: dy.view_as(x),
        structural=("x",),
        examples=[call((3, 4), 2, 6), call((2, 3, 5), 2, -1), call((), 1, 1)],
    ),
    op(
        "x.view_as(other), x.reshape_as(other)",
        index=None,
        dx=lambda dy, x: dy.view_as(x),
        structural=("x", "other"),
        examples=[call((3, 4), (2, 6))],
    ),
    op(
        "x.expand_as(other)",
        index="y[I] = x[I]",
        repeats=True,
        dx=lambda dy: dy,
        structural=("other",),
        examples=[call((3, 1), (3, 4)), call((4,), (3, 4)), call((), (2, 3))],
    ),
    op(
        "x.unsqueeze(dim), torch.unsqueeze(x, dim)",
        index=None,
        dx=lambda dy, dim: dy.squeeze(dim),
        examples=[call((3, 4), 1), call((3, 4), -1), call((), 0)],
    ),
    op(
        "x.squeeze(dim), torch.squeeze(x, dim)",
        name="squeeze_dim",
        index=None,
        when=lambda dim: isinstance(dim, int),
        dx=lambda dy, x, dim: dy.view_as(x),
        structural=("x",),
        examples=[call((3, 1, 4), 1), call((3, 4), 1)],
    ),
    op(
        "x.mT",
        index="y[I,i,j] = x[I,j,i]",
        dx=lambda dy: dy.mT,
        examples=[call((3, 4)), call((2, 3, 5))],
    ),
    op(
        "torch.zeros_like(x)",
        index=None,
        structural=("x",),
        examples=[call((3, 4))],
    ),
    op(
        "torch.ones_like(x)",
        index=None,
        structural=("x",),
        examples=[call((3, 4))],
    ),
]
