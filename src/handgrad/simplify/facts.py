"""Facts that the forward lines prove, and their use inside sums.

`counts_sum = counts.sum(1)` is a fact about every sum over that axis in which the factors along it
are just `counts`. What is centred sums to zero; a one-hot row sums to one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from handgrad.simplify.coefficient import ZERO, Coefficient
from handgrad.simplify.normal import (
    EMPTY,
    Key,
    Place,
    Poly,
    TooLarge,
    bound_count,
    collect,
    entry,
    monomial,
    number,
)
from handgrad.simplify.ring import Ring, places
from handgrad.simplify.saying import definition, shown
from handgrad.simplify.sizes import is_nonzero

MOST_ROUNDS = 40


@dataclass(frozen=True)
class Fact:
    """An equation whose left side is a sum over axes.

    Attributes:
        pattern: the factors along the axes that are summed over.
        value: what their sum is, at the pattern's free labels.
        text: the equation in words.
    """

    pattern: Key
    value: Poly
    text: str


@dataclass(frozen=True)
class Pick:
    """A name for what a one-hot picks out of a product along its last axis."""

    name: str
    hot: Place
    rest: Key
    by: Coefficient
    text: str


@dataclass
class Facts:
    """The facts learned so far, found by the atoms in them.

    Attributes:
        without: facts not to be used, by their texts.
        used: the facts used since it was last cleared, in order.
    """

    ring: Ring
    without: frozenset[str] = frozenset()
    known: dict[frozenset[str], list[Fact]] = field(
        default_factory=dict[frozenset[str], list[Fact]]
    )
    used: dict[str, None] = field(default_factory=dict[str, None])
    picks: list[Pick] = field(default_factory=list[Pick])
    texts: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, pattern: Key, value: Poly, text: str) -> None:
        """Add a fact."""
        if text in self.without:
            return
        self.texts[text] = None
        atoms = frozenset(n for (n, _), _ in pattern)
        self.known.setdefault(atoms, []).append(Fact(pattern, value, text))

    def learn(self, name: str, meaning: Poly, text: str) -> None:
        """Learn what follows from a name's definition.

        Args:
            name: an atom.
            meaning: what it is, at its own labels.
            text: how the definition reads.
        """
        with suppress(TooLarge):  # what grows beyond all bounds is not worth knowing
            self.learn_sums(name, meaning, text)

    def learn_sums(self, name: str, meaning: Poly, text: str) -> None:
        """Learn the sums that a name's definition gives.

        Raises:
            TooLarge: one of them grows beyond all bounds.
        """
        ring = self.ring
        me = monomial([((name, places(ring.axes[name])), 1)])
        sums = [(key, c) for key, c in meaning.terms.items() if bound_count(key)]
        if len(sums) == 1:
            ((key, c),) = sums
            inside, outside = parted(key)
            others = Poly({k: v for k, v in meaning.terms.items() if k != key})
            rest = monomial((place, -power) for place, power in outside)
            if inside and free_labels(inside) >= free_labels(key):
                self.learn_pick(name, inside, outside, others, c)
                told = definition(ring, name, meaning) or text
                value = (me - others) * rest
                if value.free <= free_labels(inside) and self.divides(outside, c):
                    self.add(inside, value.scale(c.inverse()), told)
        if len(meaning.terms) > 1:
            self.learn_total(name, me, meaning)

    def divides(self, factors: Key, c: Coefficient) -> bool:
        """Tell whether a product is known not to be 0: it is positive, or divided by anyway."""
        known = self.ring.positive | self.ring.divided
        return is_nonzero(c) and all(power < 0 or name in known for (name, _), power in factors)

    def learn_pick(
        self, name: str, inside: Key, outside: Key, others: Poly, c: Coefficient
    ) -> None:
        """Learn that what a one-hot picks out is the name of it: `hot * x` is `hot * picked`."""
        hot = [f for f in inside if f[0][0].startswith("[one_hot ")]
        rest = tuple(f for f in (*inside, *outside) if f not in hot and f[0][0][0] != "#")
        if len(hot) == 1 and rest and not others.terms and c.number:
            text = f"a one-hot times what it picks is a one-hot times {name}"
            if text in self.without:
                return
            self.texts[text] = None
            self.picks.append(Pick(name, hot[0][0], rest, c, text))

    def picked(self, key: Key) -> Poly | None:
        """Cancel what a one-hot picks with the name of it, None if there is nothing to cancel."""
        have = dict(key)
        for pick in self.picks:
            for (n, at), power in key:
                if n != pick.name or power >= 0:
                    continue
                for (hot, there), _ in key:
                    if hot != pick.hot[0]:
                        continue
                    to = dict(zip(pick.hot[1], there, strict=True))
                    mine = tuple(to.get(i, i) for i in places(self.ring.axes[n]))
                    found = [((m, tuple(to.get(i, i) for i in w)), p) for (m, w), p in pick.rest]
                    if mine == at and all(have.get(f, 0) * p > 0 for f, p in found):
                        self.used[pick.text] = None
                        more = [(f, -p) for f, p in found]
                        return monomial((*key, *more, ((n, at), 1)), pick.by.inverse())
        return None

    def learn_total(self, name: str, me: Poly, meaning: Poly) -> None:
        """Learn whether a sum is nothing or little once it is summed along an axis."""
        axes = self.ring.axes[name]
        every = {k - len(axes): axis for k, axis in enumerate(axes) if axis}
        for labels in self.stretched(meaning, every):
            before = dict(self.used)
            total, whole = meaning, me
            for label in labels:
                total = total.sum_over(label, every[label])
                whole = whole.sum_over(label, every[label])
            self.used.clear()
            total = self.reduce(total)
            why = " and ".join(used.partition(", because")[0] for used in self.used)
            self.used = before
            if not total.terms or (total.pointwise and len(total.terms) == 1 and () in total.terms):
                only = whole.single
                assert only is not None
                dims = " and ".join(str(i + len(axes)) for i in labels)
                value = total.terms.get((), ZERO).number
                who = shown(self.ring, name) or "the difference"
                told = f"{who} sums to {'a constant' if value is None else value} over dim {dims}"
                self.add(only[0], total, f"{told}, because {why}" if why else told)

    def stretched(self, meaning: Poly, axes: dict[int, str]) -> list[tuple[int, ...]]:
        """Return the axes to sum a difference over: each, and those that one of its terms lacks."""
        found: dict[tuple[int, ...], None] = {(label,): None for label in axes}
        for key in meaning.terms:
            lacks = tuple(sorted(set(axes) - free_labels(key)))
            if 1 < len(lacks) <= 3:
                found[lacks] = None
        return list(found)

    def learn_one_hot(self, name: str) -> None:
        """Learn that a one-hot has a single 1 in each row."""
        axes = self.ring.axes[name]
        only = monomial([((name, places(axes)), 1)]).sum_over(-1, axes[-1]).single
        assert only is not None
        text = f"each one-hot row of {self.ring.texts[name]} sums to 1"
        self.add(only[0], number(1), text)

    def reduce(self, poly: Poly) -> Poly:
        """Sum out every bound label whose factors match a fact, until none does."""
        for _ in range(MOST_ROUNDS):
            changed = False
            rows: list[tuple[Key, Coefficient]] = []
            for key, c in poly.terms.items():
                new = self.apply(key)
                if new is None:
                    rows.append((key, c))
                else:
                    changed = True
                    rows += [(k, v * c) for k, v in new.terms.items()]
            if not changed:
                return poly
            poly = Poly(collect(rows))
        return poly

    def apply(self, key: Key) -> Poly | None:
        """Use one fact on a monomial, None if there is none for it."""
        new = self.hidden(key)
        if new is None and self.picks:
            new = self.picked(key)
        if new is None and bound_count(key):
            new = self.one(key)
        return new

    def hidden(self, key: Key) -> Poly | None:
        """Use that the exponential of minus infinity is zero, None if there is none."""
        ring = self.ring
        if not ring.hidden:
            return None
        for (name, at), power in key:
            made = ring.made.get(name)
            inner = made.of.single if made is not None and made.how == "exp" else None
            masked = ring.hidden.get(inner[0][0][0][0]) if inner and len(inner[0]) == 1 else None
            if masked is None or inner is None or power <= 0:
                continue
            condition, there, when = masked
            to = (
                dict(zip(inner[0][0][0][1], at, strict=True))
                if len(at) == len(inner[0][0][0][1])
                else {}
            )
            place = (condition, tuple(to.get(i, i) for i in there))
            if (place, 1) in key:
                rest = tuple(f for f in key if f != (place, 1))
                self.used["the exponential of minus infinity is 0"] = None
                return EMPTY if when else monomial(rest)
        return None

    def one(self, key: Key) -> Poly | None:
        """Apply one fact to a monomial, None if none applies."""
        for group, rest in groups(key):
            atoms = frozenset(n for (n, _), _ in group)
            for fact in self.known.get(atoms, ()):
                to = match(fact.pattern, group)
                if to is None:
                    continue
                self.used[fact.text] = None
                rows = []
                for k, c in fact.value.terms.items():
                    moved = tuple(
                        ((n, tuple(to.get(i, i) for i in at)), p) for (n, at), p in lift(k, key)
                    )
                    rows.append(entry((*rest, *moved), c))
                return Poly(collect(rows)) if rows else EMPTY
        return None


def lift(value: Key, key: Key) -> Key:
    """Return a fact's value with its own bound labels above those of a monomial."""
    offset = bound_count(key)
    if not bound_count(value):
        return value
    return tuple(((n, tuple(i + offset if i >= 0 else i for i in at)), p) for (n, at), p in value)


