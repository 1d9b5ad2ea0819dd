"""The tensors that a step works on, and those that it cannot change where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.native.bind import check
from handgrad.native.forms import CTYPES, Form, slot
from handgrad.nn.optimisers import Optimiser


def working(
    inputs: Mapping[str, Tensor], leaves: tuple[str, ...], optimiser: Optimiser
) -> dict[str, Tensor]:
    """Return the tensors that a step works on, by name, with what the optimiser keeps."""
    tensors = dict(inputs)
    for name in leaves:
        refuse_parameter(name, tensors[name])
        for memory in optimiser.memory:
            tensors[slot(name, memory)] = torch.zeros_like(tensors[name], requires_grad=False)
    refuse_shared({name: tensors[name] for name in leaves})
    return tensors


def forms_of(tensors: Mapping[str, Tensor]) -> dict[str, Form]:
    """Return the shapes and types of tensors by name."""
    return {n: Form(tuple(t.shape), CTYPES.get(t.dtype, str(t.dtype))) for n, t in tensors.items()}


def refuse_parameter(name: str, tensor: Tensor) -> None:
    """Refuse a parameter that cannot be changed where it stands.

    Raises:
        BadInput: its dtype, device or layout does not allow that.
    """
    if tensor.dtype not in (torch.float32, torch.float64):
        short = str(tensor.dtype).removeprefix("torch.")
        raise BadInput(
            f"{name} is {short}; a step trains float32 and float64 parameters",
            hint=f"pass {name}.float()",
        )
    check(name, tensor, Form(tuple(tensor.shape), CTYPES[tensor.dtype]))


def refuse_shared(tensors: Mapping[str, Tensor]) -> None:
    """Refuse parameters that share memory.

    Raises:
        BadInput: two of them do.
    """
    spans = sorted(
        (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size(), name)
        for name, t in tensors.items()
        if t.numel()
    )
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            raise BadInput(
                f"{one} and {other} share memory, and each would be updated",
                hint=f"pass {other}.clone(), or the same tensor under one name",
            )
