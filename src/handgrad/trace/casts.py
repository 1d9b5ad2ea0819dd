"""Casts that change nothing today: `x.float()` is `x` itself if x is float32, and yet a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

CASTS = {"float", "double", "half", "bfloat16", "to", "type", "type_as"}


def cast_apart(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> Any:
    """Return the result of a cast as a tensor of its own where it is the operand itself.

    At another dtype it would be another tensor, and what is computed from it would differ.
    """
    if name not in CASTS or not args or result is not args[0] or not result.is_floating_point():
        return result
    asked = [*args[1:], *kwargs.values()]
    is_cast = name != "to" or any(isinstance(a, torch.dtype | torch.Tensor) for a in asked)
    return result.view_as(result) if is_cast and result.layout is torch.strided else result
