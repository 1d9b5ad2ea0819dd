"""The entry point: run a command, and turn whatever goes wrong into a message and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

import typer

from handgrad.cli.app import application
from handgrad.cli.screen import ERROR, say, write
from handgrad.errors import BadInput, HandgradError
from handgrad.render import data

INTERRUPTED = 130
PIPE_CLOSED = 141  # what a shell reports of a program that wrote to a closed pipe

(UsageError,) = typer.BadParameter.__bases__


def main(argv: Sequence[str] | None = None) -> int:
    """Run `handgrad` with these arguments, or the process' own, and return its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # not every stream is a file
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        run(given)
        sys.stdout.flush()
    except typer.Exit as done:
        return done.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        return report(as_handgrad(error), given)
    return 0


def run(given: list[str]) -> None:
    """Parse the arguments and run the command."""
    command = typer.main.get_command(application(given))
    with command.make_context("handgrad", given) as context:
        command.invoke(context)


def as_handgrad(error: Exception) -> HandgradError:
    """Return any failure in the house's form; what nobody foresaw is a bug."""
    if isinstance(error, HandgradError):
        return error
    if isinstance(error, UsageError):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "handgrad"
        found = BadInput(
            error.format_message().rstrip("."),  # pyright: ignore[reportAttributeAccessIssue]
            where=path,
            hint=f"{path} --help",
        )
    else:
        first = str(error).partition("\n")[0]
        found = HandgradError(
            f"a bug in handgrad: {type(error).__name__}: {first}".rstrip(": "),
            hint="run it again with --debug, and report what that prints",
        )
    return found.with_traceback(error.__traceback__)


def report(error: HandgradError, given: Sequence[str]) -> int:
    """Tell what went wrong, on stderr, or on stdout as JSON; return the exit code."""
    if "--debug" in given:
        whole = error.__cause__ or error
        write("".join(traceback.format_exception(whole)), sys.stderr)
    if "--json" in given:
        write(data.text(error.to_dict()))
    else:
        say(error.message, ERROR, no_color="--no-color" in given)
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    return error.exit_code
