"""`handgrad train` and `handgrad plot`: a run in a folder of its own, and its pictures."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from handgrad.cli.folder import save_all
from handgrad.cli.options import Debug, Json, NoColor
from handgrad.cli.screen import DONE, NOTE, console, is_terminal, say, write
from handgrad.errors import BadInput
from handgrad.patience import patience
from handgrad.render import data as as_data
from handgrad.render.run_files import pictures
from handgrad.render.runs import summary
from handgrad.render.steps import Tenths
from handgrad.train import Moment
from handgrad.train.durable import refuse_link
from handgrad.train.fit import Fitted, Watcher, fit
from handgrad.train.log import read_history
from handgrad.train.settings import BACKENDS, DTYPES, RATES, SCHEDULES
from handgrad.train.tensors import refuse_file
from handgrad.train.zoo import MODELS


def option(name: str, help: str, **more: Any) -> Any:
    """Return an option without a default of its own: the run has it, or its model."""
    return typer.Option(name, help=help, **{"show_default": False, **more})


Name = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        show_default="character_mlp",
        help="; ".join(f"{model.name}: {model.about}" for model in MODELS.values()) + ".",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the run is kept.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the latest checkpoint.")]
Force = Annotated[
    bool, typer.Option("--force", help="Go on though settings or data are other ones.")
]
Steps = Annotated[int | None, option("--steps", "How many steps in all.", show_default="20000")]
Batch = Annotated[int | None, option("--batch", "Examples of a step.", show_default="32")]
Rate = Annotated[
    float | None, option("--lr", "Learning rate at the start.", show_default="the model's")
]
Schedule = Annotated[
    str | None,
    option(
        "--schedule",
        "How the rate goes on: down to a tenth in one step or along a cosine, or as it is.",
        metavar="|".join(SCHEDULES),
        show_default="step",
    ),
]
DecayAt = Annotated[
    int | None,
    option(
        "--decay-at",
        "The step at which the rate is down to a tenth.",
        metavar="STEP",
        show_default="half of the steps; all of them for cosine",
    ),
]
Optimizer = Annotated[
    str | None,
    option("--optimizer", "", metavar="|".join(RATES), show_default="the model's"),
]
Momentum = Annotated[float | None, option("--momentum", "Of sgd and rmsprop.", show_default="0")]
Nesterov = Annotated[bool, typer.Option("--nesterov", help="Look ahead, with momentum.")]
Decay = Annotated[float | None, option("--weight-decay", "", show_default="0; 0.01 for adamw")]
Clip = Annotated[
    float | None,
    option(
        "--clip",
        "The largest norm of all gradients together.",
        metavar="NORM",
        show_default="none",
    ),
]
Seed = Annotated[
    int | None, option("--seed", "Seed of all random numbers.", show_default="2147483647")
]
Words = Annotated[
    Path | None,
    option(
        "--data",
        "Words to train on: a text file, one word a line.",
        metavar="FILE",
        show_default="the built-in names",
    ),
]
Dtype = Annotated[
    str | None, option("--dtype", "", metavar="|".join(DTYPES), show_default="float32")
]
BackendName = Annotated[
    str | None,
    option("--backend", "What does the steps.", metavar="|".join(BACKENDS), show_default="native"),
]
Threads = Annotated[
    int | None, option("--threads", "Threads of torch.", metavar="N", show_default="1")
]
Every = Annotated[
    int | None,
    option(
        "--every",
        "Steps between checkpoints.",
        metavar="STEPS",
        show_default="a twentieth of all, at least 500",
    ),
]
Keep = Annotated[int | None, option("--keep", "Checkpoints to keep.", show_default="3")]


def train(
    model: Name = None,
    out: Out = Path("run"),
    resume: Resume = False,
    force: Force = False,
    steps: Steps = None,
    batch: Batch = None,
    lr: Rate = None,
    schedule: Schedule = None,
    decay_at: DecayAt = None,
    optimizer: Optimizer = None,
    momentum: Momentum = None,
    nesterov: Nesterov = False,
    weight_decay: Decay = None,
    clip: Clip = None,
    seed: Seed = None,
    data: Words = None,
    dtype: Dtype = None,
    backend: BackendName = None,
    threads: Threads = None,
    every: Every = None,
    keep: Keep = None,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Train a model by its derived gradients, with checkpoints that no crash can spoil."""
    asked = {
        "model": model, "steps": steps, "batch": batch, "lr": lr, "schedule": schedule,
        "turn": decay_at, "optimizer": optimizer, "momentum": momentum, "clip": clip, "seed": seed,
        "nesterov": nesterov or None, "weight_decay": weight_decay, "dtype": dtype,
        "data": None if data is None else str(data.absolute()),
        "backend": backend, "threads": threads, "every": every, "keep": keep,
    }  # fmt: skip
    given = {name: value for name, value in asked.items() if value is not None}
    run(out, given, resume, force, Shown(json, no_color))


