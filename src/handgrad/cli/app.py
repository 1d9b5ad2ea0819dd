"""The commands, put together. A new one is a function, its examples, and a line in COMMANDS."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from handgrad.cli import passes
from handgrad.cli.ninja import ninja

EXAMPLES = {
    "ninja": """
handgrad ninja                            20,000 steps on the built-in names
handgrad ninja --steps 200000             as long as the published exercise
handgrad ninja --data words.txt -o mine   on words of your own
""",
    "shapes": """
handgrad shapes net.py             the top level, or forward()
handgrad shapes net.py:attention   one function of the file
handgrad shapes net.py | grep W1   plain columns in a pipe
""",
    "derive": """
handgrad derive net.py                        look at it
handgrad derive net.py --output backward.py   a file that runs by itself
handgrad derive net.py --strict --json        for a machine, no gaps
""",
    "explain": """
handgrad explain net.py
handgrad explain net.py:layer_norm | less
""",
}

FILES = ("shapes", "derive", "explain")

COMMANDS: tuple[Callable[..., Any], ...] = (ninja, passes.shapes, passes.derive, passes.explain)


def application() -> typer.Typer:
    """Return the application with all its commands."""
    app = typer.Typer(
        name="handgrad",
        help="Backpropagation by hand, and provably right.",
        epilog=examples("handgrad ninja", *(f"handgrad {name} net.py" for name in FILES)),
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True)(root)
    for command in COMMANDS:
        lines = EXAMPLES[command.__name__].strip().splitlines()
        app.command(epilog=examples(*lines))(command)
    return app


def examples(*lines: str) -> str:
    """Return example calls for the end of a help text, where a backspace keeps line breaks."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"handgrad {version('handgrad')}\n")
        raise typer.Exit


def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Backpropagation by hand, and provably right."""
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")
