"""Derive: from a traced forward program to the lines of its backward pass, checked."""

from handgrad.derive.backward import Backward, BackwardLine, derive
from handgrad.derive.sweep import Contribution, Passage, Sweep

__all__ = ["Backward", "BackwardLine", "Contribution", "Passage", "Sweep", "derive"]
