"""Whether a run would be the same on other values: torch itself marks what looks at them."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

LOOKING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
WHOLE = {torch.int64, torch.int32, torch.int16, torch.int8}
ASKING = {torch.ops.aten.any.default, torch.ops.aten._local_scalar_dense.default}
OWN = tuple(str(Path(file).parent) for file in (torch.__file__, str(Path(__file__).parent)))
BY_INDEX = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}


@dataclass(frozen=True)
class Look:
    """A call whose result is no tensor.

    Attributes:
        name: of what was called.
        where: the file and line that called it.
        text: that line.
        checks: torch's own code asks, to check arguments, or an assertion.
    """

    name: str
    where: str
    text: str
    checks: bool = False


def looked(name: str) -> Look:
    """Return a call with the line outside of torch and handgrad that made it."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN[1]):
        frame = frame.f_back
    inside = frame.f_code.co_filename.startswith(OWN[0])
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line).strip()
    return Look(name, f"{file}:{line}", text, inside or text.startswith("assert "))


class Watching(TorchDispatchMode):
    """Note the operations whose result as a number, or whose shape, depends on tensors' values.

    One question has the same answer for all values: whether an argument's whole numbers, none of
    them negative, are anywhere equal to a negative one. `F.cross_entropy` asks for what it ignores.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.counting: dict[int, torch.dtype] = {}
        self.never: list[torch.Tensor] = []

    def given(self, tensor: torch.Tensor) -> None:
        """Note an argument; later runs are told apart by which of them have negative numbers."""
        if tensor.dtype in WHOLE and tensor.numel() and int(tensor.min()) >= 0:
            self.counting[tensor.untyped_storage().data_ptr()] = tensor.dtype

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that nothing is compiled here: else torch's compiler is imported, for seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation."""
        with torch._C.DisableTorchFunction():  # it is no call of the user's
            result = func(*args, **(kwargs or {}))
        if self.is_never(func, args):
            self.never.append(result)
        elif not LOOKING.isdisjoint(func.tags) and not plainly_indexed(func, args):
            self.seen.append(str(func))
        return result

    def is_never(self, func: Any, args: Sequence[Any]) -> bool:
        """Tell whether an operation asks a question that is always answered with no."""
        if func in ASKING:
            return any(args[0] is each for each in self.never)
        if func is not torch.ops.aten.eq.Scalar or not (type(args[1]) is int and args[1] < 0):
            return False
        tensor = args[0]
        own = self.counting.get(tensor.untyped_storage().data_ptr())
        return own is tensor.dtype and tensor._version == 0


def plainly_indexed(func: Any, args: Sequence[Any]) -> bool:
    """Tell whether an operation takes entries by number, and not those that a mask picks."""
    if func.overloadpacket.__name__ not in BY_INDEX:
        return False
    parts = [part for part in args[1] if part is not None]
    return all(part.dtype not in (torch.bool, torch.uint8) for part in parts)
