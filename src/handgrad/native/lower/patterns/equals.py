"""Ops as equal expressions of simpler ones, where index notation does not reach."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ops.attention import weights
from handgrad.ops.words import along_channels, axes


def together(each: Any, reduction: str) -> Any:
    """Return losses, their mean or their sum."""
    if reduction == "batchmean":
        return each.sum() / each.shape[0] if each.ndim else each
    return {"none": lambda: each, "mean": each.mean, "sum": each.sum}[reduction]()


def times(each: Any, weight: Any) -> Any:
    """Multiply by a weight where there is one."""
    return each if weight is None else each * weight


def huber(x: Any, target: Any, reduction: str, delta: Any) -> Any:
    """Return the loss that is a square up to delta and a distance beyond."""
    far = (x - target).abs()
    each = torch.where(far < delta, 0.5 * far * far, delta * (far - 0.5 * delta))
    return together(each, reduction)


def smooth(x: Any, target: Any, reduction: str, beta: Any) -> Any:
    """Return the loss that is a square over beta up to beta and a distance beyond."""
    far = (x - target).abs()
    if beta == 0:
        return together(far, reduction)
    return together(torch.where(far < beta, 0.5 * far * far / beta, far - 0.5 * beta), reduction)


def gaussian(x: Any, target: Any, var: Any, full: bool, eps: float, reduction: str) -> Any:
    """Return the negative log-likelihood of a normal distribution, without its constant or full."""
    kept = var.clamp(min=eps)
    each = 0.5 * (kept.log() + (x - target) ** 2 / kept)
    return together(each + 0.5 * math.log(2 * math.pi) if full else each, reduction)


def cross(x: Any, target: Any, weight: Any, reduction: str) -> Any:
    """Return binary cross-entropy, its logarithms cut at -100 as torch's are."""
    yes, no = x.log().clamp(min=-100), torch.log1p(-x).clamp(min=-100)
    return together(times(-(target * yes + (1 - target) * no), weight), reduction)


def cross_with_logits(x: Any, target: Any, weight: Any, reduction: str, pos_weight: Any) -> Any:
    """Return binary cross-entropy of logits."""
    each = -(times(target, pos_weight) * F.logsigmoid(x) + (1 - target) * F.logsigmoid(-x))
    return together(times(each, weight), reduction)


def divergence(x: Any, target: Any, reduction: str, log_target: bool) -> Any:
    """Return the Kullback-Leibler divergence from log-probabilities x."""
    each = target.exp() * (target - x) if log_target else torch.xlogy(target, target) - target * x
    return together(each, reduction)


def classes(x: Any) -> int:
    """Return the axis of the classes."""
    return 1 if x.ndim > 1 else 0


