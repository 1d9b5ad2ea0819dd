"""Trace: from plain PyTorch lines to a program, its values, and autograd's gradients."""

from typing import TYPE_CHECKING

from handgrad.lazy import public

if TYPE_CHECKING:
    from handgrad.trace.result import ShapeRow, Trace
    from handgrad.trace.ways import recording, trace

__all__ = ["ShapeRow", "Trace", "recording", "trace"]
HOMES = {
    "ShapeRow": "handgrad.trace.result",
    "Trace": "handgrad.trace.result",
    "recording": "handgrad.trace.ways",
    "trace": "handgrad.trace.ways",
}

public(__name__, HOMES)
