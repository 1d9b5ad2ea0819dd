"""Backpropagation by hand, and provably right."""

from typing import TYPE_CHECKING

from handgrad.lazy import public

if TYPE_CHECKING:
    from handgrad.check import Report, check
    from handgrad.check.function import check_function
    from handgrad.derive import Backward, derive
    from handgrad.errors import HandgradError
    from handgrad.explain import explain
    from handgrad.render.cmp import cmp
    from handgrad.trace import Trace, recording, trace

__all__ = [
    "Backward",
    "HandgradError",
    "Report",
    "Trace",
    "check",
    "check_function",
    "cmp",
    "derive",
    "explain",
    "recording",
    "trace",
]
HOMES = {
    "Backward": "handgrad.derive",
    "HandgradError": "handgrad.errors",
    "Report": "handgrad.check",
    "Trace": "handgrad.trace",
    "check": "handgrad.check",
    "check_function": "handgrad.check.function",
    "cmp": "handgrad.render.cmp",
    "derive": "handgrad.derive",
    "explain": "handgrad.explain",
    "recording": "handgrad.trace",
    "trace": "handgrad.trace",
}

public(__name__, HOMES)
