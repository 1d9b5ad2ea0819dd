"""Rows of cross-entropy and the negative log-likelihood."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ops.declare import Given, call, exactly, index, op, unit
from handgrad.ops.numbers import combine
from handgrad.ops.words import along_channels, floating, over_channels

CROSS_ENTROPY = (
    "F.cross_entropy(x, target, weight=None, ignore_index=-100, reduction='mean', "
    "label_smoothing=0.0)"
)
NLL = "F.nll_loss(x, target, weight=None, ignore_index=-100, reduction='mean')"
SOFTMAX = "the gradient of a logit is its probability less what it should have been"
PICKED = "of each row only the entry of the true class reaches the loss, with a minus sign"
IGNORED = "; an ignored row gets none"
WEIGHED = ", times the weight of the true class"


def classes(x: Any) -> int:
    """Return the axis of the classes."""
    return 0 if x.ndim == 1 else 1


def numbered(target: Any) -> bool:
    """Tell whether targets are class numbers."""
    return not target.dtype.is_floating_point


def plain(target: Any, ignore_index: int) -> bool:
    """Tell whether targets are class numbers and none is ignored, so that `F.one_hot` takes them.

    An ignored target that comes later is not silently wrong: `F.one_hot` refuses a negative one.
    """
    seen = isinstance(target, torch.Tensor) and ignore_index < 0 and numbered(target)
    return seen and not bool((target == ignore_index).any())


def one_hot(target: Any, x: Any) -> Any:
    """Return the one-hot rows of the true classes, the classes on the axis that `x` has them on."""
    hot = F.one_hot(target, x.shape[classes(x)])
    return hot.movedim(-1, 1) if x.ndim > 2 else hot


def smoothed(q: Any, x: Any, label_smoothing: Any) -> Any:
    """Take `label_smoothing` from the true class and share it among all."""
    if label_smoothing == 0:
        return q
    return (1 - label_smoothing) * floating(q, x) + combine(
        "/", label_smoothing, x.shape[classes(x)]
    )


def known(target: Any, ignore_index: int) -> Any:
    """Return the targets with class 0 in place of what is ignored."""
    return torch.where(target != ignore_index, target, 0)


def unless_ignored(value: Any, target: Any, ignore_index: int) -> Any:
    """Return a value where the target counts, and zero where it is ignored."""
    return torch.where(target != ignore_index, value, 0)


def share(dy: Any, total: Any, reduction: str) -> Any:
    """Return the gradient of each prediction's own loss."""
    return dy / total if reduction == "mean" else dy


def beside(value: Any, x: Any) -> Any:
    """Lay one value a prediction beside the classes of `x`."""
    return value.unsqueeze(classes(x)) if value.ndim else value


def share_kept(dy: Any, target: Any, ignore_index: int, reduction: str) -> Any:
    """Return the gradient of each prediction's own loss, zero where the target is ignored."""
    total = (target != ignore_index).sum()
    return unless_ignored(share(dy, total, reduction), target, ignore_index)


def share_weighted(
    dy: Any, target: Any, weight: Any, ignore_index: int, reduction: str, each: Any = 1
) -> Any:
    """Return the same where each class has a weight; each share is multiplied with `each`."""
    total = unless_ignored(weight[known(target, ignore_index)], target, ignore_index).sum()
    return unless_ignored(each * share(dy, total, reduction), target, ignore_index)


def held_against(q: Any, x: Any) -> Any:
    """Return what the probabilities of `x` are, times what `q` sums to, less `q`."""
    dim = classes(x)
    return x.softmax(dim) * q.sum(dim=dim, keepdim=True) - q


def predictions(x: Any) -> Any:
    """Return how many predictions `x` holds."""
    return math.prod(size for axis, size in enumerate(x.shape) if axis != classes(x))


def int64(*values: Any) -> Given:
    """Describe exact class numbers."""
    return exactly(*values, dtype=torch.int64)


