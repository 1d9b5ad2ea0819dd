"""A call's tensors, by the names that they have in the program."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from handgrad.errors import BadInput


def bound_arguments(function: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return a call's arguments by the function's own names.

    Raises:
        BadInput: they do not fit the function.
    """
    try:
        return inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError as error:
        raise BadInput(
            f"the arguments do not fit {getattr(function, '__name__', 'the function')}: {error}"
        ) from error


def name_arguments(function: Any, args: Any, kwargs: Any) -> dict[str, torch.Tensor]:
    """Return the tensors among the arguments by name; `params["W"]` is called `W`."""
    found: dict[str, torch.Tensor] = {}

    def visit(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.setdefault(name, value)
        elif isinstance(value, Mapping):
            for key, part in value.items():
                visit(str(key) if str(key).isidentifier() else f"{name}_{key}", part)
        elif isinstance(value, list | tuple):
            for place, part in enumerate(value):
                visit(f"{name}_{place}", part)

    for name, value in bound_arguments(function, args, kwargs).items():
        visit(name, value)
    return found
