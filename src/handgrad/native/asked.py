"""What `hg.compile` was asked for: a forward pass, its arguments and the options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from handgrad.native import starts
from handgrad.native.lower.budget import SECONDS
from handgrad.nn.optimisers import Optimiser
from handgrad.trace.arguments import name_arguments


@dataclass(frozen=True)
class Asked:
    """What is to be compiled.

    Attributes:
        wanted: the names of the parameters.
        clip: the greatest norm that all gradients together may have.
        simplified: whether the backward pass is cut short first; None where it has few lines.
        freeze_values: numbers and branches that are taken from tensors stay as they were traced.
        seconds: how long making native code may take.
    """

    forward: Callable[..., Any] | torch.nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    wanted: list[str]
    optimiser: Optimiser
    clip: float | None
    simplified: bool | None
    freeze_values: bool = False
    seconds: float = SECONDS

    @property
    def key(self) -> str:
        """Return the name that its start is kept under, empty if none is."""
        if not starts.is_ours(self.optimiser):
            return ""
        options = (self.optimiser, self.clip, self.simplified)
        return starts.key_of(self.forward, self.args, self.kwargs, self.wanted, options)


def tensors_of(forward: Any, args: Any, kwargs: Any) -> dict[str, Tensor]:
    """Return the tensors that a forward pass reads, by their names in the program."""
    module = isinstance(forward, torch.nn.Module)
    found = name_arguments(forward.forward if module else forward, args, kwargs)
    if module:
        owned = [*forward.named_parameters(), *forward.named_buffers()]
        found |= {name.replace(".", "_"): tensor for name, tensor in owned}
    return found


def parameters_of(forward: Any, given: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the parameters."""
    if isinstance(forward, torch.nn.Module):
        return [n.replace(".", "_") for n, p in forward.named_parameters() if p.requires_grad]
    floats = [name for name, tensor in given.items() if tensor.is_floating_point()]
    return [name for name in floats if given[name].requires_grad] or floats
