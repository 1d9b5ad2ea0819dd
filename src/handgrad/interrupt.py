"""Let Ctrl-C end a loop between two of its steps, so that nothing is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(*signals: signal.Signals) -> Iterator[Callable[[], int]]:
    """Yield a function that tells which signal came, 0 if none; a second one raises at once.

    Only the main thread hears of signals: elsewhere the answer is always 0.

    Args:
        signals: those that are waited for; Ctrl-C's without any.
    """
    came: list[int] = []

    def first() -> int:
        return came[0] if came else 0

    if threading.current_thread() is not threading.main_thread():
        yield first
        return

    def note(number: int, _frame: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    before = {each: signal.signal(each, note) for each in signals or (signal.SIGINT,)}
    try:
        yield first
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
