"""The derivation: from each derived line, one small step after another, to what becomes of it.

The backward pass is read once more with a listener, which keeps each line as it is before any fact
is used. Every step is run at two sets of sizes before it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from handgrad.derive import BackwardLine
from handgrad.errors import Mismatch
from handgrad.simplify.because import Because, reads
from handgrad.simplify.coefficient import ONE
from handgrad.simplify.facts import MOST_ROUNDS, Facts
from handgrad.simplify.normal import Key, Poly, TooLarge, number
from handgrad.simplify.program import Lowered, Reading, words_in
from handgrad.simplify.putting import listed, pointwise, put_in
from handgrad.simplify.refold import Unwritable
from handgrad.simplify.sized import FAILURES, Place, elsewhere, own
from handgrad.simplify.writing import Writing
from handgrad.threads import threads_for


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    Attributes:
        name: the cotangent that the step is about.
        before: its line as it was.
        after: the same, one step on.
        because: what was used, in words.
        sets: at how many sets of sizes the two were run and gave the same.
    """

    name: str
    before: str
    after: str
    because: str
    sets: int = 0


def steps(reading: Reading, lines: tuple[BackwardLine, ...], *, unit: bool) -> tuple[Step, ...]:
    """Return the steps to all lines that changed.

    Raises:
        Mismatch: the two sides of a step are not equal.
    """
    with threads_for(reading.backward.trace.values.values()):
        places = [place for place in (own(reading), elsewhere(reading)) if place is not None]
        for place in places:
            place.run("\n".join(each.line.text for each in lines))
        found = Derivation(reading, lines, unit, places[0].is_tensor).steps()
        return tuple(proved(step, places) for step in found)


def checked(many: tuple[Step, ...]) -> str:
    """Return at how many sets of sizes steps were run, as a sentence."""
    once = sum(step.sets < 2 for step in many)
    if not many:
        return ""
    if once == len(many):
        return "Each step was checked with numbers at one set of sizes."
    rest = f", {once} of them at one" if once else ""
    return f"Each step was checked with numbers at two sets of sizes{rest}."


def proved(step: Step, places: list[Place]) -> Step:
    """Return a step with the number of places where it was seen to hold.

    Raises:
        Mismatch: it does not.
    """
    before, after = (text.partition(" = ")[2] for text in (step.before, step.after))
    sets = 0
    for k, place in enumerate(places):
        try:
            one, other = place.value(before), place.value(after)
        except FAILURES as error:
            if k:  # a size of today stands in the text
                continue
            raise wrong(step) from error
        if not place.same(other, one):
            raise wrong(step)
        sets += 1
    return Step(step.name, step.before, step.after, step.because, sets)


def wrong(step: Step) -> Mismatch:
    """Say which step does not hold."""
    return Mismatch(
        f"a step of the derivation of {step.name} does not hold",
        why=f"{step.before}\n{step.after}\n{step.because}",
        hint="report this forward pass: it is a bug in the simplifier",
    )


