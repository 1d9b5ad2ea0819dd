"""Diagnose: say why a gradient is wrong, where a transformation of it proves the reason."""

from __future__ import annotations

from collections.abc import Callable

from handgrad.check.diagnose.algebra import missing_term
from handgrad.check.diagnose.case import Case
from handgrad.check.diagnose.factors import drawn_anew, flipped, offset, scaled
from handgrad.check.diagnose.facts import facts
from handgrad.check.diagnose.operands import local_factor, other_gradient
from handgrad.check.diagnose.paths import (
    factor_on_use,
    held_constant,
    missing_use,
    no_upstream,
)
from handgrad.check.diagnose.raised import diagnose_error
from handgrad.check.diagnose.repair import broken_derived, one_edit
from handgrad.check.diagnose.shapes import (
    missing_keepdim,
    missing_sum,
    not_expanded,
    scrambled,
    transposed,
    uncropped,
)
from handgrad.check.diagnose.structure import (
    diagonal_only,
    other_pattern,
    repeated_lost,
    should_be_zero,
)
from handgrad.check.judge import Judge, Local
from handgrad.check.report import Diagnosis

__all__ = ["diagnose", "diagnose_error", "facts"]

Suspect = Callable[[Case], Diagnosis | None]
SUSPECTS: tuple[Suspect, ...] = (
    missing_keepdim,
    missing_sum,
    not_expanded,
    uncropped,
    transposed,
    flipped,
    scaled,
    drawn_anew,
    offset,
    missing_use,
    factor_on_use,
    no_upstream,
    should_be_zero,
    other_pattern,
    repeated_lost,
    local_factor,
    held_constant,
    other_gradient,
    one_edit,
    diagonal_only,
    scrambled,
    broken_derived,
    missing_term,
)


def diagnose(judge: Judge, local: Local, name: str) -> Diagnosis | None:
    """Return the first suspect whose transformation of the user's value gives the truth.

    Args:
        judge: the forward pass and the user's statements.
        local: the gradient, computed alone, with what it should be.
        name: the gradient's name, `dlogits`.
    """
    case = Case(judge, local, name)
    for suspect in SUSPECTS:
        if (diagnosis := suspect(case)) is not None:
            return diagnosis
    return None
