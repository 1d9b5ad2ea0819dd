"""How long simplifying may take: what would take longer stays as it was derived."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

BUDGET = 30.0  # seconds
UNTIL: ContextVar[float] = ContextVar("the time to stop", default=float("inf"))


class Spent(Exception):
    """The time that a part of the work may take is over."""


@contextmanager
def at_most(seconds: float) -> Generator[None]:
    """Let what is inside take so many seconds, or what is left of the time around it."""
    token = UNTIL.set(min(UNTIL.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        UNTIL.reset(token)


def left() -> float:
    """Return how many seconds are left."""
    return UNTIL.get() - time.monotonic()


def go_on() -> None:
    """Stop where the time is over.

    Raises:
        Spent: it is.
    """
    if time.monotonic() > UNTIL.get():
        raise Spent
