"""Other ways to say the same sum: definitions used from either side, polynomials in one name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

from handgrad.simplify.coefficient import ONE, Coefficient, constant, ratio
from handgrad.simplify.normal import (
    ABSENT,
    MOST_TERMS,
    Key,
    Place,
    Poly,
    Power,
    TooLarge,
    atom,
    collect,
    entry,
    monomial,
    number,
    relabelled,
)
from handgrad.simplify.ring import Ring, places
from handgrad.simplify.sizes import is_nonzero

MOST_SUMMANDS = 10
ROUNDS = 2
BREADTH = 4
MOST_FORMS = 8
MOST_DEGREE = 3
EMPTY = Poly({})
Row = tuple[Key, Coefficient]
Univariate = dict[int, Fraction]
"""A sum of powers of one atom."""


def alternatives(
    ring: Ring, words: list[Poly], reduce: Callable[[Poly], Poly], poly: Poly
) -> list[Poly]:
    """Return a sum, and equal sums that may be shorter.

    Args:
        ring: the atoms and what they stand for.
        words: the normal forms of the names that a polynomial may be written in.
        reduce: sums out what the facts allow.
        poly: the sum.
    """
    found = {poly.key: poly}
    last = [poly]
    for _ in range(ROUNDS):
        fresh: dict[object, Poly] = {}
        for one in sorted(last, key=lambda p: len(p.terms))[:BREADTH]:
            if len(one.terms) > MOST_SUMMANDS:
                continue
            for other in (*rewritten(ring, reduce, one), *in_one_name(ring, words, one)):
                if len(other.terms) <= max(len(poly.terms), 4) and other.key not in found:
                    fresh.setdefault(other.key, other)
        found |= fresh
        last = list(fresh.values())
    return sorted(found.values(), key=lambda p: (p is not poly, len(p.terms)))[:MOST_FORMS]


def rewritten(ring: Ring, reduce: Callable[[Poly], Poly], poly: Poly) -> Iterator[Poly]:
    """Yield a sum with one definition used, from either side."""
    for name in [*ring.means, *(n for n, m in ring.made.items() if m.how == "sum")]:
        meaning = ring.meaning(name)
        if meaning is None or not meaning.pointwise or len(meaning.terms) < 2:
            continue
        if name in poly.atoms:
            yield from attempted(reduce, poly, name, labels(ring, name), meaning)
        me = atom(name, labels(ring, name))
        for key, c in meaning.terms.items():
            if len(key) == 1 and key[0][1] == 1 and key[0][0][0] in poly.atoms:
                (other, at), _ = key[0]
                rest = me - Poly({k: v for k, v in meaning.terms.items() if k != key})
                if is_nonzero(c) and set(rest.free) <= {i for i in at if i != ABSENT}:
                    yield from attempted(reduce, poly, other, at, rest.scale(c.inverse()))


def attempted(
    reduce: Callable[[Poly], Poly], poly: Poly, name: str, at: tuple[int, ...], meaning: Poly
) -> Iterator[Poly]:
    """Yield a sum with an atom exchanged, unless that grows too large."""
    try:
        changed = exchanged(poly, name, at, meaning)
    except TooLarge:
        return
    if changed is not None:
        yield reduce(changed)


def labels(ring: Ring, name: str) -> tuple[int, ...]:
    """Return the labels at which an atom's meaning is given."""
    made = ring.made.get(name)
    return places(ring.axes[name]) if made is None else tuple(range(-len(made.home), 0))


def exchanged(
    poly: Poly, name: str, at: tuple[int, ...], meaning: Poly, step: Power = 1
) -> Poly | None:
    """Return a sum with an atom's powers, a whole number of steps, exchanged for what they mean."""
    changed = False
    if not meaning.pointwise:
        return None

    def steps(q: Power) -> Power:
        times = ratio(q, step)
        return times if times.denominator == 1 and 0 < times <= 4 else 0

    def change(key: Key) -> Poly | None:
        nonlocal changed
        chosen = [(p, q) for p, q in key if p[0] == name and steps(q)]
        if not chosen:
            return None
        changed = True
        # only the whole is put in order: until then the factors speak of the same bound labels
        rows = [(tuple(f for f in key if f not in chosen), ONE)]
        for (_, there), power in chosen:
            to = {i: j for i, j in zip(at, there, strict=True) if i != ABSENT}
            for _ in range(int(steps(power))):
                rows = multiplied(rows, within(meaning, to))
        return Poly(collect(entry(factors, c) for factors, c in rows))

    result = poly.each(change)
    return result if changed else None


def within(meaning: Poly, to: Mapping[int, int]) -> list[Row]:
    """Return a meaning's terms with its labels changed, to bound ones of what it stands in too."""
    return [(relabelled(key, to), c) for key, c in meaning.terms.items()]


