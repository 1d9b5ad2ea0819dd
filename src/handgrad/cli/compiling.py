"""`handgrad compile`: a forward pass with its backward pass as native code."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from handgrad.cli.options import Debug, Json, NoColor, Target
from handgrad.cli.passes import tell, traced
from handgrad.cli.screen import show
from handgrad.native.compiled import Compiled, from_backward
from handgrad.native.lower.update import Rule
from handgrad.native.making import in_lines
from handgrad.nn import SGD
from handgrad.patience import patience
from handgrad.render import words

Show = Annotated[bool, typer.Option("--show", help="Print the C code.")]


def compile(
    target: Target,
    show_code: Show = False,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Compile a training step to native code, and do one step."""
    trace = traced(target)
    with patience("deriving, compiling", no_color):
        backward = in_lines(trace, None)
        values = {name: value.clone() for name, value in trace.values.items()}
        made = from_backward(backward, values, Rule(SGD()), warn=False)
    loss = float(made.step())

    def text() -> str:
        return made.source if show_code else summary(made, loss)

    show(
        rich=lambda _: text().rstrip(),
        plain=text,
        as_data=lambda: facts(made, loss),
        json=json,
        no_color=no_color,
    )
    notes = [*words.notes(backward.trace), *([made.note] if made.note else [])]
    tell(notes, json, no_color)


def facts(made: Compiled, loss: float) -> dict[str, Any]:
    """Return what was compiled as plain data."""
    return {
        "backend": made.backend,
        "loss": loss,
        "parameters": list(made.leaves),
        "batch": list(made.batch_names),
        "bytes": made.unit.arena if made.unit else 0,
        "note": made.note,
        "source": made.source,
    }


def summary(made: Compiled, loss: float) -> str:
    """Say in a few lines what was compiled."""
    if made.unit is None:
        return f"loss {loss:.6g} after one eager step\n"
    lines = len(made.source.splitlines())
    return (
        f"native step: {lines} lines of C, {made.unit.arena} bytes of its own\n"
        f"trains {', '.join(made.leaves)}\n"
        f"loss {loss:.6g} of one step\n"
    )
