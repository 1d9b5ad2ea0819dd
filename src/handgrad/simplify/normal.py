"""The normal form: sums of monomials, each a coefficient times atoms at index labels.

A free label is an axis counted from the right, -1 for the last; a bound one, 0 or above, is summed
over. An atom is a name; one that starts with `[` is 0 or 1 everywhere. A size-1 axis has no label.
The factor `#n` at a bound label says that the sum goes over an axis with n entries.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

from handgrad.simplify.coefficient import ONE, Coefficient, constant, symbol
from handgrad.simplify.effort import go_on

ABSENT = -99  # the label of a size-1 axis
MOST_BOUND = 6
MOST_TERMS = 200

Place: TypeAlias = tuple[str, tuple[int, ...]]
"""An atom and the labels that it is read at."""
Power: TypeAlias = Fraction | int
Key: TypeAlias = tuple[tuple[Place, Power], ...]
"""The factors of a monomial, each with its power, in order."""


class TooLarge(Exception):
    """An expression that grows beyond what is worth simplifying."""


@dataclass(frozen=True, eq=False)
class Poly:
    """A sum of monomials."""

    terms: Mapping[Key, Coefficient]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.key)

    def __bool__(self) -> bool:
        return bool(self.terms)

    @cached_property
    def key(self) -> frozenset[tuple[Key, Coefficient]]:
        """Return what tells two sums apart."""
        return frozenset(self.terms.items())

    def __add__(self, other: Poly) -> Poly:
        return Poly(collect(itertools.chain(self.terms.items(), other.terms.items())))

    def __sub__(self, other: Poly) -> Poly:
        return self + other.scale(constant(-1))

    def scale(self, by: Coefficient) -> Poly:
        """Return it times a coefficient."""
        if by is ONE:
            return self
        return Poly({key: c * by for key, c in self.terms.items()} if by else {})

    def __mul__(self, other: Poly) -> Poly:
        go_on()
        if len(self.terms) * len(other.terms) > MOST_TERMS:
            raise TooLarge
        rows: list[tuple[Key, Coefficient]] = []
        for k1, c1 in self.terms.items():
            offset = bound_count(k1)
            for k2, c2 in other.terms.items():
                rows.append(entry((*k1, *shifted(k2, offset)), c1 * c2))
        return Poly(collect(rows))

    def bounded(self) -> Poly:
        """Return it, unless it has more terms than can be worked with."""
        if len(self.terms) > MOST_TERMS:
            raise TooLarge
        return self

    def sum_over(self, label: int, size: str) -> Poly:
        """Return the sum over a free label, given the symbol of its axis' size."""
        rows: list[tuple[Key, Coefficient]] = []
        for key, c in self.terms.items():
            if any(label in at for (_, at), _ in key):
                fresh = bound_count(key)
                marked = (("#" + size, (fresh,)), 1)
                rows.append(entry((marked, *relabelled(key, {label: fresh})), c))
            else:
                rows.append((key, c * symbol(size)))
        return Poly(collect(rows))

    def relabel(self, to: Mapping[int, int]) -> Poly:
        """Return it with free labels changed."""
        if all(a == b for a, b in to.items()):
            return self
        return Poly(collect(entry(relabelled(key, to), c) for key, c in self.terms.items()))

    @cached_property
    def free(self) -> frozenset[int]:
        """Return the free labels that it depends on."""
        return frozenset(
            i for key in self.terms for (_, at), _ in key for i in at if ABSENT < i < 0
        )

    @cached_property
    def atoms(self) -> frozenset[str]:
        """Return the atoms in it."""
        return frozenset(n for key in self.terms for (n, _), _ in key if n[0] != "#")

    @property
    def single(self) -> tuple[Key, Coefficient] | None:
        """Return its only monomial, None if it has several or none."""
        return next(iter(self.terms.items())) if len(self.terms) == 1 else None

    @property
    def pointwise(self) -> bool:
        """Tell whether nothing in it is summed over."""
        return all(not bound_count(key) for key in self.terms)

    def each(self, change: Callable[[Key], Poly | None]) -> Poly:
        """Return it with every monomial for which there is one exchanged for something equal."""
        rows: list[tuple[Key, Coefficient]] = []
        for key, c in self.terms.items():
            new = change(key)
            if new is None:
                rows.append((key, c))
            else:
                rows += [(k, v * c) for k, v in new.terms.items()]
        if len(rows) > MOST_TERMS:
            raise TooLarge
        return Poly(collect(rows))


EMPTY: Poly = Poly({})


def number(value: Coefficient | Fraction | int) -> Poly:
    """Return a coefficient as a sum."""
    by = value if isinstance(value, Coefficient) else constant(value)
    return Poly({(): by} if by else {})


def atom(name: str, at: tuple[int, ...], power: Power = 1) -> Poly:
    """Return an atom read at labels."""
    return Poly({(((name, at), whole(power)),): ONE})


def whole(power: Power) -> Power:
    """Return a whole power as such: that is quicker to work with than a fraction."""
    return power.numerator if power.denominator == 1 else power


def monomial(factors: Iterable[tuple[Place, Power]], by: Coefficient = ONE) -> Poly:
    """Return a product of factors."""
    return Poly(dict([entry(tuple(factors), by)]) if by else {})


def collect(rows: Iterable[tuple[Key, Coefficient]]) -> dict[Key, Coefficient]:
    """Add up the coefficients of equal monomials."""
    out: dict[Key, Coefficient] = {}
    for key, c in rows:
        out[key] = out[key] + c if key in out else c
    return {key: c for key, c in out.items() if c}


def bound_count(key: Key) -> int:
    """Return how many labels a monomial sums over."""
    return max(0, 1 + max((i for (_, at), _ in key for i in at), default=-1))


def shifted(key: Key, offset: int) -> Key:
    """Return a monomial with its bound labels moved up."""
    if not offset or not bound_count(key):
        return key
    return tuple(((n, tuple(i + offset if i >= 0 else i for i in at)), p) for (n, at), p in key)


def relabelled(key: Key, to: Mapping[int, int]) -> Key:
    """Return a monomial with labels changed."""
    return tuple(((n, tuple(to.get(i, i) for i in at)), p) for (n, at), p in key)


def entry(key: Key, by: Coefficient) -> tuple[Key, Coefficient]:
    """Return a monomial in the one way to write it: powers added, bound labels numbered, in order.

    A label that nothing depends on any more is summed out: that gives its axis' size.

    Raises:
        TooLarge: it sums over too many labels.
    """
    factors: dict[Place, Power] = {}
    for place, power in key:
        factors[place] = factors[place] + power if place in factors else power
    kept = [
        (place, 1 if power > 0 and place[0][0] in "[#" else whole(power))
        for place, power in factors.items()
        if power
    ]
    bound = {i for (_, at), _ in kept for i in at if i >= 0}
    if not bound:
        return tuple(sorted(kept)), by
    used = {i for (name, at), _ in kept if name[0] != "#" for i in at}
    for place, _ in [f for f in kept if f[0][0][0] == "#" and f[0][1][0] not in used]:
        kept.remove((place, 1))
        bound.discard(place[1][0])
        by = by * symbol(place[0][1:])
    if len(bound) > MOST_BOUND:
        raise TooLarge
    if bound <= {0}:
        return tuple(sorted(kept)), by
    return min(renumbered(tuple(kept), order) for order in itertools.permutations(bound)), by


def renumbered(key: Key, order: tuple[int, ...]) -> Key:
    """Return a monomial with its bound labels numbered in an order."""
    return tuple(sorted(relabelled(key, {label: k for k, label in enumerate(order)})))
