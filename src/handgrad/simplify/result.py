"""Simplify a backward pass: few lines, each with the steps that lead to it."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from handgrad.derive import Backward, derive
from handgrad.derive.verify import verify
from handgrad.errors import BadInput, must_be
from handgrad.escape import escaped
from handgrad.patience import patience
from handgrad.simplify.effort import BUDGET, Spent, at_most
from handgrad.simplify.program import Reading
from handgrad.simplify.region import within
from handgrad.simplify.sized import unknown_ops
from handgrad.simplify.steps import Step, steps
from handgrad.simplify.writing import Writing
from handgrad.threads import threads_for
from handgrad.trace import Trace

FORMS = ("shortest", "textbook")
DEEPEST = 20_000  # calls in calls: a gradient read in 1,000 lines is a sum nested 1,000 deep


@dataclass(frozen=True, repr=False)
class Simplified(Backward):
    """A backward pass in few lines.

    Attributes:
        before: the backward pass that it was made from.
        unit: the output's cotangent is 1 and is left out.
        facts: what the forward lines prove, in words.
        refused: lines that were tried and did not give the same numbers.
        notes: what was left undone, and why.
    """

    before: Backward = field(kw_only=True)
    reading: Reading = field(kw_only=True)
    unit: bool = field(kw_only=True)
    facts: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Return the derivation: every line of the way, what it becomes, and why."""
        return (
            ()
            if self.lines == self.before.lines
            else steps(self.reading, self.lines, unit=self.unit)
        )

    def latex(self) -> str:
        """Return the derivation in index notation, as LaTeX."""
        from handgrad.simplify.latex import latex

        return latex(self.reading, self.lines, self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return the lines and steps as plain data."""
        taken = [vars(step) for step in self.steps]
        return {**super().to_dict(), "steps": taken, "undone": list(self.notes)}

    def _repr_html_(self) -> str:
        # what displays is above what computes: it is looked up only when a notebook asks
        return str(import_module("handgrad.render.html").simplified_html(self))

    def __repr__(self) -> str:
        counts = f"{len(self.before.lines)} lines became {len(self.lines)}"
        return f"Simplified backward of {self.trace.output}: {counts}\n{escaped(self.source)}"


def simplify(
    backward: Backward | Trace,
    *,
    start: str | None = None,
    to: str | None = None,
    form: str = "shortest",
    upstream: bool | None = None,
    without: Iterable[str] = (),
    seconds: float = BUDGET,
) -> Simplified:
    """Put the lines of a backward pass together and cut its corners, soundly.

    Args:
        backward: what `derive` wrote, or a trace to derive first.
        start: take only the part that ends in this name's cotangent.
        to: take only the part that starts from this name's cotangent.
        form: `shortest`, or `textbook` for the form that books print.
        upstream: keep the output's cotangent in the lines; by default only where it is not 1.
        without: facts not to be used, by their words.
        seconds: how long it may take; what would take longer stays as `derive` wrote it, and
            `notes` says so.

    Raises:
        BadInput: a name or the form is unknown.
        Mismatch: a line does not give autograd's gradient.
    """
    if form not in FORMS:
        raise BadInput(f"form {form!r} is unknown", hint=f"it is one of {', '.join(FORMS)}")
    backward = derive(backward) if isinstance(backward, Trace) else backward
    must_be(backward, Backward, "hg.simplify(hg.derive(hg.trace(forward, *args)))")
    backward = within(backward, start, to)
    textbook = form == "textbook"
    unit = is_unit(backward) if upstream is None else not upstream
    told = f"simplifying, {seconds:g} s at most"
    with patience(told), deep(), threads_for(backward.trace.values.values()), at_most(seconds):
        reading = Reading(backward, frozenset(without), share=not textbook)
        try:
            with at_most(seconds / 2):
                reading.read()
            result = written(reading, unit, seconds)
        except Spent:
            result = as_derived(reading, f"nothing was simplified in {seconds:g} s")
        return verified(result, reading)


def verified(result: Simplified, reading: Reading) -> Simplified:
    """Return a result that gives autograd's gradients.

    Raises:
        Mismatch: a line does not.
    """
    backward = reading.backward
    leaves = {each.primal for each in backward.lines} & set(backward.trace.leaves)
    try:
        verify(result, leaves, backward)
    except NameError as error:  # lines that read each other could not be put in an order
        return as_derived(reading, f"nothing was simplified: {error}")
    return result


def as_derived(reading: Reading, why: str) -> Simplified:
    """Return the lines as they were, and why."""
    backward = reading.backward
    return Simplified(
        backward.trace,
        backward.lines,
        backward.opaque,
        backward.start,
        before=backward,
        reading=reading,
        unit=False,
        notes=(f"{why}: the lines are those that derive wrote",),
    )


def written(reading: Reading, unit: bool, seconds: float) -> Simplified:
    """Write the lines of what was read."""
    backward = reading.backward
    writing = Writing(reading, unit, textbook=not reading.share)
    lines = writing.write()
    return Simplified(
        backward.trace,
        lines,
        tuple(o for o in backward.opaque if o[1] in {each.forward for each in lines}),
        backward.start,
        before=backward,
        reading=reading,
        unit=unit,
        facts=tuple(reading.facts.texts),
        refused=tuple(writing.refused),
        notes=tuple(undone(writing, seconds)),
    )


def undone(writing: Writing, seconds: float) -> Iterator[str]:
    """Yield what was left undone."""
    if writing.unfinished:
        names = ", ".join(writing.unfinished)
        yield f"{seconds:g} s were not enough for {names}: there the lines are those of derive"
    unknown = unknown_ops(writing.reading.backward)
    if unknown:
        yield f"tried at the traced sizes only: {', '.join(unknown)} is run at no others"


@contextmanager
def deep() -> Generator[None]:
    """Let calls nest as deeply as long sums do."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def is_unit(backward: Backward) -> bool:
    """Tell whether a backward pass starts from 1, because nobody gave another gradient."""
    return not backward.trace.given and backward.trace.upstream.ndim == 0
