"""From what was judged to a report: a row for each gradient, in the order of the lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from functools import cache
from typing import Any

import torch

from handgrad.check.blame import common, guilty, raised_by
from handgrad.check.branches import untested
from handgrad.check.compare import notebook, verdict_of
from handgrad.check.culprit import first_of_dtype
from handgrad.check.diagnose import diagnose, diagnose_error, facts
from handgrad.check.judge import Judge, Local, distance
from handgrad.check.pack import type_name
from handgrad.check.report import Diagnosis, Report, Row, Verdict
from handgrad.check.run import Failure, Write
from handgrad.check.runner import narrow
from handgrad.check.scale import in_double, largest, scales


def assess(judge: Judge) -> Report:
    """Judge every gradient that the backward pass writes, and list those it leaves out."""
    exact = in_double(judge.trace)
    sizes = cache(lambda: scales(judge.trace))  # the summands are looked at where sizes are asked
    rows: dict[str, Row] = {}
    misled = set[str]()
    names = [n for n in judge.run.writes if judge.primal(n) is not None]
    names.sort(key=lambda n: judge.run.writes[n][-1].statement)
    for name in names:
        primal = judge.primal(name)
        assert primal is not None
        assessor = Assessor(judge, primal, sizes, exact[primal], misled)
        row = rows[name] = assessor.row(name, primal)
        wrong = not row.verdict.good and row.verdict is not Verdict.UNTESTED
        if wrong or row.inherits or assessor.misled(name):
            misled.add(name)
    rows |= at_common_lines(judge, rows)
    rows |= told_already(judge, rows)
    left_out = [
        Row("d" + leaf, Verdict.TO_DO, expected_shape=tuple(judge.trace.values[leaf].shape))
        for leaf in judge.trace.leaves
        if leaf in judge.trace.grads
        and "d" + leaf not in rows
        and not any(judge.primal(n) == leaf for n in rows)
    ]
    return Report((*rows.values(), *left_out), tuple(judge.run.supplied))


def at_common_lines(judge: Judge, rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return the wrong rows that share a line of which nothing right is made, at that line."""
    bad = (Verdict.WRONG, Verdict.SHAPE)
    last = {n: judge.body[judge.run.writes[n][-1].statement].line for n in rows}
    wrong = [n for n, r in rows.items() if r.verdict in bad and r.number == last[n]]
    right = [n for n, r in rows.items() if r.verdict.good]
    return {
        n: replace(rows[n], line=judge.body[place].first_line, number=judge.body[place].line)
        for n, place in common(judge, wrong, right).items()
    }