SHAPES = [
    call((3, 5), index(3, below=5), reduction="sum"),
    call((3, 5), index(3, below=5), reduction="none"),
    call((2, 5, 3), index(2, 3, below=5)),
    call((2, 5, 3, 4), index(2, 3, 4, below=5), reduction="none"),
    call((5,), index(below=5)),
    call((5,), index(below=5), reduction="none"),
]
IGNORING = [
    call((4, 5), int64(0, -100, 3, 0)),
    call((4, 5), int64(0, -100, 3, 0), reduction="sum"),
    call((4, 5), int64(0, -100, 3, 0), reduction="none"),
    call((3, 5), int64(2, 0, 2), ignore_index=2),
    call((3, 5), int64(2, 9, 2), ignore_index=9),
    call((2, 5, 3), int64([[0, -100, 3], [0, 1, 1]])),
    call((3, 5), int64(-100, -100, -100), reduction="sum"),
    call((5,), int64(-100), reduction="sum"),
]
WEIGHTED = [
    call((3, 5), index(3, below=5), unit(5)),
    call((3, 5), index(3, below=5), unit(5), reduction="sum"),
    call((3, 5), index(3, below=5), unit(5), reduction="none"),
    call((2, 5, 3), index(2, 3, below=5), unit(5)),
    call((5,), index(below=5), unit(5)),
]
WEIGHTED_IGNORING = [
    call((4, 5), int64(0, -100, 3, 0), unit(5)),
    call((4, 5), int64(0, -100, 3, 0), unit(5), reduction="none"),
    call((2, 5, 3), int64([[0, 2, 3], [0, 1, 1]]), unit(5), ignore_index=2),
]

