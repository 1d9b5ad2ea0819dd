"""Check: what a person's gradients are worth, a verdict for each."""

from handgrad.check.compare import compare
from handgrad.check.report import Diagnosis, Report, Row, Verdict
from handgrad.check.ways import check, check_file

__all__ = ["Diagnosis", "Report", "Row", "Verdict", "check", "check_file", "compare"]
