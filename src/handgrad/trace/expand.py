"""Torch's functions that are written in Python, opened: the calls inside are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

from handgrad.ops import TABLE

HOME = "torch.nn.functional"
OTHERS = {
    ("torch._tensor", "norm"),
    ("torch.functional", "norm"),
    ("torch.functional", "chain_matmul"),
}
ASKING = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def expandable(function: Any) -> bool:
    """Tell whether a function is made of other torch calls that can be seen one by one."""
    if not isinstance(function, FunctionType):
        return False
    if function.__code__.co_name != function.__name__:
        return False  # it only chooses between others
    home, name = function.__module__, function.__name__
    return home == HOME or (home, name) in OTHERS


@cache
def expanded(function: FunctionType) -> Callable[..., Any]:
    """Return a function that does the same and does not ask first who else wants to run it."""

    def never(*_: Any) -> bool:
        return False

    blind = {**function.__globals__, **dict.fromkeys(ASKING, never)}
    copy = FunctionType(
        function.__code__, blind, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def opens(func: Any, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Tell whether the calls inside a function say more than its own name does."""
    return kwargs.get("inplace") is not True and TABLE.match(func, args, kwargs) is None