def chosen(logp: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """Return the negative log-likelihood of the classes that targets number."""
    dim = classes(logp)
    keep = target != ignore_index
    safe = target.masked_fill(~keep, 0)
    each = -(logp[safe] if dim == 0 else logp.gather(1, safe.unsqueeze(1)).squeeze(1))
    counts = weight[safe] * keep if weight is not None else keep * 1.0
    each = (each * counts if weight is not None else each).masked_fill(~keep, 0)
    return each.sum() / counts.sum() if reduction == "mean" else together(each, reduction)


def chosen_any(x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """Return the negative log-likelihood of log-probabilities x."""
    return chosen(x, target, weight, ignore_index, reduction)


def entropy(
    x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """Return cross-entropy with classes by number or by probability."""
    logp = x.log_softmax(classes(x))
    if target.dtype.is_floating_point:
        return by_probability(x, logp, target, weight, reduction, label_smoothing)
    found = chosen(logp, target, weight, ignore_index, reduction)
    if not label_smoothing:
        return found
    dim = classes(x)
    keep = target != ignore_index
    spread = logp if weight is None else logp * (along_channels(weight, x) if dim else weight)
    every = (-spread.sum(dim) / x.shape[dim]).masked_fill(~keep, 0)
    counts = keep * 1.0 if weight is None else weight[target.masked_fill(~keep, 0)] * keep
    even = every.sum() / counts.sum() if reduction == "mean" else together(every, reduction)
    return (1 - label_smoothing) * found + label_smoothing * even


def by_probability(
    x: Any, logp: Any, target: Any, weight: Any, reduction: str, label_smoothing: float
) -> Any:
    """Return cross-entropy with a probability for each class."""
    dim = classes(x)
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / x.shape[dim]
    if weight is not None:
        logp = logp * (along_channels(weight, x) if dim else weight)
    each = -(logp * target).sum(dim)
    if reduction != "mean":
        return together(each, reduction)
    return each.sum() / (x.numel() / x.shape[dim])


def attention(query: Any, key: Any, value: Any, attn_mask: Any, is_causal: bool, scale: Any) -> Any:
    """Return scaled dot-product attention."""
    return weights(query, key, attn_mask, is_causal, scale) @ value


def standard(x: Any, dims: Any, eps: float) -> Any:
    """Return x less its mean over axes, over its standard deviation."""
    centred = x - x.mean(dim=dims, keepdim=True)
    return centred * ((centred * centred).mean(dim=dims, keepdim=True) + eps) ** -0.5


def scaled(x: Any, weight: Any, bias: Any) -> Any:
    """Return x times a weight plus a bias."""
    x = times(x, weight)
    return x if bias is None else x + bias


def over_last(x: Any, shape: Any) -> tuple[int, ...]:
    """Return the last axes, as many as a shape has."""
    return tuple(range(-len(shape), 0))


def channels(x: Any, value: Any) -> Any:
    """Return one value a channel along axis 1 of x."""
    return None if value is None else along_channels(value, x)


def batch(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """Return batch norm in training."""
    dims = tuple(k for k in range(x.ndim) if k != 1)
    return scaled(standard(x, dims, eps), channels(x, weight), channels(x, bias))


def batch_eval(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, eps: float
) -> Any:
    """Return batch norm with a given mean and variance."""
    centred = x - channels(x, running_mean)
    return scaled(
        centred * (channels(x, running_var) + eps) ** -0.5, channels(x, weight), channels(x, bias)
    )


def groups(x: Any, num_groups: int, weight: Any, bias: Any, eps: float) -> Any:
    """Return group norm."""
    parts = x.reshape(x.shape[0], num_groups, -1)
    return scaled(standard(parts, -1, eps).reshape_as(x), channels(x, weight), channels(x, bias))


def instances(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    """Return instance norm."""
    dims = tuple(range(2, x.ndim))
    return scaled(standard(x, dims, eps), channels(x, weight), channels(x, bias))


def by_square(x: Any, normalized_shape: Any, weight: Any, eps: Any) -> Any:
    """Return x over the root of its mean square."""
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    mean = (x * x).mean(dim=over_last(x, normalized_shape), keepdim=True)
    return times(x * (mean + eps) ** -0.5, weight)


def cosine(x1: Any, x2: Any, dim: int, eps: float) -> Any:
    """Return the cosine of the angle between vectors."""
    own = [(x * x).sum(dim).sqrt().clamp(min=eps) for x in (x1, x2)]
    return (x1 * x2).sum(dim) / (own[0] * own[1])


def mean_and_var(x: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    """Return variance and mean."""
    return x.var(dim=dim, correction=correction, keepdim=keepdim), mean_of(x, dim, keepdim)


def mean_of(x: Any, dim: Any, keepdim: bool) -> Any:
    """Return the mean over axes, all of them where none is named."""
    return x.mean(dim=axes(dim, x.ndim), keepdim=keepdim)


def side_by_side(xs: Any) -> Any:
    """Return arrays put together along axis 1, or along their only one."""
    xs = [x.reshape(1) if x.ndim == 0 else x for x in xs]
    return torch.cat(xs, dim=0 if xs[0].ndim == 1 else 1)


def one_below_the_other(xs: Any) -> Any:
    """Return arrays put together along axis 0, vectors as rows."""
    return torch.cat([x.reshape(1, -1) if x.ndim < 2 else x for x in xs], dim=0)


EQUALS: dict[str, Any] = {
    "hstack": side_by_side,
    "vstack": one_below_the_other,
    "mse_loss": lambda x, target, reduction: together((x - target) * (x - target), reduction),
    "l1_loss": lambda x, target, reduction: together((x - target).abs(), reduction),
    "smooth_l1_loss": smooth,
    "smooth_l1_loss_sharp": smooth,
    "huber_loss": huber,
    "binary_cross_entropy": cross,
    "binary_cross_entropy_with_logits": cross_with_logits,
    "gaussian_nll_loss": gaussian,
    "kl_div": divergence,
    "kl_div_log_target": divergence,
    "margin_ranking_loss": lambda input1, input2, target, margin, reduction: together(
        (-target * (input1 - input2) + margin).clamp(min=0), reduction
    ),
    "cross_entropy_any": entropy,
    "cross_entropy_ignoring": entropy,
    "cross_entropy_weighted": entropy,
    "cross_entropy_weighted_ignoring": entropy,
    "cross_entropy_weighted_smoothed": entropy,
    "cross_entropy_probabilities": entropy,
    "cross_entropy_probabilities_weighted": entropy,
    "nll_loss_any": chosen_any,
    "nll_loss_ignoring": chosen_any,
    "nll_loss_weighted": chosen_any,
    "nll_loss_weighted_ignoring": chosen_any,
    "scaled_dot_product_attention": attention,
    "layer_norm_axes": lambda x, normalized_shape, weight, bias, eps: scaled(
        standard(x, over_last(x, normalized_shape), eps), weight, bias
    ),
    "batch_norm_places": batch,
    "batch_norm_eval_places": batch_eval,
    "group_norm": groups,
    "instance_norm": instances,
    "rms_norm_axes": by_square,
    "normalize": lambda x, dim, eps: x / (x * x).sum(dim=dim, keepdim=True).sqrt().clamp(min=eps),
    "cosine_similarity": cosine,
    "var_mean": mean_and_var,
    "var_mean_unbiased": lambda x, dim, unbiased, keepdim: mean_and_var(
        x, dim, int(unbiased), keepdim
    ),
}
