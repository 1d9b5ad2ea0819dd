"""`handgrad bench`: native training steps beside PyTorch's and JAX's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from handgrad.bench.models import MODELS
from handgrad.bench.run import ROUNDS, Bench, Row
from handgrad.bench.run import bench as bench_all
from handgrad.cli.folder import refuse_folder, save_all
from handgrad.cli.options import Debug, Json, NoColor
from handgrad.cli.screen import DONE, console, is_terminal, say, show
from handgrad.errors import BadInput
from handgrad.render import bench as words
from handgrad.render.blocks import as_plain

INTERRUPTED = 130

Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...", show_default="all", help=f"What to time: {', '.join(MODELS)}."
    ),
]
Batch = Annotated[
    str,
    typer.Option(
        "--batch",
        metavar="1,32,256",
        show_default="each model's own",
        help="The batch sizes, between commas.",
    ),
]
Rounds = Annotated[int, typer.Option("--rounds", help="How often each has its turn.")]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile/--no-compile", help="Time torch.compile too, which takes 10 to 60 s a row."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FOLDER", help="Where bench.md and bench.png are written."
    ),
]


def bench(
    models: Models = None,
    batch: Batch = "",
    rounds: Rounds = ROUNDS,
    torch_compile: Compile = True,
    output: Output = None,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Time native training steps beside PyTorch's and JAX's, in turn, on one thread."""
    if output is not None:
        refuse_folder(output, words.NAMES)
    with progress(no_color) as (stage, done):
        found = bench_all(
            models or (),
            sizes(batch),
            rounds=rounds,
            torch_compile=torch_compile,
            on_stage=stage,
            on_row=done,
        )
    written: list[str] = []
    if output is not None:
        files = words.files(found, command(models or [], batch, rounds, torch_compile))
        written = [str(path) for path in save_all(output, files)]
    tell(found, written, json, no_color)
    if found.stopped:
        raise typer.Exit(INTERRUPTED)


def tell(found: Bench, written: list[str], json: bool, no_color: bool) -> None:
    """Show the result, and which files there are."""
    from handgrad.render.live import as_rich

    show(
        rich=lambda _: as_rich(words.report(found)),
        plain=lambda: as_plain(words.report(found)),
        as_data=lambda: {**found.to_dict(), "written": written},
        json=json,
        no_color=no_color,
    )
    if written and not json:
        say(f"wrote {', '.join(written)}", DONE, no_color=no_color)


def sizes(text: str) -> list[int]:
    """Return the batch sizes of an option.

    Raises:
        BadInput: one is no number.
    """
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(f"--batch is {text}", hint="numbers between commas: 1,32,256") from None


def command(models: list[str], batch: str, rounds: int, torch_compile: bool) -> str:
    """Return the command that gives these figures."""
    given = [
        *models,
        *([f"--batch {batch}"] if batch else []),
        *([f"--rounds {rounds}"] if rounds != ROUNDS else []),
        *([] if torch_compile else ["--no-compile"]),
    ]
    return " ".join(["handgrad bench", *given])


@contextmanager
def progress(
    no_color: bool,
) -> Iterator[tuple[Callable[[int, int, str], None], Callable[[Row], None]]]:
    """Yield what shows how far it is: a bar in a terminal, else a line for each row, on stderr."""
    if not is_terminal(sys.stderr):
        yield lambda *_: None, lambda row: say(line(row), "")
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console(sys.stderr, no_color),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=1)
        yield (
            lambda done, total, what: bar.update(
                task, completed=done, total=total, description=what
            ),
            lambda row: bar.console.print(line(row), highlight=False),
        )


def line(row: Row) -> str:
    """Return a row in a line."""
    ratios = ", ".join(f"{name} x {words.times(each)}" for name, each in row.ratios.items())
    return f"{row.model} {row.batch}: native {words.own(row)}; {ratios or 'nothing beside it'}"