def multiplied(rows: list[Row], part: list[Row]) -> list[Row]:
    """Return the products of two sums.

    Raises:
        TooLarge: there are too many.
    """
    if len(rows) * len(part) > MOST_TERMS:
        raise TooLarge
    return [((*a, *b), c * d) for a, c in rows for b, d in part]


Node = tuple[str, Power]
"""A power of an atom."""


def affine(ring: Ring) -> dict[Node, list[tuple[Node, Fraction, Fraction]]]:
    """Return for each power of an atom those that are a number times it plus a number."""
    found: dict[Node, list[tuple[Node, Fraction, Fraction]]] = {}
    for name in [*ring.means, *(n for n, m in ring.made.items() if m.how == "sum")]:
        meaning = ring.meaning(name)
        assert meaning is not None
        others = [key for key in meaning.terms if key]
        if len(meaning.terms) != 2 or len(others) != 1 or () not in meaning.terms:
            continue
        (key,) = others
        a, b = meaning.terms[key].number, meaning.terms[()].number
        if len(key) != 1 or a is None or b is None or key[0][0][1] != labels(ring, name):
            continue
        other, mine = (key[0][0][0], key[0][1]), (name, 1)
        found.setdefault(other, []).append((mine, a, b))  # name = a * other + b
        found.setdefault(mine, []).append((other, 1 / a, -b / a))
    return found


def in_terms_of(ring: Ring, basis: str) -> dict[Node, tuple[Fraction, Fraction]]:
    """Return every power of an atom that is a number times a basis atom plus a number."""
    state = (len(ring.means), len(ring.made))
    if ring.related.get("") != state:
        ring.related.clear()
        ring.related[""] = state
    if basis not in ring.related:
        ring.related[basis] = reached(affine(ring), basis)
    return ring.related[basis]


def reached(
    graph: dict[Node, list[tuple[Node, Fraction, Fraction]]], basis: str
) -> dict[Node, tuple[Fraction, Fraction]]:
    """Follow the relations between atoms from one of them."""
    found: dict[Node, tuple[Fraction, Fraction]] = {(basis, 1): (Fraction(1), Fraction(0))}
    todo: list[Node] = [(basis, 1)]
    while todo:
        one = todo.pop()
        p, q = found[one]
        for other, a, b in graph.get(one, ()):
            if other not in found:
                found[other] = (a * p, a * q + b)
                todo.append(other)
    return found


def as_product(ring: Ring, poly: Poly) -> Poly:
    """Return a sum that is a product in disguise as that: 1 - 1 / (1 + e) is e / (1 + e)."""
    if len(poly.terms) < 2 or not poly.pointwise or not divisors(poly):
        return poly
    short = canonical(ring, poly)
    if len(short.terms) != 2:
        return short if len(short.terms) == 1 else poly
    for basis in sorted(divisors(short)):
        spots = {p for key in short.terms for p, _ in key if p[0] == basis}
        if len(spots) == 1:
            found = one_factor(ring, short, next(iter(spots)))
            if found is not None:
                return found
    return poly


def one_factor(ring: Ring, short: Poly, place: Place) -> Poly | None:
    """Return a sum of two neighbouring powers of an atom as a product with a related atom."""
    parts = split(short, place)
    if parts is None or len(parts) != 1:
        return None
    (((outer, c), powers),) = parts.items()
    low, high = min(powers), max(powers)
    if high != low + 1:
        return None
    for (name, k), (a, b) in in_terms_of(ring, place[0]).items():
        if name != place[0] and a * powers[low] == b * powers[high]:
            factors = (*outer, (place, low), ((name, place[1]), k))
            return monomial(factors).scale(c).scale(constant(powers[high] / a))
    return None


def canonical(ring: Ring, poly: Poly) -> Poly:
    """Return a sum with related atoms written in that of them which divides."""
    for basis in sorted(divisors(poly)):
        try:
            poly = in_basis(ring, poly, basis)
        except TooLarge:
            return poly
    return poly


def divisors(poly: Poly) -> set[str]:
    """Return the atoms with negative powers."""
    return {n for key in poly.terms for (n, _), p in key if p < 0}


def in_basis(ring: Ring, poly: Poly, basis: str) -> Poly:
    """Return a sum with the atoms related to one of them written in terms of it."""
    for (name, k), (a, b) in in_terms_of(ring, basis).items():
        if name != basis and name in poly.atoms:
            at = tuple(range(-len(ring.axes[basis]), 0))
            meaning = atom(basis, at).scale(constant(a)) + number(b)
            changed = exchanged(poly, name, at, meaning, k)
            poly = poly if changed is None else changed
    return poly


