"""What the terms of a sum have in common, and what may be taken out of it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from handgrad.simplify.coefficient import ONE, Coefficient, Terms, constant
from handgrad.simplify.normal import Key, Place, Poly, Power
from handgrad.simplify.sizes import is_size
from handgrad.simplify.words import Pick

LONGEST = 24  # digits of a number that is multiplied out
SMALL = 1_000  # what is above and below a fraction's line


def negation(poly: Poly) -> Place | None:
    """Return the condition whose negation a sum is: one minus something that is 0 or 1."""
    if len(poly.terms) != 2 or poly.terms.get(()) != ONE:
        return None
    (key,) = [k for k in poly.terms if k]
    condition = len(key) == 1 and key[0][0][0][0] == "[" and poly.terms[key] == constant(-1)
    return key[0][0] if condition and not key[0][0][0].startswith("[one_hot") else None


def shared(keys: list[Key]) -> dict[Place, Power]:
    """Return the factors without bound labels that all monomials have, at their least power."""
    found: dict[Place, Power] = {}
    first, *others = (dict(key) for key in keys)
    for place, power in first.items():
        if max(place[1], default=-1) >= 0:
            continue
        powers = [power, *(other.get(place, 0) for other in others)]
        if all(p * power > 0 for p in powers):
            found[place] = min(powers, key=abs)
    return found


def divides(common: Mapping[Place, Power], key: Key) -> bool:
    """Tell whether a monomial has these factors."""
    have = dict(key)
    return all(have.get(p, 0) * q > 0 and abs(have[p]) >= abs(q) for p, q in common.items())


def scales(poly: Poly) -> list[Coefficient]:
    """Return the coefficients that may be taken out of a sum."""
    found = {ONE: None}
    for c in poly.terms.values():
        found[-c if c.negative else c] = None
    if all(c.negative for c in poly.terms.values()):
        found = {-c: None for c in found}
    return list(found)[:6]


def safely(before: Poly, after: Poly) -> bool:
    """Tell whether a sum divides by nothing, sizes aside, that it did not divide by before."""
    pairs = zip(before.terms.values(), after.terms.values(), strict=True)
    return all(below(c) >= below(d) for c, d in pairs)


def legibly(before: Poly, after: Poly) -> bool:
    """Tell whether a sum has no longer fractions for numbers than it had before."""
    return all(map(is_short, after.terms.values())) or not all(map(is_short, before.terms.values()))


def is_short(c: Coefficient) -> bool:
    """Tell whether a coefficient's numbers are decimals, or small fractions."""
    numbers = [Fraction(number) for _, number in c.terms]
    decimals = (10**LONGEST % each.denominator == 0 for each in numbers)
    small = (max(abs(each.numerator), each.denominator) < SMALL for each in numbers)
    return all(a or b for a, b in zip(decimals, small, strict=True))


def below(c: Coefficient) -> set[str | Terms]:
    """Return what a coefficient divides by, but for sizes and numbers."""
    names: set[str | Terms] = {
        s for powers, _ in c.terms for s, p in powers if p < 0 and not is_size(s)
    }
    return names | {factor for factor, _ in c.under}


def power_of(c: Coefficient, power: Power) -> Coefficient:
    """Return a coefficient to a whole power."""
    return c ** int(power)


def simpler(a: Coefficient, b: Coefficient) -> bool:
    """Tell whether a coefficient has fewer parts than another."""

    def parts(c: Coefficient) -> int:
        return sum(abs(p) for t, _ in c.terms for _, p in t) + 2 * len(c.under) + len(c.terms)

    return parts(a) < parts(b)


def connected(picks: list[Pick]) -> list[list[Pick]]:
    """Return picks in groups that share bound labels."""
    groups: list[tuple[set[int], list[Pick]]] = []
    for pick in picks:
        labels = {i for i in pick.at if i >= 0}
        touching = [g for g in groups if g[0] & labels]
        merged = labels.union(*(g[0] for g in touching))
        members = [p for g in touching for p in g[1]] + [pick]
        groups = [g for g in groups if g not in touching] + [(merged, members)]
    return [members for _, members in groups]
