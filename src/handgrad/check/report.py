"""What a check found, a row for each gradient."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

from handgrad.escape import escaped


class Verdict(StrEnum):
    """What one gradient is worth; only the first two are good."""

    CORRECT = "correct"
    ROUNDING = "correct, rounding only"
    WRONG = "wrong"
    SHAPE = "right value, wrong shape"
    TO_DO = "to do"
    UNTESTED = "untested"
    UNCONFIRMED = "cannot confirm"

    @property
    def good(self) -> bool:
        """Tell whether the gradient is right."""
        return self in (Verdict.CORRECT, Verdict.ROUNDING)


@dataclass(frozen=True)
class Diagnosis:
    """Why a gradient is wrong.

    Attributes:
        kind: the class of the mistake, `sign` or `accumulate`.
        text: one sentence in the user's names.
        proof: what was computed that shows it.
        suggestion: one line to try.
    """

    kind: str
    text: str
    proof: str
    suggestion: str = ""


@dataclass(frozen=True)
class Row:
    """One gradient, judged.

    Attributes:
        name: `dlogits`.
        verdict: what it is worth.
        line: the line that made it, where known; the guilty one if it is wrong.
        number: that line's number in the file.
        shape: its shape, None where there is no tensor.
        expected_shape: the shape of the primal.
        exact: whether every entry equals autograd's.
        approximate: whether `torch.allclose` holds, as in the notebook.
        maxdiff: the largest difference of an entry from autograd's.
        note: what was measured, where the verdict needs a word.
        inherits: whether an earlier line is the cause.
        diagnosis: what is wrong, proved, or None.
    """

    name: str
    verdict: Verdict
    line: str = ""
    number: int = 0
    shape: tuple[int, ...] | None = None
    expected_shape: tuple[int, ...] = ()
    exact: bool = False
    approximate: bool = False
    maxdiff: float = float("nan")
    note: str = ""
    inherits: bool = False
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True)
class Report:
    """All rows of a check.

    Attributes:
        rows: one for each gradient, in the order of the lines.
        supplied: gradients that were read and never assigned, given from the trace.
        told: what was called on which inputs, where the file calls nothing itself.
    """

    rows: tuple[Row, ...]
    supplied: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Tell whether every gradient is right."""
        return all(row.verdict.good for row in self.rows)

    @property
    def exit_code(self) -> int:
        """Return 0 if all are right, 1 if one is wrong or missing, 5 if one is not decided."""
        bad = (Verdict.WRONG, Verdict.SHAPE, Verdict.TO_DO)
        if any(row.verdict in bad for row in self.rows):
            return 1
        return 0 if self.ok else 5

    def to_dict(self) -> dict[str, Any]:
        """Return the rows as plain data."""
        return {
            "ok": self.ok,
            "supplied": list(self.supplied),
            "told": list(self.told),
            "rows": [
                {
                    "name": row.name,
                    "verdict": row.verdict.value,
                    "shape": None if row.shape is None else list(row.shape),
                    "expected_shape": list(row.expected_shape),
                    "exact": row.exact,
                    "approximate": row.approximate,
                    "maxdiff": row.maxdiff if isfinite(row.maxdiff) else None,
                    "note": row.note,
                    "line": row.line,
                    "number": row.number,
                    "inherits": row.inherits,
                    "diagnosis": None if row.diagnosis is None else asdict(row.diagnosis),
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        width = max((len(row.name) for row in self.rows), default=0)
        return "\n".join(
            f"{row.name:{width}s} | {row.verdict.value}{escaped(f' | {row.note}') * bool(row.note)}"
            for row in self.rows
        )