def run(out: Path, given: dict[str, Any], resume: bool, force: bool, shown: Shown) -> None:
    """Do a run, draw it, and show what it came to; its signal's exit code if one ended it."""
    try:
        done = fit(out, given, resume=resume, force=force, watcher=shown.watcher)
    except KeyboardInterrupt:
        say(f"stopped at once; {go_on(out)}", NOTE, no_color=shown.no_color)
        raise
    finally:
        shown.close()
    if done.stopped:
        finish(done, (), shown)
        raise typer.Exit(128 + done.stopped)
    title = f"{done.settings.model}, {done.backend}"
    found = pictures(read_history(out), title, done.losses["validation"])
    finish(done, save_all(out, found), shown)


class Shown:
    """What is shown while a run is at work: a bar on a terminal, ten lines elsewhere."""

    def __init__(self, json: bool, no_color: bool) -> None:
        self.json, self.no_color = json, no_color
        self.notes: list[str] = []
        self.bar = None
        stream = sys.stderr if json else sys.stdout
        if is_terminal(stream):
            from handgrad.render.bar import Bar

            self.bar = Bar(console(stream, no_color))
        self.step = self.bar.step if self.bar else Tenths(self.write).step
        self.watcher = Watcher(self.note, self.start, self.moved)
        self.wait = ExitStack()
        self.wait.enter_context(patience("reading the words, compiling the steps", no_color))

    def write(self, text: str) -> None:
        """Write text at once, unless the result is to be JSON."""
        if not self.json:
            write(text)
            sys.stdout.flush()

    def start(self, text: str) -> None:
        """Say what is about to be trained."""
        self.wait.close()
        self.write("\n".join(text.split("; ")) + "\n")

    def moved(self, moment: Moment) -> None:
        """Show a step; after the last one the losses are measured."""
        self.step(moment)
        if moment.step == moment.steps:
            if self.bar:
                self.bar.close()
            self.wait.enter_context(patience("measuring the losses", self.no_color))

    def note(self, text: str) -> None:
        """Say what one should know; with JSON that is in the result."""
        self.notes.append(text)
        if not self.json:
            say(text, NOTE, no_color=self.no_color)

    def close(self) -> None:
        """Leave the screen in order."""
        self.wait.close()
        if self.bar:
            self.bar.close()


def finish(done: Fitted, written: tuple[Path, ...], shown: Shown) -> None:
    """Show what a run came to, and how to go on."""
    paths = [str(path) for path in written]
    if shown.json:
        found = {**done.to_dict(), "notes": shown.notes, "written": paths}
        write(as_data.text(found))
        return
    if done.stopped:
        name = signal.Signals(done.stopped).name
        text = (
            f"stopped by {name} after step {done.step:,}, with a checkpoint; {go_on(done.folder)}"
        )
        say(text, NOTE, no_color=shown.no_color)
        return
    shown.write(summary(done, paths))
    say(f"sample: handgrad sample --from {done.folder}", DONE, no_color=shown.no_color)


def go_on(folder: Path) -> str:
    """Say how a run goes on."""
    return f"go on with: handgrad train --resume --out {folder}"


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a run.")]


def plot(
    folder: Folder = Path("run"),
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Draw the loss and the size of the updates of a run, finished or not."""
    refuse_file(folder)
    refuse_link(folder)
    try:
        history = read_history(folder)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"{folder} has no log of a run",
            why=f"{type(error).__name__}: {error}",
            hint="handgrad train --out FOLDER writes one",
        ) from error
    if not history.losses:
        raise BadInput(f"the run in {folder} has done no step yet", hint="wait for it")
    written = [str(path) for path in save_all(folder, pictures(history, folder.name))]
    if json:
        write(as_data.text({"steps": len(history.losses), "written": written}))
    else:
        write(f"wrote {', '.join(written)}: {len(history.losses):,} steps\n")
