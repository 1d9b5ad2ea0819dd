"""Diagnose: say why a gradient is wrong, where a transformation of it proves the reason."""

from __future__ import annotations

from handgrad.check.judge import Judge, Local
from handgrad.check.report import Diagnosis

__all__ = ["diagnose"]


def diagnose(judge: Judge, local: Local, name: str) -> Diagnosis | None:
    """Return the first suspect whose transformation of the user's value gives the truth.

    Args:
        judge: the forward pass and the user's statements.
        local: the gradient, computed alone, with what it should be.
        name: the gradient's name, `dlogits`.
    """
    return None
