"""Rows of losses: an entry's loss, then its mean, its sum or neither."""

from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ops.declare import at_kink, call, exactly, op, positive, unit
from handgrad.ops.words import count, is_exactly

BOTH = [
    call((3, 4), (3, 4)),
    call((2, 1, 3), (2, 1, 3), reduction="sum"),
    call((3, 5), (3, 5), reduction="none"),
    call((5,), (5,)),
    call((), ()),
]
STRETCHED = [call((3, 1), (3, 4)), call((4,), (3, 1), reduction="none")]
TIES = exactly(-2.0, -1.0, -0.5, 0.0, 0.5, 4.0), exactly(0.0, 0.0, 0.0, 0.0, 0.0, 3.0)


def per_entry(dy: Any, reduction: str, x: Any) -> Any:
    """Return the gradient that each entry's loss receives: `dy`, or its share of a mean."""
    if reduction == "batchmean":
        return dy / x.shape[0] if x.ndim else dy
    return dy / count(x, None) if reduction == "mean" else dy


def factor(number: int, reduction: str, x: Any) -> Any:
    """Return a number, over the count of entries where the loss is a mean."""
    entries = count(x, None) if reduction == "mean" else 1
    return number if is_exactly(entries, 1) else number / entries


def weighted(term: Any, weight: Any) -> Any:
    """Multiply by a weight where there is one."""
    return term if weight is None else term * weight


def logits_slope(x: Any, target: Any, pos_weight: Any) -> Any:
    """Return the derivative of binary cross-entropy by its logits."""
    if pos_weight is None:
        return torch.sigmoid(x) - target
    positive = pos_weight * target
    return (positive + 1 - target) * torch.sigmoid(x) - positive


def logits_target_slope(x: Any, pos_weight: Any) -> Any:
    """Return the derivative of binary cross-entropy with logits by its target."""
    return -x if pos_weight is None else F.logsigmoid(-x) - pos_weight * F.logsigmoid(x)


def too_close(input1: Any, input2: Any, target: Any, margin: Any) -> Any:
    """Tell where the input that should be greater is not so by the margin."""
    return target * (input1 - input2) <= margin


DISTANCES = [
    op(
        "F.mse_loss(x, target, reduction='mean', weight=None)",
        index=None,
        when=lambda weight: weight is None,
        dx=lambda dy, x, target, reduction: factor(2, reduction, x - target) * (x - target) * dy,
        dtarget=lambda dy, x, target, reduction: (
            factor(2, reduction, x - target) * (target - x) * dy
        ),
        why={
            "x": "the slope of a square is twice what is squared",
            "target": "the target stands in the difference with a minus",
        },
        examples=[*BOTH, *STRETCHED],
    ),
    op(
        "F.l1_loss(x, target, reduction='mean', weight=None)",
        index=None,
        when=lambda weight: weight is None,
        dx=lambda dy, x, target, reduction: (
            per_entry(dy, reduction, x - target) * torch.sign(x - target)
        ),
        dtarget=lambda dy, x, target, reduction: (
            per_entry(dy, reduction, x - target) * torch.sign(target - x)
        ),
        why={
            "x": "the slope of a distance is the sign of the difference, and 0 at 0",
            "target": "the target stands in the difference with a minus",
        },
        examples=[*BOTH, *STRETCHED, call(*TIES)],
    ),
    op(
        "F.smooth_l1_loss(x, target, reduction='mean', beta=1.0)",
        index=None,
        when=lambda beta: beta > 0,
        dx=lambda dy, x, target, reduction, beta: (
            factor(1, reduction, x - target) * (x - target).clamp(-beta, beta) * dy / beta
        ),
        dtarget=lambda dy, x, target, reduction, beta: (
            factor(1, reduction, x - target) * (target - x).clamp(-beta, beta) * dy / beta
        ),
        why={
            "x": "the slope is the difference over beta, and its sign beyond beta",
            "target": "the target stands in the difference with a minus",
        },
        examples=[
            *BOTH,
            *STRETCHED,
            at_kink(*TIES),
            call((3, 4), (3, 4), beta=0.5),
            at_kink(*TIES, reduction="sum", beta=0.5),
        ],
    ),
    op(
        "F.smooth_l1_loss(x, target, reduction='mean', beta=1.0)",
        name="smooth_l1_loss_sharp",
        index=None,
        when=lambda beta: beta == 0,
        dx=lambda dy, x, target, reduction: (
            per_entry(dy, reduction, x - target) * torch.sign(x - target)
        ),
        dtarget=lambda dy, x, target, reduction: (
            per_entry(dy, reduction, x - target) * torch.sign(target - x)
        ),
        why={
            "x": "with beta 0 the loss is the distance, whose slope is the sign",
            "target": "the target stands in the difference with a minus",
        },
        examples=[call((3, 4), (3, 4), beta=0), call(*TIES, reduction="sum", beta=0.0)],
    ),
    op(
        "F.huber_loss(x, target, reduction='mean', delta=1.0, weight=None)",
        index=None,
        when=lambda weight: weight is None,
        dx=lambda dy, x, target, reduction, delta: (
            factor(1, reduction, x - target) * (x - target).clamp(-delta, delta) * dy
        ),
        dtarget=lambda dy, x, target, reduction, delta: (
            factor(1, reduction, x - target) * (target - x).clamp(-delta, delta) * dy
        ),
        why={
            "x": "the slope is the difference, and never steeper than delta",
            "target": "the target stands in the difference with a minus",
        },
        examples=[
            *BOTH,
            *STRETCHED,
            at_kink(*TIES),
            call((3, 4), (3, 4), delta=0.5),
            at_kink(*TIES, reduction="sum", delta=0.5),
        ],
    ),
]

