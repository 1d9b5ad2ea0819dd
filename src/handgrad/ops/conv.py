"""Rows of convolutions, their transposes, and sliding blocks."""

from typing import Any

import torch.nn.functional as F

from handgrad.ir import Op
from handgrad.ops.declare import Example, call, op
from handgrad.ops.words import over_channels

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
INPUT = "each entry went to every place its window reached, so the kernel spreads the gradient back"
WEIGHT = "a tap met the input at every place, so its gradient is the input met with the gradient"
TRANSPOSED = "a transposed convolution comes back by the convolution that it transposes"
BIAS = "it was added at every place"


def wide(value: Any, ndim: int) -> tuple[Any, ...]:
    """Return an option of a convolution as one number for each axis in space."""
    if isinstance(value, tuple | list):
        return tuple(value) * (ndim - 2) if len(value) == 1 else tuple(value)
    return (value,) * (ndim - 2)


def short(values: Any) -> Any:
    """Return numbers for each axis as one number where all are the same."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def span(weight: Any, dilation: Any) -> list[int]:
    """Return how far a kernel reaches along each axis in space, beyond the first entry."""
    sizes = map(int, weight.shape[2:])
    return [d * (k - 1) for d, k in zip(wide(dilation, weight.ndim), sizes, strict=True)]


def pads(padding: Any, weight: Any, dilation: Any) -> tuple[int, ...]:
    """Return the padding for each axis in space as numbers."""
    if padding == "valid":
        return wide(0, weight.ndim)
    if padding == "same":
        return tuple(reach // 2 for reach in span(weight, dilation))
    return wide(padding, weight.ndim)


def uneven(padding: Any, weight: Any, dilation: Any) -> list[int]:
    """Return how much more padding there is after than before, along each axis in space."""
    return [reach % 2 if padding == "same" else 0 for reach in span(weight, dilation)]


def padded(x: Any, padding: Any, weight: Any, dilation: Any) -> Any:
    """Return `x` with what `padding="same"` adds at its end beyond what it adds before."""
    more = uneven(padding, weight, dilation)
    return F.pad(x, tuple(n for extra in more[::-1] for n in (0, extra))) if any(more) else x


def uncovered(x: Any, dy: Any, weight: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """Return how many entries at the end of each axis the last window did not reach."""
    steps = zip(
        map(int, x.shape[2:]),
        map(int, dy.shape[2:]),
        wide(stride, x.ndim),
        pads(padding, weight, dilation),
        span(weight, dilation),
        uneven(padding, weight, dilation),
        strict=True,
    )
    return short([n + e + 2 * p - reach - 1 - (m - 1) * s for n, m, s, p, reach, e in steps])


def grouped(x: Any, groups: int) -> Any:
    """Return `x` with channels for samples, the samples of each group side by side."""
    if groups == 1:
        return x.transpose(0, 1)
    return x.unflatten(1, (groups, -1)).transpose(0, 2).flatten(1, 2)


def cut(full: Any, like: Any) -> Any:
    """Return the leading entries of each axis in space, as many as `like` has."""
    if full.shape[2:] == like.shape[2:]:
        return full
    return full[(..., *(slice(int(size)) for size in like.shape[2:]))]


def taps(
    x: Any, dy: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Return the gradient of a kernel: what `x` and `dy` have in common at each offset."""
    full = CONV[x.ndim - 2](
        grouped(padded(x, padding, weight, dilation), groups),
        dy.transpose(0, 1),
        stride=dilation,
        padding=short(pads(padding, weight, dilation)),
        dilation=stride,
        groups=groups,
    ).transpose(0, 1)
    return cut(full, weight)


