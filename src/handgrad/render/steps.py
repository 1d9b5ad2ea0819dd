"""How training goes, in plain text: a line for every tenth part of the steps."""

from __future__ import annotations

from collections.abc import Callable

from handgrad.train import Moment


class Tenths:
    """Writes where training stands ten times, with the mean loss since the last time.

    Args:
        write: takes the text.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.step_before = self.counted = 0
        self.total = 0.0

    def step(self, moment: Moment) -> None:
        """Take note of a moment, and write a line if it is time."""
        self.step_before = max(self.step_before, moment.start)
        count = moment.step - self.step_before
        self.total += moment.loss * count
        self.counted += count
        before, now = (10 * step // moment.steps for step in (self.step_before, moment.step))
        self.step_before = moment.step
        if now == before:
            return
        done = f"{moment.step:>{len(f'{moment.steps:,}')},} steps"
        mean = self.total / self.counted
        self.write(f"{done}   loss {mean:.3f}   {moment.speed:,.0f} steps/s\n")
        self.total, self.counted = 0.0, 0
