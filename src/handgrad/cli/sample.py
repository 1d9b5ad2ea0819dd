"""`handgrad sample`: new words from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.options import Debug, Json, NoColor
from handgrad.cli.screen import NOTE, say, write
from handgrad.render import data as as_data
from handgrad.train.sampling import sampled

From = Annotated[
    Path,
    typer.Option("--from", metavar="FOLDER", help="The folder of a run, or of one checkpoint."),
]
Count = Annotated[int, typer.Option("--count", "-n", help="How many words.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random numbers.")]
Words = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        show_default="the run's",
        help="The words that it was trained on, if they are elsewhere now.",
    ),
]


def sample(
    folder: From = Path("run"),
    count: Count = 20,
    seed: Seed = 1,
    data: Words = None,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Sample new words from a trained network, one a line."""
    found = sampled(folder, count, seed, data)
    if json:
        write(as_data.text(found.to_dict()))
        return
    for note in found.notes:
        say(note, NOTE, no_color=no_color)
    write("".join(f"{word}\n" for word in found.words))
