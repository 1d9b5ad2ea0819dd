"""A forward pass that can be called once more, with other arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class Rerun:
    """The user's own forward pass, and what it was called with.

    Attributes:
        forward: their function or module.
        given: its arguments, by the names of the parameters.
        state: what the random numbers started from.
        wrt: the names of the leaves, None for every real tensor.
    """

    forward: Callable[..., Any]
    given: Mapping[str, Any]
    state: torch.Tensor
    wrt: tuple[str, ...] | None = None


def rerun_of(
    forward: Callable[..., Any],
    args: Any,
    kwargs: Any,
    wrt: Iterable[str] | None,
    state: torch.Tensor,
) -> Rerun | None:
    """Return what calls a forward pass again; None if its arguments cannot be given one by one."""
    target = forward.forward if isinstance(forward, torch.nn.Module) else forward
    try:
        signature = inspect.signature(target)
        bound = signature.bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    bound.apply_defaults()
    for word, parameter in signature.parameters.items():
        value = bound.arguments[word]
        several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if (several and value) or has_tensors_inside(value):
            return None
        if several or parameter.kind is parameter.POSITIONAL_ONLY:
            del bound.arguments[word]
    if any(p.kind is p.POSITIONAL_ONLY for p in signature.parameters.values()):
        return None
    return Rerun(forward, dict(bound.arguments), state, None if wrt is None else tuple(wrt))


def has_tensors_inside(value: Any) -> bool:
    """Tell whether a list, tuple or mapping has tensors in it."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return isinstance(value, list | tuple) and any(
        isinstance(part, torch.Tensor) or has_tensors_inside(part) for part in value
    )