ROWS = [
    op(
        CROSS_ENTROPY,
        index="y[()] = mean[n] log(sum[c](exp(x[n,c]))) - x[n,target[n]]",
        same_as="F.nll_loss(x.log_softmax(1), target)",
        when=lambda x, target, weight, ignore_index, reduction, label_smoothing: (
            (x.ndim, weight, reduction, label_smoothing) == (2, None, "mean", 0)
            and plain(target, ignore_index)
        ),
        dx=lambda dy, x, target: (
            (x.softmax(1) - F.one_hot(target, x.shape[1])) * (dy / target.shape[0])
        ),
        why={"x": SOFTMAX},
        examples=[call((3, 5), index(3, below=5)), call((1, 5), index(1, below=5))],
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_any",
        index=None,
        when=lambda target, weight, ignore_index: weight is None and plain(target, ignore_index),
        dx=lambda dy, x, target, reduction, label_smoothing: (
            (x.softmax(classes(x)) - smoothed(one_hot(target, x), x, label_smoothing))
            * beside(share(dy, target.numel(), reduction), x)
        ),
        why={"x": SOFTMAX},
        examples=[*SHAPES, call((3, 5), index(3, below=5), label_smoothing=0.1)],
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_ignoring",
        index=None,
        when=lambda target, weight: weight is None and numbered(target),
        dx=lambda dy, x, target, ignore_index, reduction, label_smoothing: (
            (
                x.softmax(classes(x))
                - smoothed(one_hot(known(target, ignore_index), x), x, label_smoothing)
            )
            * beside(share_kept(dy, target, ignore_index, reduction), x)
        ),
        why={"x": SOFTMAX + IGNORED},
        examples=[*IGNORING, call((4, 5), int64(0, -100, 3, 0), label_smoothing=0.1)],
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_weighted",
        index=None,
        when=lambda target, weight, ignore_index, label_smoothing: (
            weight is not None and label_smoothing == 0 and plain(target, ignore_index)
        ),
        dx=lambda dy, x, target, weight, reduction: (
            (x.softmax(classes(x)) - one_hot(target, x))
            * beside(weight[target] * share(dy, weight[target].sum(), reduction), x)
        ),
        why={"x": SOFTMAX + WEIGHED},
        examples=WEIGHTED,
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_weighted_ignoring",
        index=None,
        when=lambda target, weight, label_smoothing: (
            weight is not None and label_smoothing == 0 and numbered(target)
        ),
        dx=lambda dy, x, target, weight, ignore_index, reduction: (
            (x.softmax(classes(x)) - one_hot(known(target, ignore_index), x))
            * beside(
                share_weighted(
                    dy, target, weight, ignore_index, reduction, weight[known(target, ignore_index)]
                ),
                x,
            )
        ),
        why={"x": SOFTMAX + WEIGHED + IGNORED},
        examples=WEIGHTED_IGNORING,
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_weighted_smoothed",
        index=None,
        when=lambda target, weight: weight is not None and numbered(target),
        dx=lambda dy, x, target, weight, ignore_index, reduction, label_smoothing: (
            held_against(
                smoothed(one_hot(known(target, ignore_index), x), x, label_smoothing)
                * along_channels(weight, x),
                x,
            )
            * beside(share_weighted(dy, target, weight, ignore_index, reduction), x)
        ),
        why={"x": SOFTMAX + ", classes weighed" + IGNORED},
        examples=[
            call((3, 5), index(3, below=5), unit(5), label_smoothing=0.1),
            call((2, 5, 3), index(2, 3, below=5), unit(5), label_smoothing=0.1),
            call((4, 5), int64(0, -100, 3, 0), unit(5), reduction="none", label_smoothing=0.1),
            call((5,), index(below=5), unit(5), label_smoothing=0.1, reduction="sum"),
        ],
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_probabilities",
        index=None,
        when=lambda target, weight: weight is None and not numbered(target),
        dx=lambda dy, x, target, reduction, label_smoothing: (
            held_against(smoothed(target, x, label_smoothing), x)
            * beside(share(dy, predictions(x), reduction), x)
        ),
        dtarget=lambda dy, x, reduction, label_smoothing: (
            -x.log_softmax(classes(x))
            * (1 - label_smoothing)
            * beside(share(dy, predictions(x), reduction), x)
        ),
        why={"x": SOFTMAX, "target": "the loss is linear in the probabilities of the target"},
        examples=[
            call((3, 5), (3, 5)),
            call((3, 5), (3, 5), reduction="sum", label_smoothing=0.1),
            call((2, 5, 3), (2, 5, 3), reduction="none"),
            call((2, 5, 3), (2, 5, 3), label_smoothing=0.1),
            call((5,), (5,)),
        ],
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_probabilities_weighted",
        index=None,
        when=lambda target, weight: weight is not None and not numbered(target),
        dx=lambda dy, x, target, weight, reduction, label_smoothing: (
            held_against(smoothed(target, x, label_smoothing) * along_channels(weight, x), x)
            * beside(share(dy, predictions(x), reduction), x)
        ),
        dtarget=lambda dy, x, weight, reduction, label_smoothing: (
            -x.log_softmax(classes(x))
            * along_channels(weight, x)
            * (1 - label_smoothing)
            * beside(share(dy, predictions(x), reduction), x)
        ),
        dweight=lambda dy, x, target, reduction, label_smoothing: over_channels(
            -x.log_softmax(classes(x))
            * smoothed(target, x, label_smoothing)
            * beside(share(dy, predictions(x), reduction), x)
        ),
        why={
            "x": SOFTMAX + ", classes weighed",
            "target": "the loss is linear in the probabilities of the target",
            "weight": "the loss is linear in the weights of the classes",
        },
        examples=[
            call((3, 5), (3, 5), (5,)),
            call((3, 5), (3, 5), (5,), reduction="sum", label_smoothing=0.1),
            call((2, 5, 3), (2, 5, 3), (5,), reduction="none"),
            call((2, 5, 3), (2, 5, 3), (5,), label_smoothing=0.1),
            call((5,), (5,), (5,)),
        ],
    ),
    op(
        NLL,
        index="y[()] = mean[n] -x[n,target[n]]",
        when=lambda x, target, weight, ignore_index, reduction: (
            (x.ndim, weight, reduction) == (2, None, "mean") and plain(target, ignore_index)
        ),
        dx=lambda dy, x, target: -F.one_hot(target, x.shape[1]) * (dy / target.shape[0]),
        why={"x": PICKED},
        examples=[call((3, 5), index(3, below=5)), call((1, 5), index(1, below=5))],
    ),
    op(
        NLL,
        name="nll_loss_any",
        index=None,
        when=lambda target, weight, ignore_index: weight is None and plain(target, ignore_index),
        dx=lambda dy, x, target, reduction: (
            -one_hot(target, x) * beside(share(dy, target.numel(), reduction), x)
        ),
        why={"x": PICKED},
        examples=SHAPES,
    ),
    op(
        NLL,
        name="nll_loss_ignoring",
        index=None,
        when=lambda weight: weight is None,
        dx=lambda dy, x, target, ignore_index, reduction: (
            -one_hot(known(target, ignore_index), x)
            * beside(share_kept(dy, target, ignore_index, reduction), x)
        ),
        why={"x": PICKED + IGNORED},
        examples=IGNORING,
    ),
    op(
        NLL,
        name="nll_loss_weighted",
        index=None,
        when=lambda target, weight, ignore_index: plain(target, ignore_index),
        dx=lambda dy, x, target, weight, reduction: (
            -one_hot(target, x)
            * beside(weight[target] * share(dy, weight[target].sum(), reduction), x)
        ),
        why={"x": PICKED + WEIGHED},
        examples=WEIGHTED,
    ),
    op(
        NLL,
        name="nll_loss_weighted_ignoring",
        index=None,
        dx=lambda dy, x, target, weight, ignore_index, reduction: (
            -one_hot(known(target, ignore_index), x)
            * beside(
                share_weighted(
                    dy, target, weight, ignore_index, reduction, weight[known(target, ignore_index)]
                ),
                x,
            )
        ),
        why={"x": PICKED + WEIGHED + IGNORED},
        examples=WEIGHTED_IGNORING,
    ),
]
