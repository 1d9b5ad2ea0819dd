"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Target = Annotated[
    str,
    typer.Argument(
        metavar="FILE[:FUNCTION]",
        show_default=False,
        help="A Python file. Its top level is the forward pass if it makes `loss`; else its "
        "function `forward`, its module `model`, or the FUNCTION named here, called with the "
        "file's own names.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, errors too.")]
NoColor = Annotated[
    bool, typer.Option("--no-color", help="No colour, as with the variable NO_COLOR.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of any error.")]