def parted(key: Key) -> tuple[Key, Key]:
    """Return the factors of a monomial that have a bound label, and those that have none."""
    inside = tuple(f for f in key if max(f[0][1], default=-1) >= 0)
    return inside, tuple(f for f in key if f not in inside)


def free_labels(key: Key) -> set[int]:
    """Return the free labels in a monomial."""
    return {i for (_, at), _ in key for i in at if -99 < i < 0}


def groups(key: Key) -> Iterator[tuple[Key, Key]]:
    """Yield for each few bound labels the factors along them, and the other factors."""
    bound = range(bound_count(key))
    for count in range(1, min(len(bound), 3) + 1):
        for labels in itertools.combinations(bound, count):
            group = tuple(f for f in key if not set(labels).isdisjoint(f[0][1]))
            if closed(group, labels):
                yield group, tuple(f for f in key if f not in group)


def closed(group: Key, labels: tuple[int, ...]) -> bool:
    """Tell whether labels belong together: a factor ties each to another of them."""
    if len(labels) == 1:
        return True
    tied = [set(labels) & set(at) for (n, at), _ in group if n[0] != "#"]
    return all(any(label in t and len(t) > 1 for t in tied) for label in labels)


def match(pattern: Key, group: Key) -> dict[int, int] | None:
    """Return which labels to put for a pattern's so that it becomes a group of factors."""
    if len(pattern) != len(group):
        return None

    def go(left: Key, have: Key, to: Mapping[int, int]) -> dict[int, int] | None:
        if not left:
            values = list(to.values())
            return dict(to) if len(set(values)) == len(values) else None
        (name, at), power = left[0]
        for k, ((other, there), p) in enumerate(have):
            if other != name or p != power or len(at) != len(there):
                continue
            new = unify(at, there, to)
            if new is not None:
                found = go(left[1:], (*have[:k], *have[k + 1 :]), new)
                if found is not None:
                    return found
        return None

    return go(pattern, group, {})


def unify(
    at: tuple[int, ...], there: tuple[int, ...], to: Mapping[int, int]
) -> dict[int, int] | None:
    """Return the labels with those added that make one reading another; None where that fails."""
    new = dict(to)
    for i, j in zip(at, there, strict=True):
        if i == -99 or j == -99:
            if i != j:
                return None
            continue
        if (i >= 0) != (j >= 0) and i >= 0:
            return None  # what the fact sums over must be summed over here
        if new.setdefault(i, j) != j:
            return None
    return new
