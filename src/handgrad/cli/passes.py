"""`handgrad shapes`, `derive` and `explain`: what there is to see of one forward pass."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from handgrad.cli.functions import write_function
from handgrad.cli.options import Debug, Json, NoColor, Target
from handgrad.cli.save import save
from handgrad.cli.screen import aside, show, tell, write
from handgrad.derive import Backward
from handgrad.derive import derive as derived
from handgrad.emit import listing, module
from handgrad.explain import explain as explained
from handgrad.render import data, plain, words
from handgrad.trace import Trace
from handgrad.trace.files import split_target, trace_file


def shapes(
    target: Target, json: Json = False, no_color: NoColor = False, debug: Debug = False
) -> None:
    """Show every forward line with its shapes."""
    trace = traced(target)

    def rich(_: int):
        from handgrad.render.terminal import Shapes

        return Shapes(trace)

    show(
        rich=rich,
        plain=lambda: plain.shapes(trace),
        as_data=lambda: data.shapes(trace),
        json=json,
        no_color=no_color,
    )
    tell(words.notes(trace), json, no_color)


Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write a whole file, forward and backward pass, that needs nothing but torch; "
        "`-` is stdout.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that handgrad did not write.")]


class Form(StrEnum):
    """What `derive` writes."""

    LINES = "lines"
    FUNCTION = "function"


As = Annotated[
    Form,
    typer.Option(
        "--as", help="`lines` to read, or a torch.autograd `function` that saves few tensors."
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse an op that has no rule.")]


def derive(
    target: Target,
    form: As = Form.LINES,
    output: Output = None,
    strict: Strict = False,
    force: Force = False,
    json: Json = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Write the backward pass, a line for each gradient, or the Function that it makes."""
    if form is Form.FUNCTION:
        write_function(target, output, strict, force, json, no_color)
        return
    backward = derived(traced(target), strict=strict)
    largest = largest_difference(backward)
    wrote = ""
    if output is not None:
        path, _ = split_target(target)
        text = module(backward, title_of(target))
        if str(output) == "-" and not json:
            write(text)
        else:
            save(text, output, source=path, force=force)
            wrote = str(output)
    if output is None or json:
        present(backward, largest, wrote, json, no_color)
    done = (f"wrote {wrote}: " if wrote else "") + words.agreement(backward, largest)
    tell([*words.notes(backward.trace), *words.without_rule(backward)], json, no_color, done)


def present(backward: Backward, largest: float, wrote: str, json: bool, no_color: bool) -> None:
    """Show the lines of a backward pass."""

    def rich(_: int):
        from handgrad.render import terminal

        return terminal.listing(listing(backward).rstrip())

    written = {"written": wrote} if wrote else {}
    show(
        rich=rich,
        plain=lambda: listing(backward),
        as_data=lambda: {**data.backward(backward, largest), **written},
        json=json,
        no_color=no_color,
    )


def explain(
    target: Target, json: Json = False, no_color: NoColor = False, debug: Debug = False
) -> None:
    """Say of each backward line why it is what it is."""
    backward = derived(traced(target))
    reasons = explained(backward)

    def rich(width: int):
        from handgrad.render import terminal

        return terminal.explanation(reasons, width)

    show(
        rich=rich,
        plain=lambda: plain.explanation(reasons),
        as_data=lambda: data.explanation(reasons),
        json=json,
        no_color=no_color,
    )
    tell([*words.notes(backward.trace), *words.without_rule(backward)], json, no_color)


def traced(target: str) -> Trace:
    """Trace a file; what it prints goes to stderr."""
    with aside():
        return trace_file(target)


def largest_difference(backward: Backward) -> float:
    """Run the lines and return how far any entry of any gradient is from autograd's."""
    got, grads = backward.run(), backward.trace.grads
    pairs = [(got[each.name], grads[each.primal]) for each in backward.lines if each.primal]
    return max((float((a - b).abs().max()) for a, b in pairs if b.numel()), default=0.0)


def title_of(target: str) -> str:
    """Return the file and function for the docstring; empty if they would not fit into one."""
    path, function = split_target(target)
    title = f"{function} in {path.name}" if function else path.name
    return title if title.isascii() and title.isprintable() and not set(title) & {'"', "\\"} else ""
