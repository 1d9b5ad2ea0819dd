"""The commands, put together. A new one is a function, its examples, and a line in COMMANDS."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from handgrad.cli.screen import write

EXAMPLES = {
    "ninja": """
handgrad ninja                            200,000 steps on the built-in names
handgrad ninja --steps 5000               a short training
handgrad ninja --backend eager            each step in PyTorch, and by autograd too
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
handgrad derive --as function net.py:norm     a torch.autograd.Function that saves little
""",
    "simplify": """
handgrad simplify net.py                              few short lines
handgrad simplify net.py --steps                      and how one gets there
handgrad simplify net.py --from logits --to loss      a part of it
handgrad simplify net.py --latex out.tex --form textbook
handgrad simplify net.py --output short.py            a file that runs by itself
""",
    "explain": """
handgrad explain net.py
handgrad explain net.py:layer_norm | less
""",
    "check": """
handgrad check net.py                              forward and backward in one file
handgrad check --forward net.py --backward mine.py in two
handgrad check net.py --only dlogits --all
handgrad check net.py --format github              for CI
""",
    "compile": """
handgrad compile net.py                            the step as native code, and one step done
handgrad compile net.py --show                     the C code
""",
    "watch": """
handgrad watch net.py                              checks again on every save
""",
    "train": """
handgrad train                                  the exercise's network, into run/
handgrad train gpt --steps 2000 --out gpt       another model
handgrad train --resume --out gpt --steps 4000  as if it had never stopped
handgrad train --data words.txt --lr 0.1 --schedule cosine --clip 1
""",
    "sample": """
handgrad sample --from run --count 5
handgrad sample --from run/checkpoints/000001000
""",
    "plot": """
handgrad plot run    also while it is at work
""",
    "doctor": """
handgrad doctor          versions, compiler, what the sandbox holds here
handgrad doctor --json   for a bug report
""",
    "bench": """
handgrad bench                                     all models, 10 to 20 minutes
handgrad bench seed                                the exercise's step: a minute
handgrad bench mlp rnn --batch 1,32 --no-compile   without torch.compile: seconds a row
handgrad bench --output bench                      bench.md with its picture
""",
}

FILES = ("shapes", "derive", "simplify", "explain")

COMMANDS = {
    "ninja": "handgrad.cli.ninja",
    "shapes": "handgrad.cli.passes",
    "derive": "handgrad.cli.passes",
    "simplify": "handgrad.cli.simplifying",
    "explain": "handgrad.cli.passes",
    "check": "handgrad.cli.checking",
    "compile": "handgrad.cli.compiling",
    "watch": "handgrad.cli.watching",
    "train": "handgrad.cli.train",
    "sample": "handgrad.cli.sample",
    "plot": "handgrad.cli.train",
    "doctor": "handgrad.cli.doctor",
    "bench": "handgrad.cli.bench",
}


def application(given: Sequence[str] = ()) -> typer.Typer:
    """Return the application with the command that the arguments name; with all, if they name none.

    Some commands import torch, which takes long; others must not wait for it.
    """
    named = [word for word in given[:1] if word in COMMANDS]
    app = typer.Typer(
        name="handgrad",
        help="Backpropagation by hand, and provably right.",
        epilog=examples("handgrad ninja", *(f"handgrad {name} net.py" for name in FILES)),
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True)(root)
    for name in named or COMMANDS:
        lines = EXAMPLES[name].strip().splitlines()
        app.command(epilog=examples(*lines))(getattr(import_module(COMMANDS[name]), name))
    return app


def examples(*lines: str) -> str:
    """Return example calls for the end of a help text, where a backspace keeps line breaks."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        from importlib.metadata import version

        write(f"handgrad {version('handgrad')}\n")
        raise typer.Exit


def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Backpropagation by hand, and provably right."""
    if context.invoked_subcommand is None:
        write(context.get_help() + "\n")