def told_already(judge: Judge, rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return the wrong rows whose one proved mistake is another row's, as inheriting it."""
    first: dict[tuple[int, Diagnosis], str] = {}
    found: dict[str, Row] = {}
    for name, row in rows.items():
        own = judge.body[judge.run.writes[name][-1].statement]
        if row.verdict.good or row.diagnosis is None or row.number == own.line:
            continue
        told = first.setdefault((row.number, row.diagnosis), name)
        if told != name:
            found[name] = replace(
                row,
                verdict=Verdict.CORRECT,
                inherits=True,
                diagnosis=None,
                note=f"inherits the mistake of line {row.number}",
                line=own.first_line,
                number=own.line,
            )
    return found


class Assessor:
    """Judge one gradient, knowing which before it are wrong or come from a wrong one."""

    def __init__(
        self,
        judge: Judge,
        primal: str,
        sizes: Callable[[], Mapping[str, float]],
        exact: torch.Tensor,
        wrong: Set[str],
    ) -> None:
        self.judge, self.primal, self.sizes = judge, primal, sizes
        self.exact, self.wrong = exact, wrong

    @property
    def scale(self) -> float:
        """Return how large the summands of the gradient are."""
        return self.sizes()[self.primal]

    def verdict(self, given: torch.Tensor, truth: torch.Tensor) -> tuple[Verdict, str]:
        """Return the verdict on a value: against its own size, and else that of its summands."""
        found = verdict_of(given, truth, self.exact, largest(truth))
        if found[0].good:
            return found
        return verdict_of(given, truth, self.exact, self.scale)

    def row(self, name: str, primal: str) -> Row:
        """Return the row of one gradient."""
        judge = self.judge
        truth = judge.trace.grads[primal]
        chain = judge.chain(name)
        given = chain[-1].value
        row = self.placed(Row(name, Verdict.WRONG, expected_shape=tuple(truth.shape)), chain[-1])
        failed = next((f for f in judge.run.failures if f.statement in judge.slice_of(name)), None)
        if failed is not None:
            return self.failed(row, name, failed)
        if given is None:
            return replace(row, verdict=Verdict.TO_DO)
        tensor = as_tensor(given)
        if tensor is None:
            return replace(row, note=f"{name} is of type {type_name(given)}, not a tensor")
        exact, approximate, maxdiff = notebook(tensor, truth)
        row = replace(
            row, shape=tuple(tensor.shape), exact=exact, approximate=approximate, maxdiff=maxdiff
        )
        return self.judged(row, name, tensor, truth)

    def failed(self, row: Row, name: str, failure: Failure) -> Row:
        """Return the row of a gradient whose statement raised: by its own mistake, or another's."""
        local = self.judge.local(name)
        if local.right and self.misled(name):
            note = f"raised {failure.error}, by a mistake above"
            return replace(row, verdict=Verdict.CORRECT, inherits=True, note=note)
        text = self.judge.body[failure.statement]
        if not local.error and self.misled(name):
            row = self.at(row, guilty(self.judge, name, local.name))
            diagnosis = diagnose(self.judge, local, name)
            return replace(row, diagnosis=diagnosis, note="" if diagnosis else facts(local))
        diagnosis = diagnose_error(self.judge, name, failure.statement, failure.error)
        row = self.at(row, raised_by(self.judge, name, local.name, failure.statement))
        return replace(row, diagnosis=diagnosis, note=f"line {text.line} raised {failure.error}")

    def misled(self, name: str) -> bool:
        """Tell whether a gradient reads another that is not right as it ran."""
        places = self.judge.slice_of(name)
        read = self.judge.candidates(name, places)
        start = min(places, default=0)
        spoilt = any(self.judge.victims.get(r, start) < start for r in read)
        return spoilt or not self.wrong.isdisjoint(read)

    def placed(self, row: Row, write: Write) -> Row:
        """Return a row at the statement of a write."""
        return self.at(row, write.statement)

    def at(self, row: Row, place: int) -> Row:
        """Return a row at a statement."""
        statement = self.judge.body[place]
        return replace(row, line=statement.first_line, number=statement.line)

    def judged(self, row: Row, name: str, given: torch.Tensor, truth: torch.Tensor) -> Row:
        """Return the row with its verdict: structure first, then the value alone."""
        touched = self.shared_memory(name)
        if touched is not None:
            write, diagnosis = touched
            return replace(self.placed(row, write), diagnosis=diagnosis)
        if not self.judge.points:
            return self.by_value(row, given, truth)
        local = self.judge.local(name)
        if local.error:
            return replace(row, verdict=Verdict.UNCONFIRMED, note=local.error)
        odd = given.shape != truth.shape or given.dtype != truth.dtype
        if odd and local.right and self.misled(name):
            note = f"{given.dtype} of shape {list(given.shape)}, by a mistake above"
            return replace(row, verdict=Verdict.CORRECT, inherits=True, note=note)
        if given.shape != truth.shape:
            return self.misshapen(row, name, given, local)
        if given.dtype != truth.dtype:
            note = f"dtype {given.dtype}, should be {truth.dtype}"
            first = first_of_dtype(self.judge, name, given.dtype)
            row = row if first is None else self.at(row, first)
            return replace(row, note=note, diagnosis=wrong_dtype(name, given, truth))
        if local.zero:
            note = "zero at every point that was tried, so any formula would pass"
            return replace(row, verdict=Verdict.UNTESTED, note=note)
        if local.right and local.lost:
            note = "no more than rounding at every point that was tried, so little is tested"
            return replace(row, verdict=Verdict.UNTESTED, note=note)
        if not local.right and (why := self.with_a_number(given, truth)):
            return replace(row, verdict=Verdict.UNCONFIRMED, note=why)
        if not local.right:
            guilty_row = self.at(row, guilty(self.judge, name, local.name))
            diagnosis = diagnose(self.judge, local, name)
            return replace(guilty_row, diagnosis=diagnosis, note="" if diagnosis else facts(local))
        return self.as_it_ran(row, name, given, truth, local)

    def with_a_number(self, given: torch.Tensor, truth: torch.Tensor) -> str:
        """Say that a line may hold a number that the forward pass took, nothing if it took none.

        What is right as it ran is then no mistake: at other values that number is another one.
        """
        taken = next((note for note in self.judge.trace.notes if note.kind == "item"), None)
        if taken is None or not self.verdict(given, truth)[0].good:
            return ""
        return f"right as it ran, and not at other values; a number is taken at {taken.text}"

    def by_value(self, row: Row, given: torch.Tensor, truth: torch.Tensor) -> Row:
        """Return the row of a gradient of a forward pass that is not finite anywhere."""
        verdict, note = self.verdict(given, truth)
        if verdict.good or verdict is Verdict.UNTESTED:
            note = f"{self.judge.trace.output} is not finite, so no line can be tested alone"
            return replace(row, verdict=Verdict.UNTESTED, note=note)
        return replace(row, verdict=verdict, note=note)

    def misshapen(self, row: Row, name: str, given: torch.Tensor, local: Local) -> Row:
        """Return the row of a gradient of the wrong shape."""
        note = f"shape {list(given.shape)}, should be {list(row.expected_shape)}"
        same = all(v.numel() == e.numel() for v, e in zip(local.values, local.full, strict=True))
        reshaped = (
            [v.reshape(e.shape) for v, e in zip(local.values, local.full, strict=True)]
            if same
            else []
        )
        again = replace_values(local, reshaped) if same else local
        verdict = Verdict.SHAPE if same and again.right else Verdict.WRONG
        row = replace(row, verdict=verdict, note=note)
        row = self.at(row, guilty(self.judge, name, local.name))
        return replace(row, diagnosis=diagnose(self.judge, local, name))

    def as_it_ran(
        self, row: Row, name: str, given: torch.Tensor, truth: torch.Tensor, local: Local
    ) -> Row:
        """Return the row of a line that is right alone: is its value right too, as it ran?"""
        verdict, note = self.verdict(given, truth)
        stale = self.stale(name)
        if stale is not None and not self.misled(name):
            return replace(row, diagnosis=stale, note="" if verdict.good else note)
        dead = untested(self.judge.trace, self.judge.one_sided, local.name, local.cuts)
        if dead is not None and (verdict.good or verdict is Verdict.UNTESTED):
            note = (
                f"`{dead.text}` in `{dead.line.text}` is the same everywhere: one branch never ran"
            )
            return replace(row, verdict=Verdict.UNTESTED, note=note)
        if verdict.good:
            return replace(row, verdict=verdict)
        if verdict is Verdict.UNTESTED:
            finite = bool(given.isfinite().all())
            return replace(
                row, verdict=Verdict.CORRECT if finite else verdict, note="" if finite else note
            )
        if self.misled(name):
            return replace(
                row, verdict=Verdict.CORRECT, inherits=True, note="inherits a mistake above"
            )
        if self.right_in_double(name) or self.is_noise(name, given):
            return replace(row, verdict=Verdict.ROUNDING)
        return replace(row, verdict=Verdict.UNCONFIRMED, note=f"right alone, {note} as it ran")

    def right_in_double(self, name: str) -> bool:
        """Tell whether a value that is off in a narrower dtype is right when all is float64."""
        if self.exact.dtype != torch.float64 or not narrow(self.judge.trace):
            return False
        again = self.judge.in_double.get(name)
        if not isinstance(again, torch.Tensor):
            return False
        verdict, _ = verdict_of(again, self.exact, self.exact, self.scale)
        zero = verdict is Verdict.UNTESTED and not bool(self.exact.any())
        return verdict.good or zero  # of a zero, a narrow dtype shows its noise alone

    def is_noise(self, name: str, given: torch.Tensor) -> bool:
        """Tell whether a value is off by no more than float64 itself is, computed as it was."""
        value = given if given.dtype == torch.float64 else self.judge.in_double.get(name)
        if self.exact.dtype != torch.float64 or not isinstance(value, torch.Tensor):
            return False
        off = distance(value, self.exact)
        return 0 < off <= self.judge.moved_as_it_ran(name)

    def shared_memory(self, name: str) -> tuple[Write, Diagnosis] | None:
        """Return the write that also changed a forward value or another gradient, if one did."""
        judge = self.judge
        for write in judge.run.writes[name]:
            changed = [n for n, place in judge.run.mutated if place == write.statement]
            others = [n for n in write.shares if n != name and judge.primal(n) is not None]
            for other in [*changed, *others]:
                if other == name:
                    continue
                return write, alias(name, other, judge.body[write.statement].first_line)
        return None

    def stale(self, name: str) -> Diagnosis | None:
        """Say that a line read a gradient before its last part was added, if it did."""
        judge = self.judge
        last = judge.chain(name)[-1].statement
        for read in judge.candidates(name, judge.slice_of(name)):
            chain = judge.chain(read)
            if chain and chain[0].statement < last < chain[-1].statement:
                text = judge.body[chain[-1].statement].first_line
                return Diagnosis(
                    "stale",
                    f"{name} reads {read} before it is complete: `{text}` comes later",
                    f"alone, with the whole {read}, the line is right",
                    f"move this line below `{text}`",
                )
        return None


def replace_values(local: Local, values: list[torch.Tensor]) -> Local:
    """Return a local result with other values."""
    return Local(
        local.name, local.slice, local.cuts, values, local.expected, local.full, noise=local.noise
    )


def alias(name: str, other: str, text: str) -> Diagnosis:
    """Say that writing one name in place changed another."""
    return Diagnosis(
        "alias",
        f"`{text}` also changes {other}: {name} and {other} are the same tensor",
        f"{other} has another value after the line than before",
        f"{name} = {other}.clone() before changing it, or a new tensor: {name} = {other} + ...",
    )


def wrong_dtype(name: str, given: torch.Tensor, truth: torch.Tensor) -> Diagnosis:
    """Say that a gradient has another dtype than its primal."""
    return Diagnosis(
        "dtype",
        f"{name} is {given.dtype}, its primal {truth.dtype}",
        "shape and dtype are compared before values",
        f"{name} = {name}.to({truth.dtype})",
    )


def as_tensor(given: Any) -> torch.Tensor | None:
    """Return numbers as a tensor, None where they are no numbers."""
    try:
        return given if isinstance(given, torch.Tensor) else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        return None
