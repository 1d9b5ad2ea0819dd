"""Packages whose public names are imported when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def public(package: str, homes: Mapping[str, str]) -> None:
    """Let a package import each of its public names when it is first asked for.

    Importing a submodule binds its name in the package (`handgrad.trace`); a public name comes
    first.

    Args:
        package: its name.
        homes: where each public name is defined.
    """

    class Public(ModuleType):
        """The package."""

        def __getattribute__(self, name: str) -> Any:
            if name in homes:
                return getattr(import_module(homes[name]), name)
            return super().__getattribute__(name)

    sys.modules[package].__class__ = Public
