"""Trace: from plain PyTorch lines to a program, its values, and autograd's gradients."""

from handgrad.trace.result import ShapeRow, Trace
from handgrad.trace.ways import recording, trace

__all__ = ["ShapeRow", "Trace", "recording", "trace"]
