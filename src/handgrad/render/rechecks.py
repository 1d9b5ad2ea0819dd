"""A check that is shown again and again, as its file changes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handgrad.check.frame import Checked
from handgrad.errors import HandgradError
from handgrad.escape import escaped, escaped_name
from handgrad.render import checked as text
from handgrad.render import verdicts
from handgrad.render.verdicts import Shown
from handgrad.render.words import left_of

if TYPE_CHECKING:
    from rich.console import RenderableType

PRINTED = 6  # lines of what the file printed


@dataclass
class Recheck:
    """What there is to show.

    Attributes:
        file: the file, as the person named it.
        keys: whether keys do something.
        result: the last result, None before the first.
        printed: what the file printed.
        seconds: how long the check took.
        busy: whether another is on its way.
        hints: whether lines to try are shown.
        pictures: whether it is shown where gradients are wrong.
    """

    file: str
    keys: bool = False
    result: Checked | HandgradError | None = None
    printed: str = ""
    seconds: float = 0.0
    when: str = ""
    busy: bool = True
    hints: bool = False
    pictures: bool = False

    def take(self, result: Checked | HandgradError, printed: str, seconds: float) -> None:
        """Take up a new result."""
        self.result, self.printed, self.seconds = result, left_of(printed), seconds
        self.when, self.busy = time.strftime("%H:%M:%S"), False

    def rich(self, height: int) -> RenderableType:
        """Return it for a terminal of so many lines."""
        from rich.console import Group

        from handgrad.render.text import Text

        parts: list[RenderableType] = []
        if isinstance(self.result, HandgradError):
            from handgrad.render.terminal import message

            parts.append(message(self.result.message, "bold red"))
        elif self.result is not None:
            from handgrad.render.checking import Check

            shown = Shown(self.result, self.file, hints=self.hints, pictures=self.pictures)
            parts.append(Check(shown, height - 3 - len(self.last_printed())))
        parts += [Text(line, "dim") for line in self.last_printed()]
        return Group(*parts, Text(), self.footer())

    def footer(self) -> RenderableType:
        """Return the line at the end: what was done, which keys there are."""
        from handgrad.render.text import Text

        keys = (("h", "hint", self.hints), ("d", "diff", self.pictures), ("q", "quit", False))
        line = Text(self.status(), "dim", no_wrap=True, overflow="ellipsis")
        for key, word, on in keys:
            line += Text.assemble("  ", (key, "bold"), (f" {word}", "reverse" if on else "dim"))
        return line

    def status(self) -> str:
        """Return which file is watched and when it was checked."""
        name = escaped_name(self.file)
        if self.result is None:
            return f"{name}: starting ..."
        if self.busy:
            return f"{name}: checking ..."
        return f"{name}: {self.when}, {self.seconds:.2f} s"

    def last_printed(self) -> list[str]:
        """Return the last lines that the file printed."""
        return escaped(self.printed).splitlines()[-PRINTED:]

    def last_word(self) -> str:
        """Return what is left on the terminal at the end."""
        if isinstance(self.result, HandgradError):
            return f"{self.result.message}\n"
        if self.result is None:
            return ""
        return f"{escaped_name(self.file)}: {verdicts.summary(self.result.report)}\n"


def plain(shown: Recheck) -> str:
    """Return a result for a pipe."""
    head = f"== {shown.status()}\n{shown.printed}"
    if isinstance(shown.result, HandgradError):
        return f"{head}{shown.result.message}\n\n"
    if shown.result is None:
        return ""
    return f"{head}{text.plain(Shown(shown.result, shown.file))}\n"