LIKELIHOODS = [
    op(
        "F.binary_cross_entropy(x, target, weight=None, reduction='mean')",
        index=None,
        dx=lambda dy, x, target, weight, reduction: per_entry(
            weighted(dy * (x - target) / ((1 - x) * x).clamp(min=1e-12), weight), reduction, x
        ),
        dtarget=lambda dy, x, weight, reduction: per_entry(
            weighted(-torch.logit(x) * dy, weight), reduction, x
        ),
        why={
            "x": "-t / x + (1 - t) / (1 - x) is (x - t) / (x * (1 - x))",
            "target": "the loss is linear in the target, with log(1 - x) - log(x) as slope",
        },
        examples=[
            call(unit(3, 4), unit(3, 4)),
            call(unit(5), unit(5), reduction="sum"),
            call(unit(2, 1, 3), unit(2, 1, 3), reduction="none"),
            call(unit(), unit()),
            call(unit(3, 4), unit(3, 4), weight=positive(4)),
            call(unit(3, 4), unit(3, 4), positive(3, 1), reduction="none"),
        ],
    ),
    op(
        "F.binary_cross_entropy_with_logits"
        "(x, target, weight=None, reduction='mean', pos_weight=None)",
        index=None,
        dx=lambda dy, x, target, weight, reduction, pos_weight: per_entry(
            weighted(logits_slope(x, target, pos_weight) * dy, weight), reduction, x
        ),
        dtarget=lambda dy, x, weight, reduction, pos_weight: per_entry(
            weighted(logits_target_slope(x, pos_weight) * dy, weight), reduction, x
        ),
        why={
            "x": "sigmoid and logarithm together leave the predicted minus the true probability",
            "target": "the loss is linear in the target",
        },
        examples=[
            call((3, 4), unit(3, 4)),
            call((5,), unit(5), reduction="sum"),
            call((2, 1, 3), unit(2, 1, 3), reduction="none"),
            call((), unit()),
            call((3, 4), unit(3, 4), weight=positive(4)),
            call((3, 4), unit(3, 4), pos_weight=positive(4)),
            call((3, 4), unit(3, 4), positive(3, 1), reduction="none", pos_weight=positive(4)),
        ],
    ),
    op(
        "F.kl_div(x, target, reduction='mean', log_target=False)",
        index=None,
        when=lambda log_target: not log_target,
        dx=lambda dy, x, target, reduction: per_entry(-dy, reduction, x) * target,
        dtarget=lambda dy, x, target, reduction: (
            per_entry(dy, reduction, x) * (torch.log(target) + 1 - x)
        ),
        why={
            "x": "the loss is linear in the log-probabilities, with minus the target as slope",
            "target": "the derivative of t * log(t) is log(t) + 1",
        },
        examples=[
            call((3, 4), unit(3, 4)),
            call((3, 4), unit(3, 4), reduction="batchmean"),
            call((5,), unit(5), reduction="sum"),
            call((2, 1, 3), unit(2, 1, 3), reduction="none"),
            call((), unit(), reduction="batchmean"),
        ],
    ),
    op(
        "F.kl_div(x, target, reduction='mean', log_target=False)",
        name="kl_div_log_target",
        index=None,
        when=lambda log_target: log_target,
        dx=lambda dy, x, target, reduction: per_entry(-dy, reduction, x) * torch.exp(target),
        dtarget=lambda dy, x, target, reduction: (
            per_entry(dy, reduction, x) * torch.exp(target) * (target - x + 1)
        ),
        why={
            "x": "the loss is linear in the log-probabilities, with minus exp(target) as slope",
            "target": "the product rule over exp(t) and t - x",
        },
        examples=[
            call((3, 4), (3, 4), log_target=True),
            call((3, 4), (3, 4), reduction="batchmean", log_target=True),
            call((5,), (5,), reduction="sum", log_target=True),
            call((2, 1, 3), (2, 1, 3), reduction="none", log_target=True),
        ],
    ),
]

