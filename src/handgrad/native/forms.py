"""What a compiled step is called with: the names, shapes and types of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

CTYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "int64_t",
    torch.int32: "int32_t",
    torch.int16: "int16_t",
    torch.int8: "int8_t",
    torch.uint8: "uint8_t",
    torch.bool: "bool",
}
DTYPES = {ctype: dtype for dtype, ctype in CTYPES.items()}


@dataclass(frozen=True)
class Form:
    """The shape and C type of a tensor."""

    shape: tuple[int, ...]
    ctype: str


@dataclass(frozen=True)
class Unit:
    """A step as C, and how it is called.

    Attributes:
        source: the text.
        slots: the names of the tensors that it is given, in order.
        hypers: the names of the numbers that it is given, in order.
        arena: how many bytes of memory of its own it needs.
        outputs: the tensors among the slots that it writes, by name.
    """

    source: str
    slots: tuple[str, ...]
    hypers: tuple[str, ...]
    arena: int
    outputs: Mapping[str, Form]


def slot(name: str, kept: str) -> str:
    """Return the name of the input that holds what is kept of a parameter."""
    return f"{name}.{kept}"