def spread(
    dy: Any, x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Return the gradient of a convolution's input."""
    full = CONV_TRANSPOSE[x.ndim - 2](
        dy,
        weight,
        stride=stride,
        padding=short(pads(padding, weight, dilation)),
        output_padding=uncovered(x, dy, weight, stride, padding, dilation),
        groups=groups,
        dilation=dilation,
    )
    return cut(full, x)


def covers(x: Any, stride: Any, output_padding: Any) -> bool:
    """Tell whether the extra entries of a transposed convolution are fewer than its stride."""
    options = wide(output_padding, x.ndim), wide(stride, x.ndim)
    return all(extra < step for extra, step in zip(*options, strict=True))


def blocks(x: Any) -> Any:
    """Return the size of an image as the option that fold takes."""
    return (x.shape[-2], x.shape[-1])


def convolution(n: int, examples: list[Example]) -> Op:
    """Return the row of a convolution over n axes in space."""
    return op(
        f"F.conv{n}d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)",
        index=None,
        heavy=True,
        when=lambda x: x.ndim == n + 2,
        dx=lambda dy, x, weight, stride, padding, dilation, groups: spread(
            dy, x, weight, stride, padding, dilation, groups
        ),
        dweight=lambda dy, x, weight, stride, padding, dilation, groups: taps(
            x, dy, weight, stride, padding, dilation, groups
        ),
        dbias=over_channels,
        why={"x": INPUT, "weight": WEIGHT, "bias": BIAS},
        examples=examples,
    )


def transposed(n: int, examples: list[Example]) -> Op:
    """Return the row of a transposed convolution over n axes in space."""
    return op(
        f"F.conv_transpose{n}d(x, weight, bias=None, stride=1, padding=0, output_padding=0, "
        "groups=1, dilation=1)",
        index=None,
        heavy=True,
        when=lambda x, stride, output_padding: (
            x.ndim == n + 2 and covers(x, stride, output_padding)
        ),
        dx=lambda dy, weight, stride, padding, dilation, groups: CONV[n](
            dy, weight, stride=stride, padding=padding, dilation=dilation, groups=groups
        ),
        dweight=lambda dy, x, weight, stride, padding, dilation, groups: taps(
            dy, x, weight, stride, padding, dilation, groups
        ),
        dbias=over_channels,
        why={"x": TRANSPOSED, "weight": WEIGHT, "bias": BIAS},
        examples=examples,
    )


ROWS = [
    convolution(
        1,
        [
            call((2, 3, 7), (5, 3, 2)),
            call((2, 3, 7), (5, 3, 3), (5,), stride=2, padding=1),
            call((2, 3, 9), (5, 3, 3), stride=3, dilation=2),
            call((2, 4, 7), (6, 2, 3), (6,), padding="same", groups=2),
            call((2, 4, 7), (4, 1, 3), padding="valid", groups=4, stride=2),
            call((2, 3, 7), (5, 3, 2), padding="same"),
            call((1, 1, 1), (1, 1, 1), (1,)),
        ],
    ),
    convolution(
        2,
        [
            call((2, 3, 5, 7), (5, 3, 2, 3)),
            call((2, 3, 6, 7), (5, 3, 3, 3), (5,), stride=2, padding=1),
            call((2, 3, 8, 9), (5, 3, 3, 2), (5,), (2, 3), (1, 0), (1, 2)),
            call((2, 4, 5, 6), (6, 2, 3, 3), padding="same", groups=2),
            call((2, 3, 7, 8), (5, 3, 3, 3), padding="same", dilation=2),
            call((2, 3, 5, 7), (4, 3, 3, 2), padding="same"),
            call((2, 4, 5, 7), (6, 2, 4, 2), padding="same", groups=2, dilation=(1, 3)),
            call((2, 4, 5, 6), (8, 1, 2, 2), (8,), padding="valid", groups=4, stride=2),
            call((1, 1, 1, 1), (1, 1, 1, 1), (1,)),
        ],
    ),
    transposed(
        1,
        [
            call((2, 3, 5), (3, 4, 2)),
            call((2, 3, 5), (3, 4, 3), (4,), stride=2, padding=1, output_padding=1),
            call((2, 4, 5), (4, 3, 3), (6,), stride=3, dilation=2, groups=2),
        ],
    ),
    transposed(
        2,
        [
            call((2, 3, 4, 5), (3, 4, 2, 3)),
            call((2, 3, 4, 5), (3, 4, 3, 3), (4,), stride=2, padding=1, output_padding=1),
            call((2, 4, 3, 5), (4, 3, 3, 2), (6,), (2, 3), (1, 0), (1, 2), 2, (2, 1)),
        ],
    ),
    op(
        "F.unfold(x, kernel_size, dilation=1, padding=0, stride=1)",
        index=None,
        when=lambda x: x.ndim == 4,
        dx=lambda dy, x, kernel_size, dilation, padding, stride: F.fold(
            dy, blocks(x), kernel_size, dilation=dilation, padding=padding, stride=stride
        ),
        why={"x": "an entry that stands in several blocks gets the sum of their gradients"},
        examples=[
            call((2, 3, 5, 7), 2),
            call((2, 3, 5, 7), (2, 3), stride=2, padding=1),
            call((1, 2, 7, 8), (3, 2), dilation=(1, 2), stride=(3, 2), padding=(0, 1)),
        ],
    ),
    op(
        "F.fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1)",
        index=None,
        when=lambda x: x.ndim == 3,
        dx=lambda dy, kernel_size, dilation, padding, stride: F.unfold(
            dy, kernel_size, dilation=dilation, padding=padding, stride=stride
        ),
        why={"x": "every block was added in, so each gets the gradient of where it stood"},
        examples=[
            call((2, 12, 24), (5, 7), 2),
            call((2, 12, 6), (4, 6), (2, 2), stride=2),
            call((1, 12, 9), (5, 7), (2, 3), padding=(1, 0), stride=(2, 2)),
        ],
    ),
]
