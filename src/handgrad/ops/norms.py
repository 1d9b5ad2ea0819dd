"""Rows that normalise: by layer, batch, group or length; and dropout."""

from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ops.declare import at_kink, call, exactly, op, positive
from handgrad.ops.numbers import write
from handgrad.ops.words import along_channels, floating, is_exactly, over_channels
from handgrad.spell import ATOM, guard, spelled

SHIFT = "every entry also moves the mean and the spread, so its share in both comes off"
SCALE = "the normalised entries were multiplied by it"
ADDED = "it was added"
WHY = {"x": SHIFT, "weight": SCALE, "bias": ADDED}
RMS = {
    "x": "every entry also moves the root mean square, so its share in it comes off",
    "weight": SCALE,
}
RMS_NORM = "F.rms_norm(x, normalized_shape, weight=None, eps=None)"
LAYER = "(x[I,c] - mean[k](x[I,k])) * (mean[k]((x[I,k] - mean[j](x[I,j]))**2) + eps)**-0.5"
BATCH = "(x[n,c] - mean[m](x[m,c])) * (mean[m]((x[m,c] - mean[l](x[l,c]))**2) + eps)**-0.5"
AFFINE = "weight=None, bias=None, training=False, eps=1e-05"
BATCH_NORM = (  # in training the running statistics are written, never read
    f"F.batch_norm(x, None, None, {AFFINE}), "
    f"F.batch_norm(x, running_mean=None, running_var=None, {AFFINE})"
)
BATCH_NORM_EVAL = f"F.batch_norm(x, running_mean, running_var, {AFFINE})"
LAYER_NORM = "F.layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-05)"


def last(shape: Any) -> Any:
    """Return the last axes, as many as a shape has, as a `dim`."""
    return -1 if len(shape) == 1 else tuple(range(-len(shape), 0))


def rest(x: Any) -> Any:
    """Return all axes but that of the channels, as a `dim`."""
    return 0 if x.ndim == 2 else tuple(axis for axis in range(x.ndim) if axis != 1)


def places(x: Any) -> Any:
    """Return the axes after the channels, as a `dim`."""
    return -1 if x.ndim == 3 else tuple(range(2, x.ndim))


def grouped(value: Any, num_groups: int, x: Any) -> Any:
    """Return the entries of each group of channels of something shaped like `x` in one row."""
    return value.reshape(x.shape[0], num_groups, -1)


def rstd(x: Any, dim: Any, eps: Any) -> Any:
    """Return one over the standard deviation."""
    return (x.var(dim, unbiased=False, keepdim=True) + eps).rsqrt()


def standardised(x: Any, dim: Any, eps: Any) -> Any:
    """Return `x` less its mean, over its standard deviation."""
    return (x - x.mean(dim, keepdim=True)) * rstd(x, dim, eps)


def unstandardised(dxhat: Any, x: Any, dim: Any, eps: Any) -> Any:
    """Return the gradient of `x` from that of `standardised(x)`."""
    xhat = standardised(x, dim, eps)
    return rstd(x, dim, eps) * (
        dxhat - dxhat.mean(dim, keepdim=True) - xhat * (dxhat * xhat).mean(dim, keepdim=True)
    )


def rrms(x: Any, dim: Any, eps: Any) -> Any:
    """Return one over the root mean square."""
    return ((x * x).mean(dim, keepdim=True) + own(eps, x)).rsqrt()


def own(eps: Any, x: Any) -> Any:
    """Return `eps`, or the dtype's own if none is given."""
    if eps is not None:
        return eps
    return write(torch.finfo(x.dtype).eps, f"torch.finfo({guard(spelled(x.expr), ATOM)}.dtype).eps")


def unscaled(dxhat: Any, x: Any, dim: Any, eps: Any) -> Any:
    """Return the gradient of `x` from that of `x` over its root mean square."""
    xhat = x * rrms(x, dim, eps)
    return rrms(x, dim, eps) * (dxhat - xhat * (dxhat * xhat).mean(dim, keepdim=True))


def scaled(dy: Any, weight: Any, x: Any) -> Any:
    """Return the gradient of the normalised entries, before the weight of their channels."""
    return dy if weight is None else dy * along_channels(weight, x)


def length(x: Any, dim: Any, eps: Any = 0.0) -> Any:
    """Return the length of `x` along an axis, at least `eps`."""
    norm = x.norm(dim=dim, keepdim=True)
    return norm if is_exactly(eps, 0) else norm.clamp(min=eps)


