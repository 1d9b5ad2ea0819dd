"""`handgrad simplify`: the short backward pass, and how one gets there."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.options import Debug, Json, NoColor, Target
from handgrad.cli.passes import Force, Output, largest_difference, tell, title_of, traced
from handgrad.cli.save import refuse, save
from handgrad.cli.screen import show, write
from handgrad.derive import derive
from handgrad.emit import listing, module
from handgrad.errors import BadInput
from handgrad.render import data, plain, words
from handgrad.simplify import Simplified
from handgrad.simplify import simplify as simplified
from handgrad.trace.files import split_target


class Form(StrEnum):
    """Which form of a line is written."""

    SHORTEST = "shortest"
    TEXTBOOK = "textbook"


From = Annotated[
    str | None,
    typer.Option("--from", metavar="NAME", help="Only the lines that end in this name's gradient."),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="NAME", help="Only the lines from this name's gradient on."),
]
Written = Annotated[
    Form,
    typer.Option("--form", help="`shortest`, or `textbook`: each gradient in forward names alone."),
]
Steps = Annotated[bool, typer.Option("--steps", help="Show every step, with what it uses.")]
Latex = Annotated[
    Path | None,
    typer.Option(
        "--latex",
        metavar="FILE",
        help="Write the steps in index notation, as a LaTeX document; `-` is stdout.",
    ),
]


def simplify(
    target: Target,
    start: From = None,
    to: To = None,
    form: Written = Form.SHORTEST,
    steps: Steps = False,
    latex: Latex = None,
    output: Output = None,
    force: Force = False,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Write the backward pass in few short lines, and the steps that lead there."""
    path, _ = split_target(target)
    files = {name: file for name, file in (("--output", output), ("--latex", latex)) if file}
    refuse_files(files, path, force, json)
    result = simplified(derive(traced(target)), start=start, to=to, form=form.value)
    largest = largest_difference(result)
    texts = {
        "--output": lambda: module(result, title_of(target)),
        "--latex": result.latex,
    }
    for name, file in files.items():
        if str(file) == "-":
            write(texts[name]())
        else:
            save(texts[name](), file, source=path, force=force)
    wrote = [str(file) for file in files.values() if str(file) != "-"]
    if json or not files or (steps and "-" not in map(str, files.values())):
        present(result, largest, steps, wrote, json, no_color)
    done = words.shortened(result, largest)
    if steps or latex:
        done += f"\n{words.checked(result)}"
    notes = [*words.notes(result.trace), *words.without_rule(result), *result.notes]
    tell(notes, json, no_color, (f"wrote {' and '.join(wrote)}: " if wrote else "") + done)


def refuse_files(files: dict[str, Path], source: Path, force: bool, json: bool) -> None:
    """Refuse, before any work is done, files that must not be written.

    Raises:
        BadInput: one must not, or more than one thing is to go to stdout.
    """
    places = [str(file) for file in files.values()]
    if places.count("-") + json > 1 or (len(places) > 1 and len({*places}) == 1):
        raise BadInput("two results cannot go to one place", hint="name a file for each")
    for path in files.values():
        if str(path) != "-":
            refuse(path, source, force)


def present(
    result: Simplified, largest: float, steps: bool, wrote: list[str], json: bool, no_color: bool
) -> None:
    """Show the lines, the steps to them first if they were asked for."""

    def rich(width: int):
        from handgrad.render import terminal

        lines = terminal.listing(listing(result).rstrip())
        return terminal.derivation(result.steps, lines, width) if steps else lines

    written = {"written": wrote} if wrote else {}
    show(
        rich=rich,
        plain=lambda: (plain.derivation(result.steps) if steps else "") + listing(result),
        as_data=lambda: {**data.simplified(result, largest), **written},
        json=json,
        no_color=no_color,
    )
