"""Rows of pooling and resizing."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ir import Op
from handgrad.ops.conv import short, wide
from handgrad.ops.declare import Example, call, exactly, op

PICKED = "only the entry that was picked in a window reaches the result"
SHARED = "every entry of a window has the same share of its mean"
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d}
AVERAGE_1D = (
    "F.avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True)"
)
AVERAGE_2D = AVERAGE_1D.replace("1d", "2d").replace(")", ", divisor_override=None)")
OPTIONS = "x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False"
TIES = exactly([[[1.0, 2.0, 2.0, 0.0, 3.0, 3.0]]])
PLANE_TIES = exactly([[[[1.0, 2.0, 2.0], [2.0, 0.0, 2.0], [1.0, 1.0, 1.0]]]])


def picked(
    x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Any:
    """Return where in its image the maximum of each window stands."""
    pool = MAX_POOL[x.ndim - 2]
    return pool(x, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)[1]


def put_back(dy: Any, indices: Any, x: Any) -> Any:
    """Return zeros like `x`, but for what stands at the indices, repeats added up."""
    if x.ndim == 3:
        return torch.zeros_like(x).scatter_add(2, indices, dy)
    flat = torch.zeros_like(x).flatten(2)
    return flat.scatter_add(2, indices.flatten(2), dy.flatten(2)).view_as(x)


def steps(kernel_size: Any, stride: Any, ndim: int) -> tuple[int, ...]:
    """Return how far windows stand apart along each axis in space."""
    return wide(kernel_size if stride is None or stride == () else stride, ndim)


def volume(kernel_size: Any, ndim: int) -> int:
    """Return how many entries a window holds."""
    return math.prod(wide(kernel_size, ndim))


def tiles(x: Any, kernel_size: Any, stride: Any, padding: Any, n: int) -> bool:
    """Tell whether windows over n axes cover every entry exactly once."""
    if x.ndim != n + 2:
        return False
    kernel = wide(kernel_size, x.ndim)
    fits = all(size % k == 0 for size, k in zip(x.shape[2:], kernel, strict=True))
    return fits and kernel == steps(kernel_size, stride, x.ndim) and set(wide(padding, 4)) == {0}


def shares(
    dy: Any,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    count_include_pad: bool,
    divisor: Any = None,
) -> Any:
    """Return what each entry of a window receives."""
    dy = dy / (divisor or volume(kernel_size, x.ndim))
    if divisor is not None or count_include_pad or set(wide(padding, 4)) == {0}:
        return dy
    pool = F.avg_pool1d if x.ndim == 3 else F.avg_pool2d
    return dy / pool(torch.ones_like(x), kernel_size, stride, padding)


def poured(each: Any, x: Any, kernel_size: Any, stride: Any, padding: Any) -> Any:
    """Return the sum, at every entry of `x`, of what the windows over it hold."""
    kernel = wide(kernel_size, x.ndim)
    step, pad = short(steps(kernel_size, stride, x.ndim)), short(wide(padding, x.ndim))
    if x.ndim == 4:
        blocks = each.flatten(2).repeat_interleave(math.prod(kernel), 1)
        return F.fold(blocks, x.shape[2:], short(kernel), padding=pad, stride=step)
    blocks = each.repeat_interleave(kernel[0], 1)  # an image of one row
    image = F.fold(blocks, (1, x.shape[2]), (1, kernel[0]), padding=(0, pad), stride=(1, step))
    return image.squeeze(2)


def ratio(x: Any, size: Any, scale_factor: Any) -> tuple[int, ...] | None:
    """Return how many times larger each axis in space becomes; None where not a whole number."""
    old = [int(n) for n in x.shape[2:]]
    if scale_factor is not None:
        factors = wide(scale_factor, x.ndim)
    else:
        factors = tuple(new / n for new, n in zip(wide(size, x.ndim), old, strict=True))
    return tuple(int(f) for f in factors) if all(f == int(f) > 0 for f in factors) else None


def gathered(dy: Any, x: Any, size: Any, scale_factor: Any) -> Any:
    """Return the sum of the gradients of all copies of each entry."""
    times = ratio(x, size, scale_factor)
    assert times is not None
    if x.ndim == 3:
        return F.avg_pool1d(dy, times[0]) * times[0]
    return F.avg_pool2d(dy, short(times), divisor_override=1)


def max_pooling(n: int, examples: list[Example]) -> list[Op]:
    """Return the rows of the maximum over windows of n axes, without and with the indices."""
    return [
        op(
            f"F.max_pool{n}d({OPTIONS}, return_indices=False)",
            index=None,
            heavy=True,
            when=lambda x, return_indices: x.ndim == n + 2 and not return_indices,
            dx=lambda dy, x, kernel_size, stride, padding, dilation, ceil_mode: put_back(
                dy, picked(x, kernel_size, stride, padding, dilation, ceil_mode), x
            ),
            why={"x": PICKED},
            examples=[call(*e.args, **e.kwargs) for e in examples],
        ),
        op(
            f"y, indices = F.max_pool{n}d({OPTIONS}, return_indices=False), "
            f"F.max_pool{n}d_with_indices({OPTIONS}, return_indices=False)",
            name=f"max_pool{n}d_with_indices",
            index=None,
            heavy=True,
            when=lambda x, return_indices: x.ndim == n + 2 and return_indices,
            dx=lambda dy, x, indices: put_back(dy, indices, x),
            why={"x": PICKED},
            examples=[call(*e.args, **e.kwargs, return_indices=True) for e in examples],
        ),
    ]


ROWS = [
    *max_pooling(
        1,
        [
            call((2, 3, 6), 2),
            call((2, 3, 7), 3, stride=2, padding=1),
            call((1, 2, 8), 2, dilation=3, stride=1),
            call((2, 3, 7), 2, ceil_mode=True),
            call(TIES, 3, stride=1),
        ],
    ),
    *max_pooling(
        2,
        [
            call((2, 3, 4, 6), 2),
            call((2, 3, 5, 7), (3, 2), stride=(2, 1), padding=1),
            call((1, 2, 7, 8), 2, dilation=(1, 3), stride=1),
            call((2, 3, 5, 7), 2, ceil_mode=True),
            call(PLANE_TIES, 2, stride=1),
        ],
    ),
    op(
        AVERAGE_1D,
        name="avg_pool1d_tiles",
        index=None,
        when=lambda x, kernel_size, stride, padding: tiles(x, kernel_size, stride, padding, 1),
        dx=lambda dy, kernel_size: F.interpolate(
            dy / volume(kernel_size, 3), scale_factor=short(wide(kernel_size, 3))
        ),
        why={"x": SHARED},
        examples=[call((2, 3, 6), 2), call((2, 3, 6), (3,), stride=3), call((1, 1, 1), 1)],
    ),
    op(
        AVERAGE_1D,
        index=None,
        when=lambda x, ceil_mode: x.ndim == 3 and not ceil_mode,
        dx=lambda dy, x, kernel_size, stride, padding, count_include_pad: poured(
            shares(dy, x, kernel_size, stride, padding, count_include_pad),
            x,
            kernel_size,
            stride,
            padding,
        ),
        why={"x": SHARED},
        examples=[
            call((2, 3, 7), 2),
            call((2, 3, 7), 3, stride=2, padding=1),
            call((2, 3, 7), 3, 2, padding=1, count_include_pad=False),
        ],
    ),
    op(
        AVERAGE_2D,
        name="avg_pool2d_tiles",
        index=None,
        when=lambda x, kernel_size, stride, padding: tiles(x, kernel_size, stride, padding, 2),
        dx=lambda dy, kernel_size, divisor_override: F.interpolate(
            dy / (divisor_override or volume(kernel_size, 4)),
            scale_factor=short(wide(kernel_size, 4)),
        ),
        why={"x": SHARED},
        examples=[
            call((2, 3, 4, 6), 2),
            call((2, 3, 4, 6), (2, 3), stride=(2, 3)),
            call((2, 3, 4, 6), 2, divisor_override=1),
        ],
    ),
    op(
        AVERAGE_2D,
        index=None,
        when=lambda x, ceil_mode: x.ndim == 4 and not ceil_mode,
        dx=lambda dy, x, kernel_size, stride, padding, count_include_pad, divisor_override: poured(
            shares(dy, x, kernel_size, stride, padding, count_include_pad, divisor_override),
            x,
            kernel_size,
            stride,
            padding,
        ),
        why={"x": SHARED},
        examples=[
            call((2, 3, 5, 7), 2),
            call((2, 3, 5, 7), (3, 2), stride=(2, 1), padding=1),
            call((2, 3, 5, 7), 3, 2, padding=1, count_include_pad=False),
            call((2, 3, 5, 7), 3, 2, padding=1, divisor_override=2),
        ],
    ),
    op(
        "F.adaptive_avg_pool1d(x, output_size)",
        index=None,
        same_as="x.mean(dim=-1, keepdim=True)",
        when=lambda x, output_size: x.ndim == 3 and wide(output_size, 3) == (1,),
        dx=lambda dy, x: (dy / x.shape[2]).expand_as(x),
        why={"x": SHARED},
        examples=[call((2, 3, 5), 1), call((2, 3, 5), (1,))],
    ),
    op(
        "F.adaptive_avg_pool2d(x, output_size)",
        index=None,
        same_as="x.mean(dim=(-2, -1), keepdim=True)",
        when=lambda x, output_size: x.ndim == 4 and wide(output_size, 4) == (1, 1),
        dx=lambda dy, x: (dy / (x.shape[2] * x.shape[3])).expand_as(x),
        why={"x": SHARED},
        examples=[call((2, 3, 5, 4), 1), call((2, 3, 5, 4), (1, 1))],
    ),
    op(
        "F.interpolate(x, size=None, scale_factor=None, mode='nearest')",
        index=None,
        when=lambda x, size, scale_factor, mode: (
            mode == "nearest" and x.ndim in (3, 4) and ratio(x, size, scale_factor) is not None
        ),
        dx=gathered,
        why={"x": "an entry that was copied gets the sum of its copies' gradients"},
        examples=[
            call((2, 3, 5), scale_factor=2),
            call((2, 3, 5), size=15),
            call((2, 3, 4, 5), scale_factor=3),
            call((2, 3, 4, 5), size=(8, 15)),
            call((2, 3, 4, 5), scale_factor=(1, 2)),
        ],
    ),
]