def in_one_name(ring: Ring, words: list[Poly], poly: Poly) -> Iterator[Poly]:
    """Yield a sum as a polynomial in one name, for names of which it is one."""
    bases = {n for n in divisors(poly) | poly.atoms if n in ring.made or n in ring.means}
    for basis in sorted(bases):
        try:
            whole = in_basis(ring, poly, basis)
            spots = {p for key in whole.terms for p, _ in key if p[0] == basis}
            if len(spots) != 1:
                continue
            if whole != poly:
                yield whole
            (place,) = spots
            yield from as_polynomials(ring, words, whole, place)
        except TooLarge:
            continue


def as_polynomials(ring: Ring, words: list[Poly], whole: Poly, place: Place) -> Iterator[Poly]:
    """Yield a sum in one atom as a polynomial in each name that is made of that atom alone."""
    parts = split(whole, place)
    if parts is None:
        return
    for word in words:
        here = canonical_at(ring, word, place)
        if here is None:
            continue
        name, inner = here
        total = EMPTY
        for rest, univariate in parts.items():
            powers = solved(univariate, inner)
            if powers is None:
                break
            outer, c = rest
            for k, value in enumerate(powers):
                if value:
                    term = monomial((*outer, *((p, q * k) for p, q in name if k)))
                    total = total + term.scale(c).scale(constant(value))
        else:
            yield total


def split(whole: Poly, place: Place) -> dict[tuple[Key, Coefficient], Univariate] | None:
    """Return for each product of other factors the powers of one atom beside it."""
    found: dict[tuple[Key, Coefficient], Univariate] = {}
    for key, c in whole.terms.items():
        power: Power = next((q for p, q in key if p == place), 0)
        if power.denominator != 1:
            return None
        outer = tuple(f for f in key if f[0] != place)
        value = c.number
        if value is None:
            scale, value = c, Fraction(1)
            if len(c.terms) == 1:
                value = Fraction(c.terms[0][1])
                scale = c * constant(1 / value)
        else:
            scale = constant(1)
        row = found.setdefault((outer, scale), {})
        row[int(power)] = row.get(int(power), Fraction(0)) + value
    return found


def canonical_at(ring: Ring, word: Poly, place: Place) -> tuple[Key, Univariate] | None:
    """Return a name's own product, and what it is in powers of one atom; None if it is not."""
    only = word.single
    if only is None or only[1].number != 1 or not only[0] or only[0] == ((place, 1),):
        return None
    if len(only[0]) == 1 and only[0][0][1] == 1:
        (name, at), _ = only[0][0]
        meaning = ring.means.get(name)
        if meaning is not None:
            word = meaning.relabel(dict(zip(labels(ring, name), at, strict=True)))
    whole = in_basis(ring, word, place[0])
    made: Univariate = {}
    for key, c in whole.terms.items():
        value = c.number
        if value is None or any(p != place for p, _ in key) or len(key) > 1:
            return None
        power = key[0][1] if key else 0
        if power.denominator != 1:
            return None
        made[int(power)] = made.get(int(power), Fraction(0)) + value
    return (only[0], made) if any(made) else None


def solved(target: Univariate, inner: Univariate) -> list[Fraction] | None:
    """Return the coefficients of a polynomial in one sum that gives another, None if none does."""
    columns: list[Univariate] = [{0: Fraction(1)}]
    for _ in range(MOST_DEGREE):
        columns.append(convolved(columns[-1], inner))
    rows = sorted({k for column in (*columns, target) for k in column})
    matrix = [[c.get(k, Fraction(0)) for c in columns] + [target.get(k, Fraction(0))] for k in rows]
    return gauss(matrix, len(columns))


def convolved(a: Univariate, b: Univariate) -> Univariate:
    """Return the product of two sums of powers."""
    out: Univariate = {}
    for p, x in a.items():
        for q, y in b.items():
            out[p + q] = out.get(p + q, Fraction(0)) + x * y
    return {k: v for k, v in out.items() if v}


def gauss(matrix: list[list[Fraction]], count: int) -> list[Fraction] | None:
    """Solve linear equations exactly, unknowns that are free set to zero."""
    pivots: list[int] = []
    row = 0
    for column in range(count):
        found = next((r for r in range(row, len(matrix)) if matrix[r][column]), None)
        if found is None:
            continue
        matrix[row], matrix[found] = matrix[found], matrix[row]
        lead = matrix[row][column]
        matrix[row] = [value / lead for value in matrix[row]]
        for r, other in enumerate(matrix):
            if r != row and other[column]:
                matrix[r] = [x - other[column] * y for x, y in zip(other, matrix[row], strict=True)]
        pivots.append(column)
        row += 1
    if any(r[-1] for r in matrix[row:]):
        return None
    answer = [Fraction(0)] * count
    for r, column in enumerate(pivots):
        answer[column] = matrix[r][-1]
    return answer
