"""What stands in for torch's `ctx` when a Function's own code is called directly."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import FunctionCtx


class Ctx(FunctionCtx):
    """Hold what a forward saves; torch's methods set `to_save`, `dirty_tensors` and the like.

    Args:
        needs: for each input, whether a gradient of it is asked for.
    """

    to_save: tuple[Any, ...] = ()
    dirty_tensors: tuple[Any, ...] = ()
    non_differentiable: tuple[Any, ...] = ()
    materialize_grads: bool = True

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """Return what `save_for_backward` was given."""
        return self.to_save

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for the backward.

        Raises:
            TypeError: one is neither a tensor nor None, as in torch.
        """
        for place, tensor in enumerate(tensors):
            if tensor is not None and not isinstance(tensor, torch.Tensor):
                kind = type(tensor).__name__
                raise TypeError(
                    f"save_for_backward can only save tensors, argument {place} is of type {kind}"
                )
        self.to_save = tensors

    def name(self) -> str:
        """Return a name, as torch's nodes do."""
        return "HandgradBackward"


def held(ctx: Ctx) -> list[tuple[str, torch.Tensor]]:
    """Return the tensors that a ctx keeps, each with words for it."""
    found = [
        (f"saved tensor {place}", tensor)
        for place, tensor in enumerate(ctx.to_save)
        if isinstance(tensor, torch.Tensor)
    ]
    own = ("to_save", "dirty_tensors", "non_differentiable", "needs_input_grad")
    for name, value in vars(ctx).items():
        if isinstance(value, torch.Tensor) and name not in own:
            found.append((f"ctx.{name}", value))
    return found
