"""The derivation: each line on the way, what it becomes in normal form, and the facts used."""

from __future__ import annotations

from dataclasses import dataclass

from handgrad.derive import BackwardLine
from handgrad.simplify.normal import TooLarge
from handgrad.simplify.program import Reading
from handgrad.simplify.refold import Unwritable
from handgrad.simplify.writing import Writing


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    Attributes:
        name: the cotangent that the step is about.
        before: its line as it was derived.
        after: the same, simplified.
        because: the facts used.
    """

    name: str
    before: str
    after: str
    because: str


def steps(reading: Reading, lines: tuple[BackwardLine, ...], *, unit: bool) -> tuple[Step, ...]:
    """Return the steps to all lines that changed."""
    writing = Writing(reading, unit)
    final = {each.name: each.line.text for each in lines}
    found: list[Step] = []
    for name, low in reading.lowered.items():
        before = low.line.line.text
        after = final.get(name)
        if after is None and not low.root:
            after = shown(writing, name)
        writing.emitted |= {name} if low.root else set()
        if after is not None and after != before:
            found.append(Step(name, before, after, because(low.facts)))
    return tuple(found)


def shown(writing: Writing, name: str) -> str | None:
    """Return a line on the way in its shortest form."""
    low = writing.reading.lowered[name]
    try:
        piece = writing.refold(low.line.primal).show(writing.bare(low.poly), len(low.line.shape))
    except (Unwritable, TooLarge):
        return None
    return f"{name} = {piece.text}"


def because(facts: tuple[str, ...]) -> str:
    """Return the facts of a step as one sentence."""
    return "; ".join(facts) if facts else "put together from the lines above"
