"""A built step bound to tensors: their own memory is what it reads and writes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.native.build import Library
from handgrad.native.forms import DTYPES, Form, Unit


@dataclass
class Bound:
    """A step's function with the tensors that it works on.

    Attributes:
        tensors: by slot; they are kept alive here.
        hyper: the numbers that each step is given, in order.
    """

    unit: Unit
    library: Library
    arrays: Mapping[str, Form]
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def __post_init__(self) -> None:
        unit = self.unit
        self.slots = (ctypes.c_void_p * max(len(unit.slots), 1))()
        self.hyper = (ctypes.c_double * max(len(unit.hypers), 1))()
        room = torch.zeros(unit.arena + 64, dtype=torch.uint8)
        self.arena = ctypes.c_void_p(-(-room.data_ptr() // 64) * 64)
        self.room = room
        self.function = self.library.handle.hg_step
        self.function.restype = ctypes.c_int
        for name, array in unit.outputs.items():
            made = torch.zeros(array.shape, dtype=DTYPES[array.ctype])
            self.put(f"out:{name}", made)

    def put(self, slot: str, tensor: Tensor) -> None:
        """Give a slot its tensor, which has been checked."""
        if slot in self.unit.slots:
            self.tensors[slot] = tensor
            self.slots[self.unit.slots.index(slot)] = tensor.data_ptr()

    def bind(self, name: str, tensor: Tensor) -> None:
        """Give an input its tensor.

        Raises:
            BadInput: its shape, dtype, device or layout is not what was compiled.
        """
        if name in self.arrays:
            check(name, tensor, self.arrays[name])
            self.put(name, tensor)

    def set(self, numbers: Mapping[str, float]) -> None:
        """Give the numbers of the next step."""
        for place, name in enumerate(self.unit.hypers):
            self.hyper[place] = numbers[name]

    def run(self) -> int:
        """Do a step; return 0, or 1 if the loss is no finite number and nothing was updated."""
        return self.function(self.slots, self.arena, self.hyper)

    def output(self, name: str) -> Tensor:
        """Return what the last step wrote to an output."""
        return self.tensors[f"out:{name}"]


def check(name: str, tensor: Tensor, array: Form) -> None:
    """Refuse a tensor that the compiled step cannot read.

    Raises:
        BadInput: its shape, dtype, device or layout is not what was compiled.
    """
    shape, dtype = list(array.shape), DTYPES[array.ctype]
    if list(tensor.shape) != shape:
        raise BadInput(
            f"{name} has shape {list(tensor.shape)}, and the step was compiled for {shape}",
            hint="compile again for another size: hg.compile(forward, ...)",
        )
    if tensor.dtype != dtype:
        short = str(dtype).removeprefix("torch.")
        raise BadInput(
            f"{name} is {str(tensor.dtype).removeprefix('torch.')}, "
            f"and the step was compiled for {short}",
            hint=f"pass {name}.to(torch.{short})",
        )
    if tensor.device.type != "cpu":
        raise BadInput(
            f"{name} is on {tensor.device}; native code runs on the CPU", hint=f"pass {name}.cpu()"
        )
    if not tensor.is_contiguous():
        raise BadInput(
            f"{name} is not contiguous (strides {list(tensor.stride())}), and native code works on "
            "its memory as it is",
            hint=f"pass {name}.contiguous()",
        )
