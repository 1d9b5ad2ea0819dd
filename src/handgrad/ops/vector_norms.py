"""Rows of the lengths of vectors: x.norm(), torch.linalg.vector_norm, torch.linalg.norm."""

import math
from collections.abc import Callable
from typing import Any

import torch

from handgrad.ir import Op
from handgrad.ops.declare import Example, call, exactly, op
from handgrad.ops.words import align, axes, scalar

NORM = "x.norm(p='fro', dim=None, keepdim=False), torch.norm(x, p='fro', dim=None, keepdim=False)"
VECTOR_NORM = "torch.linalg.vector_norm(x, ord=2, dim=None, keepdim=False)"
LINALG_NORM = "torch.linalg.norm(x, ord=None, dim=None, keepdim=False)"
TIES = exactly([[1.0, -2.0, 2.0], [3.0, -3.0, 3.0]])


def vectors(order: Any, dim: Any, x: Any) -> bool:
    """Tell whether `torch.linalg.norm` takes `x` as vectors, not as matrices."""
    return order in (None, "fro") or len(axes(dim, x.ndim)) == 1


def euclidean(order: Any) -> bool:
    """Tell whether a norm is the root of the sum of squares."""
    return order in (None, "fro", 2)


def general(order: Any) -> bool:
    """Tell whether a norm has an order above 1 other than 2 and infinity."""
    return scalar(order) and 1 < order < math.inf and order != 2


def by_length(dy: Any, x: Any, y: Any, p: Any, dim: Any) -> Any:
    """Return the gradient of the Euclidean norm, 0 where it is 0."""
    return dy * (x / y).masked_fill(y == 0, 0)


def by_sign(dy: Any, x: Any, y: Any, p: Any, dim: Any) -> Any:
    """Return the gradient of a sum of absolute values."""
    return torch.sign(x) * dy


def by_ties(dy: Any, x: Any, y: Any, p: Any, dim: Any) -> Any:
    """Return the gradient of the greatest absolute value, shared evenly by ties."""
    largest = torch.abs(x) == y
    total = largest.sum() if dim is None else largest.sum(dim=dim, keepdim=True)
    return torch.sign(x) * (dy / total * largest)


def by_power(dy: Any, x: Any, y: Any, p: Any, dim: Any) -> Any:
    """Return the gradient of the norm of order p, 0 where it is 0."""
    power = x * torch.abs(x) ** (p - 2) if p > 2 else torch.sign(x) * torch.abs(x) ** (p - 1)
    return power * (dy / y ** (p - 1)).masked_fill(y == 0, 0)


def examples(param: str, order: Any) -> list[Example]:
    """Return example calls for an order, None for the default."""
    given = {} if order is None else {param: order}
    return [
        call((3, 4), dim=(0, 1), **given) if param == "p" else call((5,), **given),
        call((2, 3, 5), dim=1, **given),
        call((2, 3, 5), dim=-2, keepdim=True, **given),
        call((3, 4), dim=0, **given),
        call(TIES, dim=1, **given),
        call((3, 1), dim=1, **given),
        call(exactly([[0.0, 0.0], [3.0, -4.0]]), dim=1, **given),
        call((4,), **given),
    ]


def norm(
    suffix: str, suits: Callable[[Any], bool], order: Any, index: str, rule: Any, why: str
) -> list[Op]:
    """Declare one kind of norm, for each of the three functions that torch has."""

    def through(dy: Any, x: Any, y: Any, p: Any, dim: Any, keepdim: bool) -> Any:
        return rule(align(dy, x, dim, keepdim), x, align(y, x, dim, keepdim), p, dim)

    return [
        op(
            NORM,
            name=f"norm{suffix}",
            index=index.format(p="p"),
            when=lambda p: suits(p),
            dx=lambda dy, x, y, p, dim, keepdim: through(dy, x, y, p, dim, keepdim),
            why={"x": why},
            examples=[call((3, 4), p=order or 2), *examples("p", order)],
        ),
        op(
            VECTOR_NORM,
            name=f"vector_norm{suffix}",
            index=index.format(p="ord"),
            when=lambda ord: suits(ord),
            dx=lambda dy, x, y, ord, dim, keepdim: through(dy, x, y, ord, dim, keepdim),
            why={"x": why},
            examples=[call((3, 4), ord=order or 2), *examples("ord", order)],
        ),
        op(
            LINALG_NORM,
            name=f"linalg_norm{suffix}",
            index=index.format(p="ord"),
            when=lambda ord, dim, x: suits(ord) and vectors(ord, dim, x),
            dx=lambda dy, x, y, ord, dim, keepdim: through(dy, x, y, ord, dim, keepdim),
            why={"x": why},
            examples=[call((3, 4), dim=1, ord=order or 2), *examples("ord", order)],
        ),
    ]


ROWS = [
    *norm(
        "",
        euclidean,
        None,
        "y[I-dim] = sqrt(sum[dim] x[I] ** 2)",
        by_length,
        "the length grows along x itself, so the gradient points along x over its length",
    ),
    *norm(
        "_1",
        lambda order: order == 1,
        1,
        "y[I-dim] = sum[dim] abs(x[I])",
        by_sign,
        "the slope of each absolute value is the sign of its entry",
    ),
    *norm(
        "_inf",
        lambda order: order == math.inf,
        math.inf,
        "y[I-dim] = max[dim] abs(x[I])",
        by_ties,
        "only the greatest entries reach the result, and ties share evenly",
    ),
    *norm(
        "_p",
        general,
        3,
        "y[I-dim] = sum[dim](abs(x[I]) ** {p}) ** (1 / {p})",
        by_power,
        "the outer root and the inner power leave (abs(x) / y) to the power p - 1",
    ),
]
