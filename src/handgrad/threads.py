"""One thread for work on many small tensors: there, several spend their time on each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

MANY = 2_000_000  # entries in all; above, several threads are worth their waiting


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def reproducible(count: int) -> Iterator[None]:
    """Let torch use so many threads, and no algorithm whose bits differ from run to run."""
    before = torch.are_deterministic_algorithms_enabled()
    with threads(count):
        torch.use_deterministic_algorithms(before or count > 1)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def one_thread() -> AbstractContextManager[None]:
    """Keep torch to one thread for a while."""
    return threads(1)


def threads_for(tensors: Iterable[torch.Tensor]) -> AbstractContextManager[None]:
    """Keep torch to one thread for work on these tensors, unless they are large."""
    return one_thread() if sum(t.numel() for t in tensors) < MANY else nullcontext()
