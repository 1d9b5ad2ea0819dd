"""Backpropagation by hand, and provably right."""

from handgrad.derive import Backward, derive
from handgrad.errors import HandgradError
from handgrad.explain import explain
from handgrad.trace import Trace, recording, trace

__all__ = ["Backward", "HandgradError", "Trace", "derive", "explain", "recording", "trace"]