def turned(dy: Any, y: Any, x1: Any, x2: Any, dim: Any, eps: Any) -> Any:
    """Return the gradient of `x1` from that of its cosine with `x2`."""
    direction = F.normalize(x1, dim=dim)
    x2 = floating(x2, dy)
    other = x2 / length(x2, dim, eps)
    return dy.unsqueeze(dim) * (other - y.unsqueeze(dim) * direction) / length(x1, dim, eps)


ROWS = [
    op(
        LAYER_NORM,
        name="layer_norm_plain",
        index=f"y[I,c] = {LAYER}",
        when=lambda normalized_shape, weight, bias: (
            len(normalized_shape) == 1 and weight is None and bias is None
        ),
        dx=lambda dy, x, eps: unstandardised(dy, x, -1, eps),
        why=WHY,
        examples=[call((3, 5), (5,)), call((2, 3, 5), (5,), eps=0.1), call((5,), (5,))],
    ),
    op(
        LAYER_NORM,
        name="layer_norm_weight",
        index=f"y[I,c] = {LAYER} * weight[c]",
        when=lambda normalized_shape, weight, bias: (
            len(normalized_shape) == 1 and weight is not None and bias is None
        ),
        dx=lambda dy, x, weight, eps: unstandardised(dy * weight, x, -1, eps),
        dweight=lambda dy, x, eps: dy * standardised(x, -1, eps),
        why=WHY,
        examples=[call((3, 5), (5,), (5,)), call((2, 3, 5), (5,), weight=(5,), eps=0.1)],
    ),
    op(
        LAYER_NORM,
        name="layer_norm",
        index=f"y[I,c] = {LAYER} * weight[c] + bias[c]",
        when=lambda normalized_shape, weight, bias: (
            len(normalized_shape) == 1 and weight is not None and bias is not None
        ),
        dx=lambda dy, x, weight, eps: unstandardised(dy * weight, x, -1, eps),
        dweight=lambda dy, x, eps: dy * standardised(x, -1, eps),
        dbias=lambda dy: dy,
        why=WHY,
        examples=[
            call((3, 5), (5,), (5,), (5,)),
            call((2, 1, 3, 5), (5,), weight=(5,), bias=(5,), eps=0.1),
            call((5,), (5,), (5,), (5,)),
        ],
    ),
    op(
        LAYER_NORM,
        name="layer_norm_axes",
        index=None,
        dx=lambda dy, x, normalized_shape, weight, eps: unstandardised(
            dy if weight is None else dy * weight, x, last(normalized_shape), eps
        ),
        dweight=lambda dy, x, normalized_shape, eps: (
            dy * standardised(x, last(normalized_shape), eps)
        ),
        dbias=lambda dy: dy,
        why=WHY,
        examples=[
            call((2, 3, 5), (3, 5)),
            call((2, 3, 5), (3, 5), weight=(3, 5), bias=(3, 5), eps=0.1),
            call((2, 3, 5), (2, 3, 5), bias=(2, 3, 5)),
            at_kink((3, 5), (5,), bias=(5,)),  # torch's loses the bias where there is no weight
        ],
    ),
    op(
        BATCH_NORM,
        name="batch_norm_plain",
        index=f"y[n,c] = {BATCH}",
        when=lambda x, weight, bias, training: (
            training and x.ndim == 2 and weight is None and bias is None
        ),
        dx=lambda dy, x, eps: unstandardised(dy, x, 0, eps),
        why=WHY,
        examples=[call((3, 5), training=True), call((4, 1), training=True, eps=0.1)],
    ),
    op(
        BATCH_NORM,
        name="batch_norm",
        index=f"y[n,c] = {BATCH} * weight[c] + bias[c]",
        when=lambda x, weight, bias, training: (
            training and x.ndim == 2 and weight is not None and bias is not None
        ),
        dx=lambda dy, x, weight, eps: unstandardised(dy * weight, x, 0, eps),
        dweight=lambda dy, x, eps: dy * standardised(x, 0, eps),
        dbias=lambda dy: dy,
        why=WHY,
        examples=[
            call((3, 5), weight=(5,), bias=(5,), training=True),
            call((4, 1), weight=(1,), bias=(1,), training=True, eps=0.1),
        ],
    ),
    op(
        BATCH_NORM,
        name="batch_norm_places",
        index=None,
        when=lambda training: training,
        dx=lambda dy, x, weight, eps: unstandardised(scaled(dy, weight, x), x, rest(x), eps),
        dweight=lambda dy, x, eps: over_channels(dy * standardised(x, rest(x), eps)),
        dbias=over_channels,
        why=WHY,
        examples=[
            call((2, 3, 5), training=True),
            call((2, 3, 5), weight=(3,), bias=(3,), training=True, eps=0.1),
            call((2, 3, 4, 5), weight=(3,), bias=(3,), training=True),
            call((3, 5), weight=(5,), training=True),
            at_kink((3, 5), bias=(5,), training=True),
        ],
    ),
    op(
        BATCH_NORM_EVAL,
        name="batch_norm_eval",
        index="y[n,c] = (x[n,c] - running_mean[c]) * (running_var[c] + eps)**-0.5"
        " * weight[c] + bias[c]",
        when=lambda x, weight, bias, training: (
            not training and x.ndim == 2 and weight is not None and bias is not None
        ),
        dx=lambda dy, weight, running_var, eps: dy * weight * (running_var + eps).rsqrt(),
        dweight=lambda dy, x, running_mean, running_var, eps: (
            dy * ((x - running_mean) * (running_var + eps).rsqrt())
        ),
        dbias=lambda dy: dy,
        why={"x": "the running mean and variance are constants", "weight": SCALE, "bias": ADDED},
        examples=[
            call((3, 5), positive(5), positive(5), (5,), (5,)),
            call((1, 5), positive(5), positive(5), weight=(5,), bias=(5,), eps=0.1),
        ],
    ),
    op(
        BATCH_NORM_EVAL,
        name="batch_norm_eval_places",
        index=None,
        when=lambda training: not training,
        dx=lambda dy, x, weight, running_var, eps: (
            scaled(dy, weight, x) * along_channels((running_var + eps).rsqrt(), x)
        ),
        dweight=lambda dy, x, running_mean, running_var, eps: over_channels(
            dy
            * (x - along_channels(running_mean, x))
            * along_channels((running_var + eps).rsqrt(), x)
        ),
        dbias=over_channels,
        why={"x": "the running mean and variance are constants", "weight": SCALE, "bias": ADDED},
        examples=[
            call((3, 5), positive(5), positive(5)),
            call((2, 3, 5), positive(3), positive(3), (3,), (3,)),
            call((2, 3, 4, 5), positive(3), positive(3), weight=(3,), bias=(3,), eps=0.1),
            call((2, 3, 5), positive(3), positive(3)),
        ],
    ),
    op(
        "F.group_norm(x, num_groups, weight=None, bias=None, eps=1e-05)",
        index=None,
        when=lambda x: 0 not in x.shape,  # of nothing, the -1 of a shape could be any size
        dx=lambda dy, x, num_groups, weight, eps: unstandardised(
            grouped(scaled(dy, weight, x), num_groups, x), grouped(x, num_groups, x), -1, eps
        ).view_as(x),
        dweight=lambda dy, x, num_groups, eps: over_channels(
            dy * standardised(grouped(x, num_groups, x), -1, eps).view_as(x)
        ),
        dbias=over_channels,
        why=WHY,
        examples=[
            call((3, 4), 2),
            call((3, 4), 2, (4,), (4,)),
            call((2, 6, 5), 3, weight=(6,), bias=(6,), eps=0.1),
            call((2, 4, 3, 5), 1, (4,), (4,)),
            call((2, 4, 3, 5), 4),
        ],
    ),
    op(
        "F.instance_norm(x, weight=None, bias=None, use_input_stats=True, eps=1e-05)",
        index=None,
        when=lambda use_input_stats: use_input_stats,
        dx=lambda dy, x, weight, eps: unstandardised(scaled(dy, weight, x), x, places(x), eps),
        dweight=lambda dy, x, eps: over_channels(dy * standardised(x, places(x), eps)),
        dbias=over_channels,
        why=WHY,
        examples=[
            call((2, 3, 5)),
            call((2, 3, 5), weight=(3,), bias=(3,), eps=0.1),
            call((2, 3, 4, 5), weight=(3,), bias=(3,)),
        ],
    ),
    op(
        RMS_NORM,
        name="rms_norm_plain",
        index="y[I,c] = x[I,c] * (mean[k](x[I,k] * x[I,k]) + eps)**-0.5",
        when=lambda normalized_shape, weight, eps: (
            len(normalized_shape) == 1 and weight is None and eps is not None
        ),
        dx=lambda dy, x, eps: unscaled(dy, x, -1, eps),
        why=RMS,
        examples=[call((3, 5), (5,), eps=1e-6), call((2, 3, 5), (5,), eps=0.1)],
    ),
    op(
        RMS_NORM,
        index="y[I,c] = x[I,c] * (mean[k](x[I,k] * x[I,k]) + eps)**-0.5 * weight[c]",
        when=lambda normalized_shape, weight, eps: (
            len(normalized_shape) == 1 and weight is not None and eps is not None
        ),
        dx=lambda dy, x, weight, eps: unscaled(dy * weight, x, -1, eps),
        dweight=lambda dy, x, eps: dy * (x * rrms(x, -1, eps)),
        why=RMS,
        examples=[
            call((3, 5), (5,), (5,), eps=1e-6),
            call((2, 3, 5), (5,), weight=(5,), eps=0.1),
            call((5,), (5,), (5,), eps=1e-6),
        ],
    ),
    op(
        RMS_NORM,
        name="rms_norm_axes",
        index=None,
        dx=lambda dy, x, normalized_shape, weight, eps: unscaled(
            dy if weight is None else dy * weight, x, last(normalized_shape), eps
        ),
        dweight=lambda dy, x, normalized_shape, eps: (
            dy * (x * rrms(x, last(normalized_shape), eps))
        ),
        why=RMS,
        examples=[
            call((3, 5), (5,)),
            call((3, 5), (5,), (5,)),
            call((2, 3, 5), (3, 5)),
            call((2, 3, 5), (3, 5), weight=(3, 5), eps=1e-6),
        ],
    ),
    op(
        "F.normalize(x, p=2.0, dim=1, eps=1e-12)",
        index=None,
        when=lambda p, dim: p == 2 and isinstance(dim, int),
        dx=lambda dy, y, x, dim, eps: (
            (dy - y * (dy * y).sum(dim, keepdim=True) * (length(x, dim) >= eps))
            / length(x, dim, eps)
        ),
        why={"x": "only what is perpendicular to a vector of length one can change it"},
        examples=[
            call((3, 5)),
            call((2, 3, 5), dim=-1),
            call((5,), dim=0),
            call((3, 5), eps=2.0),
            at_kink(exactly([[0.0, 0.0], [3.0, -4.0]])),
        ],
    ),
    op(
        "F.cosine_similarity(x1, x2, dim=1, eps=1e-08)",
        index=None,
        when=lambda x1, x2, dim: x1.ndim == x2.ndim and x1.shape[dim] == x2.shape[dim],
        dx1=lambda dy, y, x1, x2, dim, eps: turned(dy, y, x1, x2, dim, eps),
        dx2=lambda dy, y, x1, x2, dim, eps: turned(dy, y, x2, x1, dim, eps),
        why={
            "x1": "only the part of the other that is perpendicular turns it",
            "x2": "only the part of the other that is perpendicular turns it",
        },
        examples=[
            call((3, 5), (3, 5)),
            call((2, 3, 5), (2, 1, 5), dim=-1),
            call((5,), (5,), dim=0),
            at_kink(exactly([[0.0, 0.0], [3.0, -4.0]]), (2, 2)),
            call((2, 3), exactly([[2, 0, 1], [1, 3, 0]], dtype=torch.long)),
            at_kink((3, 5), (3, 5), eps=2.0),  # torch clamps the lengths unseen by autograd
        ],
    ),
    op(
        "F.dropout(x, p=0.5, training=True), torch.dropout(x, p, training)",
        name="dropout_off",
        index="y[I] = x[I]",
        when=lambda training: not training,
        dx=lambda dy: dy,
        why={"x": "outside of training nothing is dropped"},
        examples=[call((3, 5), training=False), call((), 0.1, training=False)],
    ),
    op(
        "F.dropout(x, p=0.5, training=True), torch.dropout(x, p, training)",
        index=None,
        when=lambda training: training,
        random=True,
        examples=[call(positive(3, 5), 0.25)],
    ),
    op(
        "y, mask = torch.native_dropout(x, p, train)",
        index=None,
        when=lambda p, train: train and p < 1,
        random=True,
        dx=lambda dy, mask, p: dy * mask * (1 / (1 - p)),
        why={"x": "what was dropped gets nothing, what was kept was scaled up"},
        examples=[call((3, 5), 0.25, True), call((), 0.5, True)],
    ),
]
