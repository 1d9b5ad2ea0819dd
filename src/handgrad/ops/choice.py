"""Rows that compare, choose, round and cast: entry by entry, with kinks and jumps."""

from typing import Any

import torch

from handgrad.ir import Op
from handgrad.ops.declare import Example, call, exactly, mask, op, positive, single
from handgrad.ops.words import scalar

TIES = call(exactly([[1.0, 2.0, 2.0], [-1.0, 0.0, 3.0]]), exactly([1.0, 2.0, 3.0]))
PAIRS = [call((3, 4), (3, 4)), call((3, 1), (4,)), call((), (2, 3)), TIES]
MASKS = [call(mask(3, 4), mask(3, 4)), call(mask(3, 1), mask(4)), call(mask(), mask(5))]
EDGES = exactly(-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
HALVES = exactly(-2.5, -1.0, -0.5, 0.0, 0.5, 0.75, 1.5)
INF, NAN = float("inf"), float("nan")
ODD = [call((3, 5)), call(exactly([[1.0, NAN, 0.0], [INF, -2.0, -INF]])), call(())]
SYMBOLS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
JUMPS = "between its jumps the result does not change, and torch says so at them too"


def tensors(*values: Any) -> bool:
    """Tell whether all of some arguments are tensors."""
    return all(hasattr(value, "ndim") for value in values)


def limits(*values: Any) -> tuple[bool, ...] | None:
    """Tell which limits are given; None where one of them is a tensor."""
    if any(value is not None and not scalar(value) for value in values):
        return None
    return tuple(value is not None for value in values)


def inside(x: Any, low: Any, high: Any) -> Any:
    """Tell where `x` lies between two limits, the limits included; None is no limit."""
    if low is None or high is None:
        return x <= high if low is None else x >= low
    return (x >= low) & (x <= high)


def clamp(name: str, index: str, given: tuple[bool, bool], examples: list[Example]) -> Op:
    """Declare clamp with just these limits given."""
    return op(
        "x.clamp(min=None, max=None), torch.clamp(x, min=None, max=None), "
        "x.clip(min=None, max=None), torch.clip(x, min=None, max=None)",
        name=name,
        index=index,
        when=lambda min, max: limits(min, max) == given,
        dx=lambda dy, x, min, max: dy * inside(x, min, max),
        why={"x": "only entries between the limits, the limits included, reach the result"},
        examples=examples,
    )


COMPARISONS = [
    op(
        f"a {symbol} b, torch.{name}(a, b), a.{name}(b)",
        index=f"y[I] = a[I] {symbol} b[I]",
        examples=[*PAIRS, call((3, 4), 0.5)],
    )
    for name, symbol in SYMBOLS.items()
]

LOGIC = [
    *(
        op(
            f"a {symbol} b, torch.bitwise_{word}(a, b), a.bitwise_{word}(b)",
            index=f"y[I] = a[I] {symbol} b[I]",
            examples=MASKS,
        )
        for word, symbol in {"and": "&", "or": "|", "xor": "^"}.items()
    ),
    *(
        op(
            f"torch.logical_{word}(a, b), a.logical_{word}(b)",
            index=f"y[I] = (a[I] != 0) {symbol} (b[I] != 0)",
            examples=[*MASKS, call((3, 4), mask(4)), TIES],
        )
        for word, symbol in {"and": "&", "or": "|", "xor": "^"}.items()
    ),
    op(
        "~x, torch.bitwise_not(x), x.bitwise_not()",
        index="y[I] = ~x[I]",
        when=lambda x: x.dtype == torch.bool,
        examples=[call(mask(3, 4)), call(mask())],
    ),
    op(
        "torch.logical_not(x), x.logical_not()",
        index="y[I] = x[I] == 0",
        examples=[call(mask(3, 4)), call(EDGES)],
    ),
]

CHOICES = [
    op(
        "torch.where(condition, a, b), a.where(condition, b)",
        index="y[I] = where(condition[I], a[I], b[I])",
        da=lambda dy, condition: torch.where(condition, dy, 0),
        db=lambda dy, condition: torch.where(condition, 0, dy),
        why={
            "a": "an entry's gradient goes to the branch it was taken from",
            "b": "an entry's gradient goes to the branch it was taken from",
        },
        examples=[
            call(mask(3, 4), (3, 4), (3, 4)),
            call(mask(3, 1), (4,), ()),
            call(mask(), (2, 3), (3,)),
            call(mask(3, 4), (3, 4), 0),
            call(mask(3, 4), float("-inf"), (4,)),
            call(mask(3, 4), single(4), (3, 1)),
        ],
    ),
    clamp(
        "clamp",
        "y[I] = min(max(x[I], min), max)",
        (True, True),
        [call((3, 5), min=-0.5, max=0.5), call((), 0, 1), call(EDGES, min=-1, max=1)],
    ),
    clamp(
        "clamp_below",
        "y[I] = max(x[I], min)",
        (True, False),
        [call((3, 5), min=0.2), call((2, 1, 3), 0), call(EDGES, min=0.0)],
    ),
    clamp(
        "clamp_above",
        "y[I] = min(x[I], max)",
        (False, True),
        [call((3, 5), max=0.2), call((), max=0), call(EDGES, max=0.5)],
    ),
    op(
        "x.clamp_min(min), torch.clamp_min(x, min)",
        index="y[I] = max(x[I], min)",
        when=lambda min: scalar(min),
        dx=lambda dy, x, min: dy * (x >= min),
        why={"x": "only entries at or above the limit reach the result"},
        examples=[call((3, 5), 0.2), call((), 0), call(EDGES, 0.5)],
    ),
    op(
        "x.clamp_max(max), torch.clamp_max(x, max)",
        index="y[I] = min(x[I], max)",
        when=lambda max: scalar(max),
        dx=lambda dy, x, max: dy * (x <= max),
        why={"x": "only entries at or below the limit reach the result"},
        examples=[call((3, 5), 0.2), call((), 0), call(EDGES, 0.5)],
    ),
    op(
        "torch.maximum(a, b), a.maximum(b), torch.max(a, b), a.max(b)",
        index="y[I] = max(a[I], b[I])",
        when=lambda a, b: tensors(a, b),
        da=lambda dy, a, b: torch.where(a == b, dy / 2, dy * (a > b)),
        db=lambda dy, a, b: torch.where(a == b, dy / 2, dy * (b > a)),
        why={
            "a": "the greater of the two gets the gradient, a tie is shared in halves",
            "b": "the greater of the two gets the gradient, a tie is shared in halves",
        },
        examples=[*PAIRS, call((3, 4), single(4))],
    ),
    op(
        "torch.minimum(a, b), a.minimum(b), torch.min(a, b), a.min(b)",
        index="y[I] = min(a[I], b[I])",
        when=lambda a, b: tensors(a, b),
        da=lambda dy, a, b: torch.where(a == b, dy / 2, dy * (a < b)),
        db=lambda dy, a, b: torch.where(a == b, dy / 2, dy * (b < a)),
        why={
            "a": "the smaller of the two gets the gradient, a tie is shared in halves",
            "b": "the smaller of the two gets the gradient, a tie is shared in halves",
        },
        examples=[*PAIRS, call((3, 4), single(4))],
    ),
    op(
        "torch.abs(x), x.abs(), torch.absolute(x), x.absolute()",
        index="y[I] = abs(x[I])",
        dx=lambda dy, x: dy * torch.sign(x),
        why={"x": "the slope of abs is the sign of its input, and 0 at 0"},
        examples=[call((3, 5)), call((2, 1, 3)), call(()), call(EDGES)],
    ),
]

FINITE = [
    *(
        op(f"torch.{name}(x), x.{name}()", index=f"y[I] = {name}(x[I])", examples=ODD)
        for name in ("isfinite", "isinf", "isnan")
    ),
    op(
        "x.nan_to_num(nan=0.0, posinf=None, neginf=None), "
        "torch.nan_to_num(x, nan=0.0, posinf=None, neginf=None)",
        index=None,
        dx=lambda dy, x: dy * torch.isfinite(x),
        why={"x": "only finite entries reach the result as they are"},
        examples=[*ODD, call(exactly(1.0, INF, -INF, NAN), nan=-1.0, posinf=5.0, neginf=0.5)],
    ),
]

ROUNDING = [
    *(
        op(
            f"torch.{name}(x), x.{name}()",
            index=f"y[I] = {name}(x[I])",
            dx=lambda x: torch.zeros_like(x),
            why={"x": JUMPS},
            examples=[call((3, 5)), call(()), call(HALVES)],
        )
        for name in ("sign", "floor", "ceil", "trunc")
    ),
    op(
        "x.round(decimals=0), torch.round(x, decimals=0)",
        index="y[I] = round(x[I], decimals)",
        dx=lambda x: torch.zeros_like(x),
        why={"x": JUMPS},
        examples=[call((3, 5)), call((), decimals=1), call(HALVES)],
    ),
]

CASTS = [
    *(
        op(
            f"x.{name}()",
            index="y[I] = float(x[I])",
            dx=lambda dy, x: dy.type_as(x),
            why={"x": "a cast passes the gradient back in the dtype it came from"},
            examples=[call(exactly([[0.5, -2.0], [3.0, 0.0]])), call(mask(3))],
        )
        for name in ("float", "double", "half", "bfloat16")
    ),
    op(
        "x.to(dtype), x.type(dtype)",
        name="to_float",
        index="y[I] = float(x[I])",
        when=lambda dtype: isinstance(dtype, torch.dtype) and dtype.is_floating_point,
        dx=lambda dy, x: dy.type_as(x),
        why={"x": "a cast passes the gradient back in the dtype it came from"},
        examples=[call((3, 4), torch.float32), call(single(4), torch.float64)],
    ),
    op(
        "x.type_as(other), x.to(other)",
        index="y[I] = float(x[I])",
        when=lambda other: tensors(other) and other.dtype.is_floating_point,
        structural=("other",),
        dx=lambda dy, x: dy.type_as(x),
        why={"x": "a cast passes the gradient back in the dtype it came from"},
        examples=[call((3, 4), single(2)), call(single(), (3,)), call(mask(3), (2,))],
    ),
    *(
        op(
            f"x.{name}()",
            index=f"y[I] = {'bool' if name == 'bool' else 'int'}(x[I])",
            examples=[call(positive(3, 4)), call(mask(5)), call(EDGES)],
        )
        for name in ("long", "int", "bool")
    ),
    op(
        "x.to(dtype), x.type(dtype)",
        name="to_whole",
        index=None,
        when=lambda dtype: isinstance(dtype, torch.dtype) and not dtype.is_floating_point,
        examples=[call((3, 4), torch.long), call(mask(3), torch.int32)],
    ),
]

ROWS = [*COMPARISONS, *LOGIC, *CHOICES, *FINITE, *ROUNDING, *CASTS]
