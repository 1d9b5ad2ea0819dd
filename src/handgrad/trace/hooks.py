"""Hooks that a person put on a tensor before the forward pass ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from handgrad.errors import BadInput
from handgrad.trace.values import Value


class Recorded(Protocol):
    """What was recorded, as far as hooks are concerned."""

    values: list[Value]
    given: dict[int, str]


def carry_hooks(tensor: torch.Tensor, fresh: torch.Tensor) -> None:
    """Put a tensor's hooks on the copy that stands for it, so that its gradient is the same."""
    if fresh.requires_grad:
        for hook in hooks_of(tensor).values():
            fresh.register_hook(hook)
        for hook in accumulating(tensor).values():
            fresh.register_post_accumulate_grad_hook(hook)


def hooks_of(tensor: torch.Tensor) -> Mapping[int, Any]:
    """Return the hooks that a gradient passes on its way to a tensor."""
    return tensor._backward_hooks or {}


def accumulating(tensor: torch.Tensor) -> Mapping[int, Any]:
    """Return the hooks that run when a gradient has been added to a tensor's `.grad`."""
    return getattr(tensor, "_post_accumulate_grad_hooks", None) or {}


def refuse_accumulating(recorded: Recorded) -> None:
    """Refuse a leaf whose `.grad` a hook is told of: no line here writes to `.grad`.

    Raises:
        BadInput: there is one.
    """
    for value in recorded.values:
        if value.leaf and value.requires and accumulating(value.tensor):
            name = recorded.given.get(id(value)) or value.hint or "a leaf"
            raise BadInput(
                f"{name} has a post-accumulate hook, which would never run here",
                why=f"it acts on {name}.grad once backward() has added to it",
                hint="remove it: register_post_accumulate_grad_hook gave a handle to .remove()",
            )


def hooked(name: str, value: Value) -> BadInput | None:
    """Say that a hook from before changes the gradient of an input, None if it has no hook."""
    if value.op is not None or not hooks_of(value.tensor):
        return None
    return BadInput(
        f"a hook that {name} was given before the forward pass changes its gradient",
        why=f"PyTorch's own gradient of {name} is not the one that the lines that read it give",
        hint="remove it: register_hook gave a handle to .remove()",
    )
