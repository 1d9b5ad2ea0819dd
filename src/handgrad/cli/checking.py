"""`handgrad check`: is each line of a hand-written backward pass right, and if not, why."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handgrad.check.frame import Checked, checked
from handgrad.check.sandbox import GIB, Limits, Sandbox, Target, check_apart
from handgrad.cli.options import Debug, Json, NoColor
from handgrad.cli.screen import aside, show, write
from handgrad.errors import BadInput, HandgradError

if TYPE_CHECKING:
    from handgrad.render.verdicts import Shown

FORMATS = ("junit", "github")
PROC = Path("/proc/self/stat")

File = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE[:FUNCTION]",
        show_default=False,
        help="A Python file with a forward pass and its hand-written backward pass; FUNCTION is "
        "the forward pass, where that is a function.",
    ),
]
Forward = Annotated[
    str | None,
    typer.Option(
        "--forward",
        metavar="FILE[:FUNCTION]",
        show_default=False,
        help="The forward pass, where it is in another file.",
    ),
]
Backward = Annotated[
    str | None,
    typer.Option(
        "--backward", metavar="FILE", show_default=False, help="The backward pass, likewise."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only", metavar="NAME", show_default=False, help="Show one gradient; may be repeated."
    ),
]
All = Annotated[bool, typer.Option("--all", help="Show the lines of correct gradients too.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        show_default=False,
        help="JUnit's XML, or GitHub's workflow commands.",
    ),
]
Time = Annotated[float, typer.Option("--time", metavar="SECONDS", help="How long it may run.")]
Memory = Annotated[float, typer.Option("--memory", metavar="GIB", help="How much it may hold.")]
NoSandbox = Annotated[
    bool,
    typer.Option("--no-sandbox", help="Run the file without limits, with all your rights."),
]


def check(
    file: File = None,
    forward: Forward = None,
    backward: Backward = None,
    only: Only = None,
    all: All = False,
    format: Format = None,
    time: Time = 60.0,
    memory: Memory = 4.0,
    no_sandbox: NoSandbox = False,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Check a backward pass, each line alone, and say why a line is wrong."""
    if format is not None and format not in FORMATS:
        raise BadInput(f"no format {format}", hint=f"--format {' or --format '.join(FORMATS)}")
    target, limits = chosen(file, forward, backward), limited(time, memory)
    try:
        result = here(target) if no_sandbox or not PROC.exists() else apart(target, limits)
        result = narrowed(result, only or [])
    except HandgradError as error:
        if format is not None:
            write(formatted_error(error, target.backward, format))
        raise
    from handgrad.render.verdicts import Shown

    present(Shown(result, target.backward, all=all), format, json, no_color)
    if result.report.exit_code:
        raise typer.Exit(result.report.exit_code)


def chosen(file: str | None, forward: str | None, backward: str | None) -> Target:
    """Return which files are meant.

    Raises:
        BadInput: there are too few or too many.
    """
    if file is not None and backward is not None:
        raise BadInput(
            f"the backward pass is in {file} or in {backward}?", hint="leave out one of the two"
        )
    named = file or backward
    if named is None:
        raise BadInput("no file to check", hint="handgrad check FILE")
    if forward is None:
        path, function = split(named)
        return Target(path, named if function else None)
    return Target(named, forward)


def split(target: str) -> tuple[str, str | None]:
    """Split `FILE:FUNCTION`; a colon that is part of the path stays there."""
    head, colon, tail = target.rpartition(":")
    if not colon or Path(target).exists() or not tail.isidentifier():
        return target, None
    return head, tail


def limited(seconds: float, memory: float) -> Limits:
    """Return the limits that were asked for.

    Raises:
        BadInput: one of them is none.
    """
    if not 0.1 <= seconds <= 86_400:
        raise BadInput(f"--time {seconds:g} is no limit", hint="between 0.1 and 86400 seconds")
    if not 1 <= memory <= 1_000_000:
        raise BadInput(f"--memory {memory:g} is no limit", hint="at least 1 GiB: torch takes half")
    return Limits(seconds, int(memory * GIB))


def apart(target: Target, limits: Limits) -> Checked:
    """Check in a process of its own; what the file prints goes to stderr."""
    with Sandbox() as sandbox:
        return check_apart(target, limits, sandbox, prints, meanwhile=preload)


def prints(text: str) -> None:
    """Pass on what the file printed."""
    from handgrad.render.words import left_of

    text = left_of(text)
    if text:
        write(text if text.endswith("\n") else text + "\n", sys.stderr)


def preload() -> None:
    """Import what shows the result, while the other process is busy."""
    if sys.stdout.isatty():
        import handgrad.render.checking
    import handgrad.render.checked  # noqa: F401


def here(target: Target) -> Checked:
    """Check with all the rights that the person has, in this process where it cannot be forked."""
    if PROC.exists():
        from handgrad.check.unlimited import check_here

        return check_here(target)
    from handgrad.check.judging import result

    with aside():
        return checked(result(target.backward, target.forward))


def narrowed(result: Checked, only: list[str]) -> Checked:
    """Keep the gradients that were asked for.

    Raises:
        BadInput: there is none of a name.
    """
    if not only:
        return result
    names = [row.name for row in result.report.rows]
    wanted = [name if name in names else f"d{name}" for name in only]
    for asked, name in zip(only, wanted, strict=True):
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"--only {close[0]}" if close else f"it has {', '.join(names)}"
            raise BadInput(f"the backward pass makes no gradient {asked}", hint=hint)
    rows = tuple(row for row in result.report.rows if row.name in wanted)
    return replace(result, report=replace(result.report, rows=rows))


def present(shown: Shown, format: str | None, json: bool, no_color: bool) -> None:
    """Show a result."""
    from handgrad.render import checked as text

    formats: dict[str | None, Callable[[Shown], str]] = {
        "junit": text.junit,
        "github": text.github,
    }
    if format is not None:
        write(formats[format](shown))
        return

    def rich(_: int):
        from handgrad.render.checking import Check

        return Check(shown)

    show(
        rich=rich,
        plain=lambda: text.plain(shown),
        as_data=lambda: text.as_data(shown),
        json=json,
        no_color=no_color,
    )


def formatted_error(error: HandgradError, file: str, format: str) -> str:
    """Return an error in a format for machines."""
    from handgrad.render import checked as text

    return (text.junit_error if format == "junit" else text.github_error)(error, file)
