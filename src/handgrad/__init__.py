"""Backpropagation by hand, and provably right."""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handgrad.check import Report, check
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
    "cmp": "handgrad.render.cmp",
    "derive": "handgrad.derive",
    "explain": "handgrad.explain",
    "recording": "handgrad.trace",
    "trace": "handgrad.trace",
}


class Public(ModuleType):
    """The package: a public name is imported when it is first asked for.

    Importing a submodule binds its name here (`handgrad.trace`, the package); the public function
    of that name comes first.
    """

    def __getattribute__(self, name: str) -> Any:
        if name in HOMES:
            return getattr(import_module(HOMES[name]), name)
        return super().__getattribute__(name)


sys.modules[__name__].__class__ = Public
