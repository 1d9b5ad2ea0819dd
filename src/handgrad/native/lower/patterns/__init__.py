"""How ops are lowered that index notation does not describe, by the name of their row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handgrad.native.lower.patterns.choice import CHOICE
from handgrad.native.lower.patterns.equals import EQUALS
from handgrad.native.lower.patterns.given import Given
from handgrad.native.lower.patterns.indexing import INDEXING
from handgrad.native.lower.patterns.layout import LAYOUT
from handgrad.native.lower.patterns.windows import WINDOWS

PATTERNS: dict[str, Callable[[Given], Any]] = {**LAYOUT, **INDEXING, **CHOICE, **WINDOWS}

__all__ = ["EQUALS", "PATTERNS"]