GAUSSIAN = [
    op(
        "F.gaussian_nll_loss(x, target, var, full=False, eps=1e-6, reduction='mean')",
        index=None,
        when=lambda x, var: isinstance(var, torch.Tensor) and var.ndim == x.ndim,
        dx=lambda dy, x, target, var, eps, reduction: (
            per_entry(dy, reduction, x - target) * (x - target) / var.clamp(min=eps)
        ),
        dtarget=lambda dy, x, target, var, eps, reduction: (
            per_entry(dy, reduction, x - target) * (target - x) / var.clamp(min=eps)
        ),
        dvar=lambda dy, x, target, var, eps, reduction: (
            per_entry(dy, reduction, x - target)
            * (0.5 / var.clamp(min=eps) - 0.5 * ((x - target) / var.clamp(min=eps)) ** 2)
        ),
        why={
            "x": "the slope of half a square is what is squared, here over the variance",
            "target": "the target stands in the difference with a minus",
            "var": "the slopes of log(v)/2 and of d**2/(2*v); what eps cuts off keeps its slope",
        },
        examples=[
            call((3, 4), (3, 4), positive(3, 4)),
            call((3, 4), (3, 4), positive(3, 1), full=True),
            call((2, 1, 3), (2, 1, 3), positive(2, 1, 3), reduction="sum"),
            call((5,), (5,), positive(5), eps=0.5, reduction="none"),
        ],
    ),
]

RANKINGS = [
    op(
        "F.margin_ranking_loss(input1, input2, target, margin=0, reduction='mean')",
        index=None,
        dinput1=lambda dy, input1, input2, target, margin, reduction: (
            per_entry(-dy, reduction, (input1 - input2) * target)
            * (target * too_close(input1, input2, target, margin))
        ),
        dinput2=lambda dy, input1, input2, target, margin, reduction: (
            per_entry(dy, reduction, (input1 - input2) * target)
            * (target * too_close(input1, input2, target, margin))
        ),
        dtarget=lambda dy, input1, input2, target, margin, reduction: (
            per_entry(dy, reduction, (input1 - input2) * target)
            * ((input2 - input1) * too_close(input1, input2, target, margin))
        ),
        why={
            "input1": "only pairs that are too close count, with slope 1 against the target",
            "input2": "only pairs that are too close count, with slope 1 towards the target",
            "target": "only pairs that are too close count, by as much as they differ",
        },
        examples=[
            call((3, 4), (3, 4), (3, 4)),
            call((3, 4), (3, 4), (3, 1), margin=0.5),
            call((2, 1, 3), (2, 1, 3), (2, 1, 3), reduction="sum"),
            call((5,), (5,), (5,), margin=1, reduction="none"),
            call((), (), ()),
            call(exactly(0.0, 1.0, 1.0), exactly(0.0, 0.0, 2.0), exactly(1.0, 1.0, -1.0), 1),
        ],
    ),
]

ROWS = [*DISTANCES, *LIKELIHOODS, *GAUSSIAN, *RANKINGS]
