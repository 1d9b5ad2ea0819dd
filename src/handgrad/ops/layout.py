"""Rows that give the same entries another shape, another order of axes, or more axes."""

from typing import Any

import torch

from handgrad.ir import Call
from handgrad.ops.declare import call, op
from handgrad.ops.term import Term
from handgrad.ops.words import axes

RESHAPED = "only the shape changed, so the gradient takes the input's shape again"
TURNED = "the axes are put back in their places"
REPEATED = "each entry was read several times, so its gradients are summed"


def inverse(dims: Any) -> tuple[int, ...]:
    """Return the order of axes that undoes an order of axes."""
    order = [d % len(dims) for d in dims]
    return tuple(order.index(axis) for axis in range(len(order)))


def turned(x: Any) -> Any:
    """Return the transpose of a transpose, or of a product, with one transpose less."""
    made = x.expr if isinstance(x.expr, Call) else None
    if made is None:
        return None
    if made.op.name in ("mT", "T"):
        return Term(made.args["x"])  # pyright: ignore[reportArgumentType]
    if made.op.spellings[0].target != "@" or made.ndim < 2:
        return None
    a, b = (Term(made.args[name]) for name in "ab")  # pyright: ignore[reportArgumentType]
    if a.ndim < 2 or b.ndim < 2:
        return None
    return b.T @ a.T if a.ndim == b.ndim == 2 else b.mT @ a.mT


def unexpand(dy: Any, x: Any, repeats: Any) -> Any:
    """Sum the gradient of `x.repeat(repeats)` over the copies."""
    extra = len(repeats) - x.ndim
    sizes: list[Any] = []
    copies: list[int] = []
    for place, times in enumerate(repeats):
        if place < extra or times != 1:
            copies.append(len(sizes))
            sizes.append(times)
        if place >= extra:
            sizes.append(x.shape[place - extra])
    if not copies:
        return dy
    return dy.reshape(*sizes).sum(dim=tuple(copies) if len(copies) > 1 else copies[0])


def uninterleave(dy: Any, x: Any, repeats: Any, dim: Any) -> Any:
    """Sum the gradient of `x.repeat_interleave(repeats, dim)` over the copies."""
    if dim is None or x.ndim == 0:
        return dy.reshape(*x.shape, repeats).sum(dim=-1)
    axis = axes(dim, x.ndim)[0]
    after = -1 if axis == x.ndim - 1 else axis + 1
    return dy.unflatten(dim, (x.shape[axis], repeats)).sum(dim=after)


