"""Whether a run would be the same on other values: torch itself marks what looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

LOOKING = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
BY_INDEX = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}


class Watching(TorchDispatchMode):
    """Note the operations whose result as a number, or whose shape, depends on tensors' values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that nothing is compiled here: else torch's compiler is imported, for seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation."""
        if not LOOKING.isdisjoint(func.tags) and not plainly_indexed(func, args):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def plainly_indexed(func: Any, args: Sequence[Any]) -> bool:
    """Tell whether an operation takes entries by number, and not those that a mask picks."""
    if func.overloadpacket.__name__ not in BY_INDEX:
        return False
    parts = [part for part in args[1] if part is not None]
    return all(part.dtype not in (torch.bool, torch.uint8) for part in parts)
