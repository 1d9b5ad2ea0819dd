"""Check: what a person's gradients are worth, a verdict for each."""

from handgrad.check.compare import check, compare
from handgrad.check.report import Report, Row, Verdict

__all__ = ["Report", "Row", "Verdict", "check", "compare"]
