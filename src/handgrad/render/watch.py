"""The journey as it happens, in plain text: for pipes and files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TextIO

from handgrad.escape import escaped
from handgrad.ninja import Exercise
from handgrad.render.blocks import Paragraph, as_plain
from handgrad.render.ninja import exercise
from handgrad.render.steps import Tenths
from handgrad.train import Moment


class Watch(Protocol):
    """Shows the journey; each method is called when there is something to show."""

    def result(self, found: Exercise) -> None:
        """Show a part of the journey."""
        ...

    def step(self, moment: Moment) -> None:
        """Show where training stands."""
        ...

    def written(self, paths: Iterable[str]) -> None:
        """Show which files there are now."""
        ...

    def close(self) -> None:
        """Leave the screen in order, whatever happened."""
        ...


class Silent:
    """Shows nothing."""

    def result(self, found: Exercise) -> None:
        """Show nothing."""

    def step(self, moment: Moment) -> None:
        """Show nothing."""

    def written(self, paths: Iterable[str]) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""


class Plain(Silent):
    """Writes text, and a line for every tenth part of the training."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.tenths = Tenths(self.below)
        self.below_steps = False

    def result(self, found: Exercise) -> None:
        """Write a part of the journey."""
        self.write("\n" if self.below_steps else "")
        self.write(as_plain(exercise(found)))
        self.below_steps = False

    def step(self, moment: Moment) -> None:
        """Write where training stands, with the mean loss since the last such line."""
        self.tenths.step(moment)

    def below(self, text: str) -> None:
        """Write a line about the steps, to be parted from what comes next."""
        self.write(text)
        self.below_steps = True

    def written(self, paths: Iterable[str]) -> None:
        """Write which files there are now."""
        self.write(as_plain([Paragraph("Wrote " + ", ".join(paths))]).rstrip("\n") + "\n")

    def write(self, text: str) -> None:
        """Write text at once: the reader may be waiting for it."""
        self.stream.write(escaped(text))
        self.stream.flush()
