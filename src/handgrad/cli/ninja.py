"""`handgrad ninja`: the whole exercise, shown as it happens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.folder import refuse_folder, save_all
from handgrad.cli.options import Debug, Json, NoColor
from handgrad.cli.screen import console, is_terminal, write
from handgrad.models.character_mlp import SEED
from handgrad.ninja import STEPS, journey
from handgrad.render import data as as_data
from handgrad.render.ninja_files import NAMES, files
from handgrad.render.watch import Plain, Silent, Watch

INTERRUPTED = 130

Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        show_default="200000, and 20000 in eager PyTorch",
        help="How many steps to train for.",
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="|".join(STEPS),
        help="What does the steps; without a C compiler it is eager PyTorch.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        show_default="the built-in names",
        help="Words to train on: a text file, one word a line.",
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER",
        help="Where backward.py, report.md and loss.png are written.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of all random numbers.")]


def ninja(
    steps: Steps = None,
    backend: Backend = "native",
    data: Data = None,
    output: Output = Path("ninja"),
    seed: Seed = SEED,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Become a backprop ninja: shapes, backward pass, checks, training, new names."""
    refuse_folder(output, NAMES)
    shown = watch(json, no_color)
    try:
        done = journey(
            steps, data, seed, backend=backend, on_result=shown.result, on_step=shown.step
        )
    finally:
        shown.close()
    written = [str(path) for path in save_all(output, files(done))]
    if json:
        write(as_data.text({**done.to_dict(), "written": written}))
    shown.written(written)
    code = done.report.exit_code
    if code or done.trained.training.stopped == "interrupted":
        raise typer.Exit(code or INTERRUPTED)


def watch(json: bool, no_color: bool) -> Watch:
    """Return what shows the journey: in colour, plain, or nothing but a bar beside the JSON."""
    stream = sys.stderr if json else sys.stdout
    if is_terminal(stream):
        from handgrad.render.live import Live

        return Live(console(stream, no_color), only_bar=json)
    return Silent() if json else Plain(stream)