class Derivation:
    """The way from the derived lines to the short ones.

    Args:
        reading: what was simplified.
        lines: what became of it.
        unit: the output's cotangent is 1.
        runs: tells whether a text is a tensor; what is not is a last step at most.
    """

    def __init__(
        self,
        reading: Reading,
        lines: tuple[BackwardLine, ...],
        unit: bool,
        runs: Callable[[str], bool],
    ) -> None:
        self.runs = runs
        self.ways: dict[str, list[tuple[Poly, str]]] = {}
        self.sums: dict[str, list[Poly]] = {}
        self.final = {each.name: each.line.text.partition(" = ")[2] for each in lines}
        self.reading = replace(reading, listen=self.listen)
        self.reading.read()
        self.writing = Writing(self.reading, unit, textbook=not reading.share)
        self.because = Because(self.reading, parts(self.reading, lines))
        self.start = {reading.start: "1"} if unit else {}
        self.changed: set[str] = set()
        self.short: dict[str, str] = {}
        self.wide: dict[str, str] = {}

    def listen(self, reading: Reading, each: BackwardLine) -> None:
        """Keep what a line is without facts, then what each fact makes of it."""
        lowering, facts = reading.lowering, reading.facts
        kept, lowering.memo, lowering.reduce = (lowering.memo, lowering.reduce), {}, same
        used = dict(facts.used)
        try:
            raw = lowering.lower(each.line.expr)
        finally:
            lowering.memo, lowering.reduce = kept
        self.ways[each.name] = [(raw, ""), *uses(facts, raw)]
        self.sums[each.name] = [facts.reduce(Poly({key: ONE})) for key in raw.terms]
        facts.used = used

    def steps(self) -> Iterator[Step]:
        """Yield the steps of every line that changes."""
        for name, low in self.reading.lowered.items():
            before = low.line.line.text.partition(" = ")[2]
            after = self.final.get(name)
            if after is None and not low.root:
                after = self.shown(low, low.poly)
            if low.root or name in self.final:
                self.writing.emitted.add(name)
            elif after is not None:
                known = self.short if self.fits(low, after) else self.wide
                known[name] = after
            if after == before and name in self.final and self.changed & reads(before):
                yield Step(name, f"{name} = {before}", f"{name} = {before}", "as it was derived")
            if after is not None and after != before:
                self.changed.add(name)
                for (one, _), (other, why) in pairwise(self.chain(low, before, after)):
                    yield Step(name, f"{name} = {one}", f"{name} = {other}", why)

    def fits(self, low: Lowered, text: str) -> bool:
        """Tell whether a text has the whole shape of a line, not one that stretches to it."""
        expr = self.reading.scope.parse(f"({text})")
        return text == "0" or (expr is not None and expr.shape == low.line.shape)

    def shown(self, low: Lowered, poly: Poly) -> str | None:
        """Return a sum in its shortest form, None if it cannot be written."""
        rank = len(low.line.shape)
        try:
            text = self.writing.refold().show(self.writing.bare(poly), rank).text
        except (Unwritable, TooLarge):
            return None
        expr = self.reading.scope.parse(f"({text})")
        return None if expr is not None and expr.ndim not in (0, rank) else text

    def chain(self, low: Lowered, before: str, after: str) -> list[tuple[str, str]]:
        """Return the texts from one to the other, each with what leads to it."""
        found = [(before, "")]
        free = pointwise(before)
        put, why = put_in(before, {**self.short, **self.wide, **self.start} if free else self.short)
        if put and self.runs(put):
            found.append((put, why))
        (raw, _), *more = self.ways[low.line.name]
        if not low.poly.terms and len(raw.terms) == 2:
            more = [(low.poly, self.cancelled(low, raw, [fact for _, fact in more]))]
        given = [f"{n} is 1" for n in self.start if n in words_in(before) and not free]
        first = after if not more else self.shown(low, raw)
        if first is not None:
            if len(found) > 1 and tokens(first) == tokens(put):
                found[-1] = (first, why)  # the same factors in another order
            else:
                told = self.because.algebra(found[-1][0], first, bool(given))
                found.append((first, "; ".join([*given, *told])))
        for poly, fact in more:
            text = self.shown(low, poly)
            if text is not None:
                found.append((text, self.because.fact(fact, found[-1][0], text)))
        found.append((after, self.because.shorter(found[-1][0], after)))
        kept = [f for k, f in enumerate(found) if not k or f[0] == after or self.runs(f[0])]
        return without_repeats(kept)

    def cancelled(self, low: Lowered, raw: Poly, facts: list[str]) -> str:
        """Return why two sums are nothing together: each is 1, or both are the same."""
        told = "; ".join(dict.fromkeys(facts))
        sums = [self.shown(low, Poly({key: ONE})) or "" for key in raw.terms]
        parts = [re.fullmatch(r"(.+)\.sum\(dim=(\S+?)(, keepdim=True)?\)", text) for text in sums]
        if None in parts or len({part[2] for part in parts if part}) > 1:
            return f"the two cancel: {told}" if told else ""
        what = listed([self.because.short(part[1]) for part in parts if part])
        dim = next(part[2] for part in parts if part)
        ones = all(self.writing.bare(v) == number(1) for v in self.sums[low.line.name])
        size = "both 1" if ones else "the same"
        return f"the sums of {what} over dim {dim} are {size} and cancel: {told}"


def parts(reading: Reading, lines: tuple[BackwardLine, ...]) -> dict[str, str]:
    """Return the short lines whose names are new: what they make is needed more than once."""
    known = {each.name for each in reading.backward.lines}
    return {each.name: each.line.text for each in lines if each.name not in known}


def same(poly: Poly) -> Poly:
    """Return a sum as it is."""
    return poly


def uses(facts: Facts, poly: Poly) -> Iterator[tuple[Poly, str]]:
    """Yield what a sum becomes by one fact after another, each with the fact's words."""
    for _ in range(MOST_ROUNDS):
        found: dict[str, dict[Key, Poly]] = {}
        for key in poly.terms:
            facts.used.clear()
            new = facts.apply(key)
            if new is not None:
                found.setdefault("; ".join(facts.used), {})[key] = new
        if not found:
            return
        text, changes = next(iter(found.items()))
        poly = poly.each(changes.get)
        yield poly, text


def tokens(text: str) -> list[str]:
    """Return a text's names, numbers and signs, sorted."""
    return sorted(re.findall(r"\w+|[^\w\s]", text))


def without_repeats(texts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return texts without those that are as the one before, but for how a size is written."""
    found = texts[:1]
    for text, why in texts[1:]:
        if sizeless(text) != sizeless(found[-1][0]):
            found.append((text, why))
        elif len(found) > 1:
            found[-1] = (text, found[-1][1])
    last = texts[-1][0]
    return found if found[-1][0] == last else [*found, (last, "the same")]


def sizeless(text: str) -> str:
    """Return a text without the sizes of one-hots."""
    return re.sub(r", num_classes=[^()]*", "", text)
