"""Backpropagation by hand, and provably right."""

from typing import TYPE_CHECKING

from handgrad import nn
from handgrad.lazy import public

if TYPE_CHECKING:
    from handgrad.check import Report, check
    from handgrad.check.function import check_function
    from handgrad.derive import Backward, derive
    from handgrad.emit.function import function
    from handgrad.errors import HandgradError
    from handgrad.explain import explain
    from handgrad.native import Compiled, compile
    from handgrad.render.cmp import cmp
    from handgrad.simplify import Simplified, simplify
    from handgrad.trace import Trace, recording, trace

__all__ = [
    "Backward",
    "Compiled",
    "HandgradError",
    "Report",
    "Simplified",
    "Trace",
    "check",
    "check_function",
    "cmp",
    "compile",
    "derive",
    "explain",
    "function",
    "nn",
    "recording",
    "simplify",
    "trace",
]
HOMES = {
    "Backward": "handgrad.derive",
    "Compiled": "handgrad.native",
    "HandgradError": "handgrad.errors",
    "Report": "handgrad.check",
    "Simplified": "handgrad.simplify",
    "Trace": "handgrad.trace",
    "check": "handgrad.check",
    "check_function": "handgrad.check.function",
    "cmp": "handgrad.render.cmp",
    "compile": "handgrad.native",
    "derive": "handgrad.derive",
    "explain": "handgrad.explain",
    "function": "handgrad.emit.function",
    "recording": "handgrad.trace",
    "simplify": "handgrad.simplify",
    "trace": "handgrad.trace",
}

public(__name__, HOMES)
