"""Rows of cross-entropy and the negative log-likelihood."""

import math

import torch
import torch.nn.functional as F

from handgrad.ops.declare import call, exactly, index, op, unit

CROSS_ENTROPY = (
    "F.cross_entropy(x, target, weight=None, ignore_index=-100, reduction='mean', "
    "label_smoothing=0.0)"
)
NLL = "F.nll_loss(x, target, weight=None, ignore_index=-100, reduction='mean')"
SOFTMAX = "the gradient of a logit is its probability, less what it should have been"
PICKED = "the loss reads one entry of each row: that of the true class"


def classes(x):
    """Return the axis of the classes."""
    return 0 if x.ndim == 1 else 1


def entries(x):
    """Return how many predictions `x` holds."""
    return math.prod(size for axis, size in enumerate(x.shape) if axis != classes(x))


def one_hot(target, x):
    """Return the one-hot rows of the true classes, the classes along the axis where `x` has them."""
    hot = F.one_hot(target, x.shape[classes(x)])
    return hot.movedim(-1, 1) if x.ndim > 2 else hot


def smoothed(q, x, label_smoothing):
    """Give every class an equal share of `label_smoothing`."""
    if label_smoothing == 0:
        return q
    return (1 - label_smoothing) * q + label_smoothing / x.shape[classes(x)]


def shared(dy, total, x, reduction):
    """Return the gradient of each prediction's own loss."""
    if reduction == "none":
        return dy.unsqueeze(classes(x))
    return dy / total if reduction == "mean" else dy


def unless_ignored(dy, total, target, ignore_index, x, reduction):
    """Return the gradient of each prediction's own loss, zero where the target is ignored."""
    each = dy / total if reduction == "mean" else dy
    return torch.where(target != ignore_index, each, 0).unsqueeze(classes(x))


def known(target, ignore_index):
    """Return the targets with class 0 in place of what is ignored."""
    return target.masked_fill(target == ignore_index, 0)


def kept(target, ignore_index, weight=None):
    """Return how much all targets that are not ignored weigh together."""
    each = target != ignore_index
    return (each if weight is None else each * weight[known(target, ignore_index)]).sum()


def along_classes(weight, x):
    """Return the weights of the classes, laid along the axis where `x` has them."""
    return weight.view(-1, *[1] * (x.ndim - 2)) if x.ndim > 2 else weight


def over_entries(term):
    """Sum what each class gets, where its axis is not the last and the sum has to be written."""
    if term.ndim <= 2:
        return term
    return term.sum(dim=tuple(axis for axis in range(term.ndim) if axis != 1))


def total(q, x):
    """Return what a row of `q` sums to."""
    return q.sum(dim=classes(x), keepdim=True)


def plain(x, target, ignore_index):
    """Tell whether targets are class numbers and none is ignored, so that `F.one_hot` takes them.

    An ignored target that comes later is not silently wrong: `F.one_hot` refuses a negative one.
    """
    return ignoring(x, target) and ignore_index < 0 and not bool((target == ignore_index).any())


def ignoring(x, target):
    """Tell whether targets are class numbers, any of which may be ignored."""
    return isinstance(target, torch.Tensor) and target.dtype == torch.int64 and 1 <= x.ndim


def probable(x, target):
    """Tell whether targets are probabilities."""
    return target.dtype.is_floating_point and tuple(target.shape) == tuple(x.shape)


SHAPES = [
    call((3, 5), index(3, below=5), reduction="sum"),
    call((3, 5), index(3, below=5), reduction="none"),
    call((2, 5, 3), index(2, 3, below=5)),
    call((2, 5, 3, 4), index(2, 3, 4, below=5), reduction="none"),
    call((5,), index(below=5)),
    call((5,), index(below=5), reduction="none"),
]
IGNORING = [
    call((4, 5), exactly(0, -100, 3, 0)),
    call((4, 5), exactly(0, -100, 3, 0), reduction="sum"),
    call((4, 5), exactly(0, -100, 3, 0), reduction="none"),
    call((3, 5), exactly(2, 0, 2), ignore_index=2),
    call((3, 5), exactly(2, 9, 2), ignore_index=9),
    call((2, 5, 3), exactly([[0, -100, 3], [0, 1, 1]])),
    call((3, 5), exactly(-100, -100, -100), reduction="sum"),
    call((5,), exactly(-100), reduction="sum"),
]
WEIGHTED = [
    call((3, 5), index(3, below=5), unit(5)),
    call((3, 5), index(3, below=5), unit(5), reduction="sum"),
    call((3, 5), index(3, below=5), unit(5), reduction="none"),
    call((2, 5, 3), index(2, 3, below=5), unit(5)),
    call((5,), index(below=5), unit(5)),
]
WEIGHTED_IGNORING = [
    call((4, 5), exactly(0, -100, 3, 0), unit(5)),
    call((4, 5), exactly(0, -100, 3, 0), unit(5), reduction="none"),
    call((2, 5, 3), exactly([[0, 2, 3], [0, 1, 1]]), unit(5), ignore_index=2),
]


