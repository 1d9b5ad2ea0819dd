"""Which readings of a tensor only show it: no number of what is drawn comes back."""

from __future__ import annotations

import ast
import types
from typing import Any

from handgrad.trace.calls import Called
from handgrad.trace.source import place_of

DRAWING = {"matplotlib", "mpl_toolkits", "seaborn", "plotly", "bokeh", "PIL", "tqdm", "rich"}


def only_shows(called: Called) -> bool:
    """Tell whether a call is made to draw: by a library that does, or in a statement of its own."""
    if any(home_of(frame.f_globals.get("__name__")) in DRAWING for frame in called.frames):
        return True
    frame, statement = called.frames[0], place_of(called.frames[0]).statement
    node: Any = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(node, ast.Call):
        return False
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    thing = {**frame.f_globals, **frame.f_locals}.get(getattr(node, "id", ""))
    named = thing.__name__ if isinstance(thing, types.ModuleType) else type(thing).__module__
    return home_of(named) in DRAWING


def home_of(name: Any) -> str:
    """Return the package of a module's name."""
    return str(name).partition(".")[0]
