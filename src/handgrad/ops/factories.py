"""Rows that make tensors from numbers; they have no operands, so no rules."""

import torch

from handgrad.ops.declare import call, op

KIND = "dtype=None, device=None"
LIKE = [call((3, 4)), call(()), call((3, 4), dtype=torch.bool)]

ROWS = [
    *(
        op(
            f"torch.{name}_like(x, {KIND})",
            index=None,
            structural=("x",),
            examples=LIKE,
        )
        for name in ("zeros", "ones")
    ),
    op(
        f"torch.full_like(x, fill_value, {KIND})",
        index=None,
        structural=("x",),
        examples=[call((3, 4), 2.5), call((2,), 3, dtype=torch.int64)],
    ),
    *(
        op(
            f"torch.{name}(*size, {KIND})",
            index=None,
            examples=[call(3, 4), call((2, 3)), call(5, dtype=torch.int64)],
        )
        for name in ("zeros", "ones")
    ),
    *(
        op(
            f"x.new_{name}(*size, {KIND})",
            index=None,
            structural=("x",),
            examples=[call((3, 4), 2), call((3,), (2, 3))],
        )
        for name in ("zeros", "ones")
    ),
    op(
        f"x.new_full(size, fill_value, {KIND})",
        index=None,
        structural=("x",),
        examples=[call((3, 4), (2, 3), 1.5)],
    ),
    op(
        f"torch.full(size, fill_value, {KIND})",
        index=None,
        examples=[call((3, 4), 2.5), call((2,), 3, dtype=torch.float64)],
    ),
    op(
        f"torch.eye(n, {KIND})",
        index=None,
        examples=[call(3), call(4, dtype=torch.bool)],
    ),
    op(
        f"torch.eye(n, m, {KIND})",
        name="eye_wide",
        index=None,
        examples=[call(3, 5)],
    ),
    op(
        f"torch.arange(stop, {KIND})",
        index=None,
        examples=[call(5), call(0), call(3, dtype=torch.float32), call(2.5)],
    ),
    op(
        f"torch.arange(start, end, step=1, {KIND})",
        name="arange_from",
        index=None,
        examples=[call(1, 5), call(0, 7, step=2), call(5, 1, step=-1, dtype=torch.float64)],
    ),
    op(
        f"torch.linspace(start, end, steps, {KIND})",
        index=None,
        examples=[call(0, 1, 5), call(-1, 1, 4, dtype=torch.float64)],
    ),
    op(
        f"torch.tensor(data, {KIND})",
        index=None,
        examples=[call(2), call([0, 2, 1]), call([[0.5, 1.0], [2.0, 3.0]], dtype=torch.float64)],
    ),
]
