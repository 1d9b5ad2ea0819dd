"""How long making native code may take: past that, the eager step does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from handgrad.errors import NoRule

SECONDS = 60.0
deadline: ContextVar[tuple[float, float]] = ContextVar("deadline", default=(float("inf"), 0.0))


class CannotLower(NoRule):
    """A line has no native code; the eager step does it."""


@contextmanager
def budget(seconds: float) -> Iterator[None]:
    """Allow so many seconds for what is done inside."""
    token = deadline.set((perf_counter() + seconds, seconds))
    try:
        yield
    finally:
        deadline.reset(token)


def spend() -> None:
    """Go on, if there is time left.

    Raises:
        CannotLower: there is none.
    """
    end, seconds = deadline.get()
    if perf_counter() > end:
        raise CannotLower(f"native code was not made within {seconds:g} seconds")


def left() -> float:
    """Return how many seconds are left."""
    return deadline.get()[0] - perf_counter()
