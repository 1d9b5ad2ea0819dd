"""Exact coefficients: quotients of polynomials in sizes and other numbers known by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

Powers: TypeAlias = tuple[tuple[str, int], ...]
"""Powers of symbols, by symbol; a power may be negative."""
Rational: TypeAlias = Fraction | int
Terms: TypeAlias = tuple[tuple[Powers, Rational], ...]


@dataclass(frozen=True)
class Coefficient:
    """A sum of products of symbols, over products of other sums.

    Attributes:
        terms: the numerator, powers of symbols to rational numbers, in order.
        under: the sums that divide it, `n - 1`, each with its power.
    """

    terms: Terms
    under: tuple[tuple[Terms, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.terms)

    @cached_property
    def number(self) -> Fraction | None:
        """Return the value, None if it depends on a symbol."""
        if not self.terms:
            return Fraction(0)
        powers, scale = self.terms[0]
        return None if self.under or len(self.terms) > 1 or powers else Fraction(scale)

    @property
    def negative(self) -> bool:
        """Tell whether it is written with a minus in front."""
        return bool(self.terms) and self.terms[0][1] < 0

    def __add__(self, other: Coefficient) -> Coefficient:
        if self.under == other.under:
            return reduced(added(self.terms, other.terms), dict(self.under))
        mine, yours = dict(self.under), dict(other.under)
        both = {f: max(mine.get(f, 0), yours.get(f, 0)) for f in {**mine, **yours}}
        left, right = self.terms, other.terms
        for factor, power in both.items():
            for _ in range(power - mine.get(factor, 0)):
                left = product(left, factor)
            for _ in range(power - yours.get(factor, 0)):
                right = product(right, factor)
        return reduced(added(left, right), both)

    def __neg__(self) -> Coefficient:
        return Coefficient(tuple((p, -c) for p, c in self.terms), self.under)

    def __sub__(self, other: Coefficient) -> Coefficient:
        return self + -other

    def __mul__(self, other: Coefficient) -> Coefficient:
        if self is ONE:
            return other
        if other is ONE:
            return self
        under = dict(self.under)
        for factor, power in other.under:
            under[factor] = under.get(factor, 0) + power
        return reduced(product(self.terms, other.terms), under)

    def inverse(self) -> Coefficient:
        """Return one over it.

        Raises:
            ZeroDivisionError: it is zero.
        """
        if not self.terms:
            raise ZeroDivisionError("one over zero")
        top: Terms = (((), 1),)
        for factor, power in self.under:
            for _ in range(power):
                top = product(top, factor)
        outer, inner = primitive(self.terms)
        powers, scale = outer
        flipped: Terms = ((tuple((s, -p) for s, p in powers), ratio(1, scale)),)
        under = {} if len(inner) == 1 else {inner: 1}
        return reduced(product(top, flipped), under)

    def __truediv__(self, other: Coefficient) -> Coefficient:
        return self * other.inverse()

    def __pow__(self, power: int) -> Coefficient:
        base, result, left = (self if power >= 0 else self.inverse()), ONE, abs(power)
        while left:  # by squaring: the power may be any number that a user wrote
            result = result * base if left % 2 else result
            left //= 2
            base = base * base if left else base
        return result

    @property
    def symbols(self) -> set[str]:
        """Return the symbols that it depends on."""
        many = (self.terms, *(factor for factor, _ in self.under))
        return {symbol for terms in many for powers, _ in terms for symbol, _ in powers}

    def value(self, numbers: Mapping[str, float]) -> float:
        """Return its value where the symbols have these values."""
        top = evaluated(self.terms, numbers)
        for factor, power in self.under:
            top /= evaluated(factor, numbers) ** power
        return top


def evaluated(terms: Terms, numbers: Mapping[str, float]) -> float:
    """Return a sum's value."""
    total = 0.0
    for powers, scale in terms:
        part = float(scale)
        for symbol, power in powers:
            part *= numbers[symbol] ** power
        total += part
    return total


def constant(value: Rational) -> Coefficient:
    """Return a rational number."""
    return Coefficient((((), ratio(value, 1)),) if value else ())


def ratio(a: Rational, b: Rational) -> Rational:
    """Return a quotient, a whole number as such: that is quicker to work with."""
    value = Fraction(a, b)
    return value.numerator if value.denominator == 1 else value


def symbol(name: str) -> Coefficient:
    """Return a number known by name."""
    return Coefficient(((((name, 1),), 1),))


ZERO = constant(0)
ONE = constant(1)


def ordered(terms: Mapping[Powers, Rational]) -> Terms:
    """Return terms in order, highest powers first, the constant last, without zeros."""
    kept = [(p, c) for p, c in terms.items() if c]
    return tuple(sorted(kept, key=lambda t: (-sum(p for _, p in t[0]), t[0])))


def added(a: Terms, b: Terms) -> Terms:
    """Return the sum of two sums."""
    total = dict(a)
    for powers, scale in b:
        total[powers] = total.get(powers, 0) + scale
    return ordered(total)


def product(a: Terms, b: Terms) -> Terms:
    """Return the product of two sums."""
    total: dict[Powers, Rational] = {}
    for p, c in a:
        for q, d in b:
            powers = times(p, q)
            total[powers] = total.get(powers, 0) + c * d
    return ordered(total)


def times(p: Powers, q: Powers, sign: int = 1) -> Powers:
    """Return the powers of a product, or of a quotient where the sign is -1."""
    if not q:
        return p
    total = dict(p)
    for name, power in q:
        total[name] = total.get(name, 0) + sign * power
    return tuple(sorted((s, n) for s, n in total.items() if n))


def primitive(terms: Terms) -> tuple[tuple[Powers, Rational], Terms]:
    """Return what all terms have in common, and the sum without it."""
    low: dict[str, int] = {}
    for name in {s for powers, _ in terms for s, _ in powers}:
        low[name] = min(dict(powers).get(name, 0) for powers, _ in terms)
    common = tuple(sorted((s, p) for s, p in low.items() if p))
    scale = terms[0][1]
    inner = ordered({times(p, common, -1): ratio(c, scale) for p, c in terms})
    return (common, scale), inner


def reduced(terms: Terms, under: Mapping[Terms, int]) -> Coefficient:
    """Return the quotient in lowest terms."""
    if not terms:
        return ZERO
    kept: dict[Terms, int] = {}
    for factor, power in under.items():
        left = power
        while left:
            quotient = divided(terms, factor)
            if quotient is None:
                break
            terms, left = quotient, left - 1
        if left:
            kept[factor] = left
    return Coefficient(terms, tuple(sorted(kept.items())))


def divided(terms: Terms, factor: Terms) -> Terms | None:
    """Return a sum divided by another where that leaves no rest, else None."""
    if len(terms) < 2:
        return None  # no product with a sum is a single term
    rest, found = terms, dict[Powers, Rational]()
    lead, scale = factor[0]
    for _ in range(4 * len(terms) + 4):
        if not rest:
            return ordered(found)
        powers, c = rest[0]
        step = times(powers, lead, -1)
        share = ratio(c, scale)
        found[step] = found.get(step, 0) + share
        rest = added(rest, tuple((times(step, p), -share * d) for p, d in factor))
    return None
