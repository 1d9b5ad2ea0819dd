"""Say on a terminal that work goes on, once it has taken long."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AFTER = 2.0  # seconds
told = threading.local()


@contextmanager
def patience(text: str, no_color: bool = False) -> Iterator[None]:
    """Show on stderr, where that is a terminal, what takes more than two seconds.

    What is inside of something that is shown says nothing of its own.
    """
    if getattr(told, "outer", False) or not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=tell, args=(text, ended, no_color), daemon=True)
    told.outer = True
    thread.start()
    try:
        yield
    finally:
        told.outer = False
        ended.set()
        thread.join()


def tell(text: str, ended: threading.Event, no_color: bool) -> None:
    """Show a text from two seconds on until the work has ended."""
    if not ended.wait(AFTER):
        from rich.console import Console

        plain = no_color or bool(os.environ.get("NO_COLOR"))
        with Console(stderr=True, color_system=None if plain else "auto").status(text):
            ended.wait()
