"""Rows that join tensors, cut them apart, or put a border around them."""

from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ops.declare import call, op
from handgrad.ops.positions import at, part
from handgrad.ops.words import axes, scalar

CUT = "the pieces stand side by side, so each operand gets its own piece of the gradient"
JOINED = "each piece was cut from its own place, so the pieces' gradients are joined again"
SIDE_BY_SIDE = [
    call([(3, 4), (3, 2)], dim=1),
    call([(2, 3), (4, 3), (1, 3)]),
    call([(2, 3, 5), (2, 1, 5), (2, 2, 5)], dim=-2),
    call([(5,)], dim=0),
    call([(3, 4), (3, 0)], dim=1),
]


def pieces(dy: Any, xs: Any, dim: Any) -> list[Any]:
    """Cut a gradient into the pieces that its operands were joined from."""
    axis = axes(dim, dy.ndim)[0]
    found: list[Any] = []
    start: Any = None
    for place, x in enumerate(xs):
        if x.ndim != dy.ndim:  # torch lets an empty vector be joined with anything
            found.append(torch.zeros_like(x))
            continue
        stop = x.shape[axis] if start is None else start + x.shape[axis]
        last = None if place == len(xs) - 1 else stop
        found.append(dy[at(axis, part(start, last), dy.ndim)] if len(xs) > 1 else dy)
        start = stop
    return found


def single(dy: Any, xs: Any, dim: Any) -> list[Any]:
    """Take from the gradient of a stack the entry of each operand."""
    axis = axes(dim, dy.ndim)[0]
    return [dy[at(axis, place, dy.ndim)] for place in range(len(xs))]


def cropped(dy: Any, pad: Any) -> Any:
    """Cut a border off, where it is not negative; else pad by as much the other way."""
    if any(amount < 0 for amount in pad):
        return F.pad(dy, tuple(-amount for amount in pad))
    sides = list(zip(pad[::2], pad[1::2], strict=True))[::-1]
    slices = [part(before, -after if after else None) for before, after in sides]
    return dy[(*([...] if len(slices) < dy.ndim else []), *slices)]


ROWS = [
    op(
        "torch.cat(xs, dim=0), torch.concat(xs, dim=0), torch.concatenate(xs, dim=0)",
        index=None,
        dxs=lambda dy, xs, dim: pieces(dy, xs, dim),
        why={"xs": CUT},
        examples=[*SIDE_BY_SIDE, call([(3, 4), (0,), (2, 4)])],
    ),
    op(
        "torch.stack(xs, dim=0)",
        index=None,
        dxs=lambda dy, xs, dim: single(dy, xs, dim),
        why={"xs": "each operand is one slice of the stack, so it gets that slice's gradient"},
        examples=[
            call([(3, 4), (3, 4)]),
            call([(3, 4), (3, 4), (3, 4)], dim=1),
            call([(3,), (3,)], dim=-1),
            call([(), ()]),
        ],
    ),
    op(
        "torch.hstack(xs)",
        index=None,
        when=lambda xs: all(x.ndim > 0 for x in xs),
        dxs=lambda dy, xs: pieces(dy, xs, min(1, dy.ndim - 1)),
        why={"xs": CUT},
        examples=[call([(3, 4), (3, 2)]), call([(3,), (2,)])],
    ),
    op(
        "torch.vstack(xs)",
        index=None,
        when=lambda xs: all(x.ndim > 1 for x in xs),
        dxs=lambda dy, xs: pieces(dy, xs, 0),
        why={"xs": CUT},
        examples=[call([(2, 3), (4, 3)])],
    ),
    op(
        "*ys = x.split(split_size, dim=0), torch.split(x, split_size, dim=0)",
        index=None,
        dx=lambda dys, dim: torch.cat(dys, dim),
        why={"x": JOINED},
        examples=[
            call((5, 3), 2),
            call((3, 6), 2, dim=1),
            call((3, 6), [1, 3, 2], dim=-1),
            call((5,), 5),
        ],
    ),
    op(
        "*ys = x.chunk(chunks, dim=0), torch.chunk(x, chunks, dim=0)",
        index=None,
        dx=lambda dys, dim: torch.cat(dys, dim),
        why={"x": JOINED},
        examples=[call((5, 3), 2), call((3, 6), 3, dim=1), call((2, 4), 1, dim=-1)],
    ),
    op(
        "*ys = x.unbind(dim=0), torch.unbind(x, dim=0)",
        index=None,
        dx=lambda dys, dim: torch.stack(dys, dim),
        why={"x": "each piece was one slice, so their gradients are stacked again"},
        examples=[call((2, 3)), call((2, 3, 4), dim=1), call((3, 2), dim=-1), call((3,))],
    ),
    op(
        "F.pad(x, pad, mode='constant', value=None)",
        index=None,
        when=lambda mode, value: mode == "constant" and (value is None or scalar(value)),
        dx=lambda dy, pad: cropped(dy, pad),
        why={"x": "the border is constant, so the gradient inside it is what remains"},
        examples=[
            call((3, 4), (1, 2)),
            call((3, 4), (0, 1), value=2.5),
            call((3, 4), (1, 0, 2, 3)),
            call((2, 3, 5), (1, 1, 0, 2)),
            call((3, 5), (-1, 2)),
            call((4,), [2, 0], mode="constant"),
        ],
    ),
]
