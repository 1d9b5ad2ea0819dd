"""Check: what a person's gradients are worth, a verdict for each."""

from typing import TYPE_CHECKING

from handgrad.lazy import public

if TYPE_CHECKING:
    from handgrad.check.compare import compare
    from handgrad.check.report import Diagnosis, Report, Row, Verdict
    from handgrad.check.ways import check, check_file

__all__ = ["Diagnosis", "Report", "Row", "Verdict", "check", "check_file", "compare"]
HOMES = {
    "Diagnosis": "handgrad.check.report",
    "Report": "handgrad.check.report",
    "Row": "handgrad.check.report",
    "Verdict": "handgrad.check.report",
    "check": "handgrad.check.ways",
    "check_file": "handgrad.check.ways",
    "compare": "handgrad.check.compare",
}

public(__name__, HOMES)
