"""Where the axes of a result come from, for ops that index notation does not reach."""

from __future__ import annotations

from typing import Any

import torch

from handgrad.ir import Arg, Call, Expr, Item, Name, Static, operands

# The result has the axes of the first operand, whatever is written into it.
ALIKE = frozenset(
    [
        "index_put",
        "index_add_put",
        "scatter",
        "scatter_add",
        "scatter_value",
        "index_add",
        "index_copy",
        "index_fill",
        "slice_scatter",
        "select_scatter",
        "tril",
        "triu",
        "flip",
        "roll",
        "cumsum",
        "cumprod",
        "nan_to_num",
        "type_as",
    ]
)
# These may only move axes, or add and drop axes of size 1: that depends on their arguments.
MOVING = frozenset(
    [
        "transpose",
        "permute",
        "movedim",
        "unsqueeze",
        "squeeze",
        "squeeze_dim",
        "squeeze_dims",
        "new_axis",
        "reshape",
        "flatten",
        "unflatten",
        "reshape_as",
        "expand",
        "select",
        "select_index",
        "slice_index",
        "narrow",
    ]
)
PRIMES = (7919, 104729, 1299709, 15485863, 179424673, 2038074743)


def moved(call: Call, expr: Expr) -> dict[int, tuple[str, int]]:
    """Return for axes of a result the operand and axis that they come from."""
    found = permuted(call)
    if found is not None:
        param = first_operand(call)
        return {k: (param, source) for k, source in found.items()}
    for param in call.op.structural:
        arg = call.args.get(param)
        if isinstance(arg, Name | Call | Item) and arg.shape == expr.shape:
            return {k: (param, k) for k in range(expr.ndim)}
    first = first_operand(call)
    arg = call.args.get(first)
    if not isinstance(arg, Name | Call | Item):
        return {}
    if call.op.name in ALIKE and arg.shape == expr.shape:
        return {k: (first, k) for k in range(expr.ndim)}
    return taken(call, first, arg, expr)


def taken(call: Call, first: str, arg: Expr, expr: Expr) -> dict[int, tuple[str, int]]:
    """Return the axes that stay where one is reduced, such as in `x.max(1, keepdim=True)`."""
    dim, keep = call.args.get("dim"), call.args.get("keepdim")
    if not (isinstance(dim, Static) and isinstance(keep, Static) and type(dim.value) is int):
        return {}
    gone = dim.value % max(arg.ndim, 1)
    left = [k for k in range(arg.ndim) if k != gone]
    if keep.value and expr.ndim == arg.ndim:
        return {k: (first, k) for k in left}
    if not keep.value and expr.ndim == len(left):
        return {k: (first, source) for k, source in enumerate(left)}
    return {}


def first_operand(call: Call) -> str:
    """Return the name of a call's first tensor argument."""
    return next((n for n, a in call.args.items() if isinstance(a, Name | Call | Item)), "")


def permuted(call: Call) -> dict[int, int] | None:
    """Return where each axis of a result comes from, if the op only moves or adds axes.

    It is run on a tensor that has nothing but a shape, with strides that tell its axes apart.
    """
    given = list(operands(tuple(call.args.values())))
    if call.op.name not in MOVING or not given:
        return None
    shape = given[0].shape
    if len(shape) > len(PRIMES) or 0 in shape:
        return None
    probe = torch.empty_strided(shape, PRIMES[: len(shape)], device="meta")
    first = first_operand(call)
    args = {n: probe if n == first else thawed(a) for n, a in call.args.items()}
    try:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            made = call.op.spellings[0].run(**args)
    except RuntimeError:  # it does more than move axes
        return None
    if not isinstance(made, torch.Tensor) or made.numel() != probe.numel():
        return None
    return by_stride(probe, made)


def by_stride(probe: torch.Tensor, made: torch.Tensor) -> dict[int, int] | None:
    """Match the axes of a view with those of its base."""
    found: dict[int, int] = {}
    for k, size in enumerate(made.shape):
        if size != 1:
            if made.stride(k) not in PRIMES[: probe.ndim]:
                return None
            source = PRIMES.index(made.stride(k))
            if probe.shape[source] != size:
                return None
            found[k] = source
    return found


def thawed(arg: Arg) -> Any:
    """Return an argument to run on, a tensor as one that has a shape and nothing else."""
    if isinstance(arg, Static):
        return arg.value
    if isinstance(arg, tuple):
        return tuple(map(thawed, arg))
    return torch.empty(arg.shape, device="meta")
