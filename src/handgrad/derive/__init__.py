"""Derive: from a traced forward program to the lines of its backward pass, checked."""

from handgrad.derive.backward import Backward, BackwardLine
from handgrad.derive.sweep import Contribution, Passage, Sweep
from handgrad.derive.writing import derive

__all__ = ["Backward", "BackwardLine", "Contribution", "Passage", "Sweep", "derive"]