ROWS = [
    op(
        CROSS_ENTROPY,
        index="y[()] = mean[n] log(sum[c](exp(x[n,c]))) - x[n,target[n]]",
        same_as="F.nll_loss(x.log_softmax(1), target)",
        when=lambda x, target, weight, ignore_index, reduction, label_smoothing: (
            x.ndim == 2
            and weight is None
            and reduction == "mean"
            and label_smoothing == 0
            and plain(x, target, ignore_index)
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
        when=lambda x, target, weight, ignore_index: (
            weight is None and plain(x, target, ignore_index)
        ),
        dx=lambda dy, x, target, reduction, label_smoothing: (
            (x.softmax(classes(x)) - smoothed(one_hot(target, x), x, label_smoothing))
            * shared(dy, target.numel(), x, reduction)
        ),
        why={"x": SOFTMAX},
        examples=[*SHAPES, call((3, 5), index(3, below=5), label_smoothing=0.1)],
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_ignoring",
        index=None,
        when=lambda x, target, weight: weight is None and ignoring(x, target),
        dx=lambda dy, x, target, ignore_index, reduction, label_smoothing: (
            x.softmax(classes(x))
            - smoothed(one_hot(known(target, ignore_index), x), x, label_smoothing)
        )
        * unless_ignored(
            dy, kept(target, ignore_index), target, ignore_index, x, reduction
        ),
        why={"x": SOFTMAX + "; an ignored row gets none"},
        examples=[*IGNORING, call((4, 5), exactly(0, -100, 3, 0), label_smoothing=0.1)],
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_weighted",
        index=None,
        when=lambda x, target, weight, ignore_index, label_smoothing: (
            weight is not None and label_smoothing == 0 and plain(x, target, ignore_index)
        ),
        dx=lambda dy, x, target, weight, reduction: (
            (x.softmax(classes(x)) - one_hot(target, x))
            * weight[target].unsqueeze(classes(x))
            * shared(dy, weight[target].sum(), x, reduction)
        ),
        why={"x": SOFTMAX + ", times the weight of the true class"},
        structural=("weight",),
        examples=WEIGHTED,
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_weighted_ignoring",
        index=None,
        when=lambda x, target, weight, label_smoothing: (
            weight is not None and label_smoothing == 0 and ignoring(x, target)
        ),
        dx=lambda dy, x, target, weight, ignore_index, reduction: (
            (x.softmax(classes(x)) - one_hot(known(target, ignore_index), x))
            * weight[known(target, ignore_index)].unsqueeze(classes(x))
            * unless_ignored(
                dy, kept(target, ignore_index, weight), target, ignore_index, x, reduction
            )
        ),
        why={"x": SOFTMAX + ", times the weight of the true class; an ignored row gets none"},
        examples=WEIGHTED_IGNORING,
    ),
    op(
        CROSS_ENTROPY,
        name="cross_entropy_weighted_smoothed",
        index=None,
        when=lambda x, target, weight: weight is not None and ignoring(x, target),
        dx=lambda dy, x, target, weight, ignore_index, reduction, label_smoothing: 0,
        why={"x": SOFTMAX},
        examples=[
            call((3, 5), index(3, below=5), unit(5), label_smoothing=0.1),
            call((2, 5, 3), index(2, 3, below=5), unit(5), label_smoothing=0.1),
            call((4, 5), exactly(0, -100, 3, 0), unit(5), reduction="none", label_smoothing=0.1),
            call((5,), index(below=5), unit(5), label_smoothing=0.1, reduction="sum"),
        ],
    ),
]
