"""Where results go: stdout as rich text, plain text or JSON; what is said beside them to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

from handgrad.escape import escaped
from handgrad.render import data

if TYPE_CHECKING:
    from rich.console import RenderableType

    from handgrad.render.text import Console


def show(
    *,
    rich: Callable[[int], RenderableType],
    plain: Callable[[], str],
    as_data: Callable[[], Mapping[str, Any]],
    json: bool,
    no_color: bool,
) -> None:
    """Write a result to stdout in the form that suits it.

    Args:
        rich: what a terminal of so many columns gets; of a Text no line is broken.
        plain: what a pipe gets.
        as_data: what `--json` gives.
        json: whether that was asked.
        no_color: whether a terminal gets no colour.
    """
    if json:
        write(data.text(as_data()))
    elif is_terminal(sys.stdout):
        from rich.text import Text

        screen = console(sys.stdout, no_color)
        result = rich(screen.width)
        screen.print(result, soft_wrap=isinstance(result, Text))
    else:
        write(plain())


def write(text: str, stream: TextIO | None = None) -> None:
    """Write text to stdout, or another stream, with what a terminal would act on escaped."""
    (stream or sys.stdout).write(escaped(text))


ERROR, NOTE, DONE = "bold red", "yellow", "bold green"


def say(text: str, style: str, *, no_color: bool = False) -> None:
    """Write an error, a note, or what was done to stderr."""
    if is_terminal(sys.stderr):
        from handgrad.render.terminal import message

        console(sys.stderr, no_color).print(message(text, style), soft_wrap=True)
    else:
        write(text + "\n", sys.stderr)


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that can do more than print."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def console(stream: TextIO, no_color: bool) -> Console:
    """Return the console on a terminal."""
    from handgrad.render.text import Console

    colorless = no_color or bool(os.environ.get("NO_COLOR"))
    system = None if colorless else "auto"
    return Console(file=stream, force_terminal=True, color_system=system)


@contextmanager
def aside() -> Iterator[None]:
    """Send what the user's own code prints to stderr: stdout is for the result."""
    with redirect_stdout(sys.stderr):
        yield


def tell(notes: list[str], json: bool, no_color: bool, done: str = "") -> None:
    """Say what goes beside a result, unless that is JSON and has it."""
    if json:
        return
    sys.stdout.flush()  # the result first, where both streams are one
    for text in notes:
        say(text, NOTE, no_color=no_color)
    if done:
        say(done, DONE, no_color=no_color)