SHAPES = [
    op(
        "x.reshape(*shape), x.view(*shape), torch.reshape(x, shape)",
        index=None,
        when=lambda shape: not isinstance(shape[0] if shape else 0, torch.dtype),
        dx=lambda dy, x: dy.reshape_as(x),
        why={"x": RESHAPED},
        examples=[
            call((3, 4), 2, 6),
            call((2, 3, 5), 2, -1),
            call((), 1, 1),
            call((6,), (2, 3)),
            call((0, 3), 3, 0),
        ],
    ),
    op(
        "x.reshape_as(other), x.view_as(other)",
        index=None,
        structural=("other",),
        dx=lambda dy, x: dy.reshape_as(x),
        why={"x": RESHAPED},
        examples=[call((3, 4), (2, 6))],
    ),
    op(
        "x.flatten(start_dim=0, end_dim=-1), torch.flatten(x, start_dim=0, end_dim=-1), "
        "x.ravel(), torch.ravel(x)",
        index=None,
        dx=lambda dy, x: dy.reshape_as(x),
        why={"x": RESHAPED},
        examples=[
            call((3, 4)),
            call((2, 3, 5), start_dim=1),
            call((2, 3, 5), start_dim=0, end_dim=1),
            call(()),
        ],
    ),
    op(
        "x.unflatten(dim, sizes), torch.unflatten(x, dim, sizes)",
        index=None,
        dx=lambda dy, x: dy.reshape_as(x),
        why={"x": RESHAPED},
        examples=[call((3, 8), 1, (2, 4)), call((6, 5), 0, (3, -1)), call((2, 6), -1, (2, 1, 3))],
    ),
    op(
        "x.unsqueeze(dim), torch.unsqueeze(x, dim)",
        index=None,
        dx=lambda dy, dim: dy.squeeze(dim),
        why={"x": RESHAPED},
        examples=[call((3, 4), 1), call((3, 4), -1), call((), 0)],
    ),
    op(
        "x.squeeze(dim), torch.squeeze(x, dim)",
        name="squeeze_dim",
        index=None,
        when=lambda dim: isinstance(dim, int),
        dx=lambda dy, x, dim: dy.unsqueeze(dim) if x.ndim and x.shape[dim] == 1 else dy,
        why={"x": RESHAPED},
        examples=[call((3, 1, 4), 1), call((3, 4), 1), call((3, 1), -1), call((), 0)],
    ),
    op(
        "x.squeeze(dim), torch.squeeze(x, dim)",
        name="squeeze_dims",
        index=None,
        when=lambda dim: isinstance(dim, tuple | list),
        dx=lambda dy, x: dy.reshape_as(x),
        why={"x": RESHAPED},
        examples=[call((1, 3, 1, 4), (0, 2)), call((3, 4), (0,))],
    ),
    op(
        "x.squeeze(), torch.squeeze(x)",
        index=None,
        dx=lambda dy, x: dy.reshape_as(x),
        why={"x": RESHAPED},
        examples=[call((1, 3, 1, 4)), call((3, 4)), call((1,))],
    ),
    op(
        "x.contiguous()",
        index="y[I] = x[I]",
        dx=lambda dy: dy,
        why={"x": "the entries are the same, only laid out in order"},
        examples=[call((3, 4)), call(())],
    ),
    op(
        "x.clone(), torch.clone(x)",
        index="y[I] = x[I]",
        dx=lambda dy: dy,
        why={"x": "a copy's entries are the original's"},
        examples=[call((3, 4)), call(())],
    ),
    op(
        "x.detach(), torch.detach(x), x.data",
        index="y[I] = x[I]",
        examples=[call((3, 4)), call(())],
    ),
]

TURNS = [
    op(
        "x.mT",
        index="y[I,i,j] = x[I,j,i]",
        when=lambda x: x.ndim >= 2,
        dx=lambda dy: dy.mT,
        fold=lambda x: turned(x),
        why={"x": TURNED},
        examples=[call((3, 4)), call((2, 3, 5))],
    ),
    op(
        "x.T",
        index="y[i,j] = x[j,i]",
        when=lambda x: x.ndim == 2,
        dx=lambda dy: dy.T,
        fold=lambda x: turned(x),
        why={"x": TURNED},
        examples=[call((3, 4)), call((1, 4))],
    ),
    op(
        "x.t(), torch.t(x)",
        index="y[i,j] = x[j,i]",
        when=lambda x: x.ndim == 2,
        dx=lambda dy: dy.t(),
        why={"x": TURNED},
        examples=[call((3, 4)), call((1, 4))],
    ),
    op(
        "x.transpose(dim0, dim1), torch.transpose(x, dim0, dim1), x.swapaxes(dim0, dim1), "
        "torch.swapaxes(x, dim0, dim1), x.swapdims(dim0, dim1), torch.swapdims(x, dim0, dim1)",
        index=None,
        dx=lambda dy, dim0, dim1: dy.transpose(dim0, dim1),
        why={"x": TURNED},
        examples=[
            call((3, 4), 0, 1),
            call((2, 3, 5), 1, -1),
            call((2, 3, 5), 0, 2),
            call((), 0, 0),
        ],
    ),
    op(
        "x.permute(*dims), torch.permute(x, dims)",
        index=None,
        dx=lambda dy, dims: dy.permute(*inverse(dims)),
        why={"x": TURNED},
        examples=[
            call((2, 3, 5), 1, 2, 0),
            call((2, 3, 5), (0, -1, 1)),
            call((2, 3, 1, 5), 3, 0, 2, 1),
            call((4,), 0),
        ],
    ),
    op(
        "x.movedim(source, destination), torch.movedim(x, source, destination), "
        "x.moveaxis(source, destination), torch.moveaxis(x, source, destination)",
        index=None,
        dx=lambda dy, source, destination: dy.movedim(destination, source),
        why={"x": TURNED},
        examples=[call((2, 3, 5), 0, -1), call((2, 3, 5), 2, 0), call((2, 3, 5), (0, 1), (1, 2))],
    ),
    op(
        "x.flip(*dims), torch.flip(x, dims)",
        index=None,
        dx=lambda dy, dims: dy.flip(*dims),
        why={"x": "turning back to front twice gives the entries their places again"},
        examples=[call((3, 4), 0), call((2, 3, 5), 0, -1), call((2, 3, 5), (1,)), call((3, 1), 1)],
    ),
    op(
        "x.roll(shifts, dims=()), torch.roll(x, shifts, dims=())",
        index=None,
        dx=lambda dy, shifts, dims: dy.roll(negative(shifts), dims),
        why={"x": "rolling the other way gives the entries their places again"},
        examples=[
            call((3, 4), 1),
            call((3, 4), -1, dims=1),
            call((2, 3, 5), (1, -2), dims=(0, 2)),
            call((5,), 2, dims=0),
        ],
    ),
]


