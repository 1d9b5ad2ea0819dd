"""The op table: which row, with which arguments, a torch call is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from handgrad.ir import Op, Param, Spelling

ALIASES = {
    "keepdims": "keepdim",
    "axis": "dim",
    "other": "b",
    "mat2": "b",
    "vec": "b",
    "vec2": "b",
    "tensor": "b",
}
IGNORED = {
    "_stacklevel",
    "align_corners",
    "antialias",
    "dtype",
    "inplace",
    "max_norm",
    "momentum",
    "out",
    "recompute_scale_factor",
    "running_mean",
    "running_var",
    "sparse",
}
KEYWORD_ONLY = {"correction", "dtype", "device"}  # and every parameter after one of these
REFLECTED = {
    "__radd__": "+",
    "__rsub__": "-",
    "__rmul__": "*",
    "__rdiv__": "/",
    "__rtruediv__": "/",
    "__rpow__": "**",
    "__rmatmul__": "@",
}
OPERATOR_METHODS = {
    "+": ("__add__", "add"),
    "-": ("__sub__", "sub"),
    "*": ("__mul__", "mul"),
    "/": ("__truediv__", "__div__", "div"),
    "@": ("__matmul__", "matmul"),
    "**": ("__pow__",),
    ">": ("__gt__",),
    ">=": ("__ge__",),
    "<": ("__lt__",),
    "<=": ("__le__",),
    "!=": ("__ne__",),
}


class Table:
    """The rows, found by the function that torch reports."""

    def __init__(self, rows: Iterable[Op]) -> None:
        self.rows = tuple(rows)
        self.by_name = {row.name: row for row in self.rows}
        self.by_function: dict[Any, list[tuple[Op, Spelling, bool]]] = {}
        for row in self.rows:
            for spelling in row.spellings:
                self.add(row, spelling)

    def add(self, row: Op, spelling: Spelling) -> None:
        """Register one spelling, and for an operator its reflected forms."""
        self.by_function.setdefault(spelling.function, []).append((row, spelling, False))
        if spelling.kind not in ("operator", "compare"):
            return
        for method in OPERATOR_METHODS.get(spelling.target, ()):
            function = getattr(torch.Tensor, method, None)
            if function is not None and function is not spelling.function:
                self.by_function.setdefault(function, []).append((row, spelling, False))
        for method, symbol in REFLECTED.items():
            if symbol == spelling.target and hasattr(torch.Tensor, method):
                function = getattr(torch.Tensor, method)
                self.by_function.setdefault(function, []).append((row, spelling, True))

    def match(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Op, dict[str, Any]] | None:
        """Return the row and the arguments by name, or None if no row describes the call."""
        for row, spelling, swapped in self.by_function.get(function, ()):
            bound = bind(spelling, args[::-1] if swapped else args, kwargs)
            if bound is not None and applies(row, bound):
                return row, written(row, fill(row, bound))
        return None


def applies(row: Op, bound: Mapping[str, Any]) -> bool:
    """Tell whether the row's condition holds for the arguments."""
    if row.when is None:
        return True
    try:
        return bool(ask(row.when, fill(row, bound)))
    except (IndexError, TypeError, AttributeError):  # of arguments of another kind it says nothing
        return False


def ask(function: Callable[..., Any], bound: Mapping[str, Any]) -> Any:
    """Call a row's lambda with just the arguments that it names."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return function(**{name: bound[name] for name in names})


def fill(row: Op, bound: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults of the row's first spelling, in its order."""
    full: dict[str, Any] = {}
    for p in row.spellings[0].params:
        if not p.constant:
            full[p.name] = bound.get(p.name, p.default)
    return full | dict(bound)


def written(row: Op, bound: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what the row's first spelling says; what another takes besides changes no result."""
    known = {p.name for p in row.spellings[0].params}
    return {name: value for name, value in bound.items() if name in known}


def bind(
    spelling: Spelling, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Bind a call's arguments to a spelling's parameters; None if they do not fit."""
    bound: dict[str, Any] = {}
    rest = list(args)
    for place, p in enumerate(spelling.params):
        if p.name in KEYWORD_ONLY and not p.required:
            break
        if p.star:
            if place < len(args) or not set(kwargs) & {p.name}:
                taken = rest[0] if len(rest) == 1 and isinstance(rest[0], list | tuple) else rest
                bound[p.name] = tuple(taken)
                rest = []
        elif rest:
            value = rest.pop(0)
            if p.constant and not is_constant(value, p.default):
                return None
            if not p.constant:
                bound[p.name] = value
    if rest:
        return None
    return bind_keywords(spelling.params, bound, kwargs)


def bind_keywords(
    params: tuple[Param, ...], bound: dict[str, Any], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Bind keyword arguments, torch's other names for a parameter included."""
    known = [p.name for p in params if not p.constant]
    for word, value in (reduced(kwargs) if "reduction" in known else kwargs).items():
        name = word if word in known else ALIASES.get(word, word)
        if name not in known and word in ("input", "self", "tensors"):
            name = known[0]
        if name in known and name not in bound:
            bound[name] = value
        elif name in known or not (word in IGNORED and ignorable(word, value)):
            return None
    missing = [p.name for p in params if p.required and not p.constant and p.name not in bound]
    return None if missing else bound


def reduced(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say a loss's two old flags as the reduction that they stand for, as torch does.

    With "batchmean" torch divides as well: that has no word, and the flags stay for no row to take.
    """
    flags = {word: kwargs.get(word) for word in ("size_average", "reduce")}
    rest = {word: value for word, value in kwargs.items() if word not in flags}
    off = [word for word, flag in flags.items() if flag is not None and not flag]
    if all(flag is None for flag in flags.values()):
        return rest
    if rest.get("reduction") == "batchmean":
        return kwargs
    return {**rest, "reduction": "none" if "reduce" in off else "sum" if off else "mean"}


def is_constant(value: Any, constant: Any) -> bool:
    """Tell whether an argument is the constant that a spelling has in its place."""
    return not hasattr(value, "ndim") and type(value) is type(constant) and value == constant


def ignorable(word: str, value: Any) -> bool:
    """Tell whether an argument that no row names can be left out."""
    return word in ("momentum", "_stacklevel") or value is None or value is False
