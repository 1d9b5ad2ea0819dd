"""How training goes, in a terminal: a bar with steps, loss, speed and the time that is left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from handgrad.train import Moment

SMOOTH = 0.99  # of the loss beside the bar, a step
BESIDE = 60  # columns beside the bar, a few of them free: a ^C must not break the line
OFTEN = 20  # steps between two moves of the bar


class Bar:
    """A bar that moves with the steps."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            BarColumn(bar_width=max(8, min(60, console.width - BESIDE))),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} steps/s"),
            TimeRemainingColumn(compact=True),
            console=console,
            refresh_per_second=5,
        )
        self.task = self.progress.add_task("training", total=1, loss="", speed="")
        self.mean = 0.0
        self.last = self.shown = 0

    def step(self, moment: Moment) -> None:
        """Move the bar."""
        if not self.progress.live.is_started:
            self.mean, self.last = moment.loss, moment.start
            self.shown = moment.start
            self.progress.start()
            self.progress.reset(self.task, total=moment.steps)
        kept = SMOOTH ** (moment.step - self.last)
        self.mean = kept * self.mean + (1 - kept) * moment.loss
        self.last = moment.step
        if moment.step - self.shown >= OFTEN or moment.step == moment.steps:
            self.shown = moment.step
            speed = f"{moment.speed:,.0f}"
            loss = f"{self.mean:.3f}"
            self.progress.update(self.task, completed=moment.step, loss=loss, speed=speed)

    def close(self) -> None:
        """Stop the bar, leaving it where it is."""
        if self.progress.live.is_started:
            self.progress.stop()
            self.console.print()