def negative(shifts: Any) -> Any:
    """Return shifts the other way."""
    return tuple(-s for s in shifts) if isinstance(shifts, tuple | list) else -shifts


STRETCHES = [
    op(
        "x.expand_as(other)",
        index="y[I] = x[I]",
        additive=True,
        repeats=True,
        structural=("other",),
        dx=lambda dy: dy,
        fold=lambda x, other: x if other.ndim == 0 else None,
        why={"x": REPEATED},
        examples=[call((3, 1), (3, 4)), call((4,), (3, 4)), call((), (2, 3)), call((), ())],
    ),
    op(
        "x.expand(*shape), x.broadcast_to(shape), torch.broadcast_to(x, shape)",
        index="y[I] = x[I]",
        repeats=True,
        dx=lambda dy: dy,
        why={"x": REPEATED},
        examples=[
            call((3, 1), 3, 4),
            call((4,), 3, 4),
            call((), 2, 3),
            call((1, 3, 1), (2, 3, 5)),
            call((3, 4), 3, 4),
        ],
    ),
    op(
        "x.repeat(*repeats), x.tile(*repeats), torch.tile(x, repeats)",
        index=None,
        when=lambda x, repeats: len(repeats) >= x.ndim,
        dx=lambda dy, x, repeats: unexpand(dy, x, repeats),
        why={"x": REPEATED},
        examples=[
            call((3, 4), 2, 1),
            call((3, 4), 2, 3),
            call((3, 4), (5, 1, 2)),
            call((3, 1), 1, 1),
            call((), 3),
            call((3,), 0),
        ],
    ),
    op(
        "x.tile(*repeats), torch.tile(x, repeats)",
        index=None,
        when=lambda x, repeats: len(repeats) < x.ndim,
        dx=lambda dy, x, repeats: unexpand(dy, x, (*[1] * (x.ndim - len(repeats)), *repeats)),
        why={"x": REPEATED},
        examples=[call((3, 4), 2), call((2, 3, 5), (3, 2))],
    ),
    op(
        "x.repeat_interleave(repeats, dim=None), torch.repeat_interleave(x, repeats, dim=None)",
        index=None,
        when=lambda repeats: isinstance(repeats, int),
        dx=lambda dy, x, repeats, dim: uninterleave(dy, x, repeats, dim),
        why={"x": REPEATED},
        examples=[
            call((3, 4), 2),
            call((3, 4), 2, dim=0),
            call((2, 3, 5), 3, dim=-2),
            call((2, 3), 2, dim=-1),
            call((), 3),
        ],
    ),
]

ROWS = [*SHAPES, *TURNS, *STRETCHES]
