"""From a normal form back to text: names for products, common factors out, fewest operations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from handgrad.simplify.coefficient import ONE, Coefficient, constant, symbol
from handgrad.simplify.count import count
from handgrad.simplify.identities import exchanged
from handgrad.simplify.normal import ABSENT, Key, Place, Poly, Power, bound_count, monomial
from handgrad.simplify.placing import Frame, frame_of, placed, shift
from handgrad.simplify.ring import Ring, compacted, places, spread
from handgrad.simplify.sizes import is_size, names_in
from handgrad.simplify.text import (
    ATOM,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Piece,
    coefficient_pieces,
    joined,
    multiplied,
    raised,
)
from handgrad.simplify.words import Pick, Vocabulary, Word

MOST_SUMMANDS = 12
MOST_GROUPS = 6
DEPTH = 3


class Unwritable(Exception):
    """A normal form that the printer has no text for."""


@dataclass
class Refold:
    """Write normal forms in the words of a vocabulary.

    Attributes:
        sizes: the text of each size symbol.
        scales: try taking coefficients out of brackets.
    """

    ring: Ring
    vocabulary: Vocabulary
    sizes: Mapping[str, str]
    enriched: set[Key] = field(default_factory=set[Key])
    memo: dict[object, Piece | None] = field(default_factory=dict[object, "Piece | None"])

    def show(self, poly: Poly, rank: int | None = None) -> Piece:
        """Return the cheapest text of a sum.

        Args:
            poly: the sum, its free labels where they are to stay.
            rank: how many axes the result may have, where that matters.

        Raises:
            Unwritable: there is none.
        """
        found = self.build(poly, DEPTH, rank)
        if found is None:
            raise Unwritable
        return found

    def build(
        self, poly: Poly, depth: int, rank: int | None = None, *, plain: bool = False
    ) -> Piece | None:
        """Return the cheapest text, None if there is none; a plain one has no number before it."""
        if not poly.terms:
            return Piece("0", ATOM, 0)
        unless = negation(poly)
        if unless is not None:
            word = next(w for w in self.vocabulary.by_atom[unless[0]] if w.name == unless[0])
            piece = placed(self.piece(word), Pick(word, unless[1], 1), None)
            return piece and Piece(f"~{piece.at(ATOM)}", UNARY, piece.cost + 1, piece.reads)
        key = (poly.key, (depth, rank, plain))
        if key not in self.memo:
            options = [p for p in self.options(poly, depth, rank, plain) if p is not None]
            self.memo[key] = min(options, key=lambda p: p.rank, default=None)
        return self.memo[key]

    def options(
        self, poly: Poly, depth: int, rank: int | None, plain: bool
    ) -> Iterator[Piece | None]:
        """Yield ways to write a sum."""
        yield self.flat(poly, rank)
        if len(poly.terms) < 2 or depth == 0 or len(poly.terms) > MOST_SUMMANDS:
            return
        common = shared(list(poly.terms))
        for outer in [common, {}] if common else [{}]:
            rest = poly * monomial((place, -p) for place, p in outer.items())
            for scale in [ONE] if plain else scales(rest):
                scaled = rest.scale(scale.inverse())
                if (outer or scale != ONE) and safely(rest, scaled):
                    inner = self.build(scaled, depth - 1, rank, plain=True)
                    factor = monomial(outer.items(), scale)
                    yield self.outside(factor, inner, rank)
        if not common and len(poly.terms) > 2:
            yield from self.partly(poly, depth, rank)
            yield from self.by_number(poly, depth, rank)

    def outside(self, factor: Poly, inner: Piece | None, rank: int | None) -> Piece | None:
        """Write a common factor times what is left in brackets."""
        if inner is None:
            return None
        ((key, c),) = factor.terms.items()
        return self.product(key, c, [inner], rank)

    def partly(self, poly: Poly, depth: int, rank: int | None) -> Iterator[Piece | None]:
        """Yield ways to take a factor out of some of the terms."""
        keys = list(poly.terms)
        found: dict[tuple[Key, ...], int] = {}
        for a, b in itertools.combinations(keys, 2):
            common = shared([a, b])
            if common:
                chosen = tuple(k for k in keys if divides(common, k))
                found[chosen] = max(found.get(chosen, 0), len(chosen) * len(common))
        for chosen in sorted(found, key=lambda c: -found[c])[:MOST_GROUPS]:
            group = Poly({k: poly.terms[k] for k in chosen})
            rest = Poly({k: c for k, c in poly.terms.items() if k not in chosen})
            one, other = self.build(group, depth - 1, rank), self.build(rest, depth - 1, rank)
            if one is not None and other is not None:
                yield added(one, other)

    def by_number(self, poly: Poly, depth: int, rank: int | None) -> Iterator[Piece | None]:
        """Yield ways to divide or multiply several terms at once by the number that they have."""
        numbers = {(-c if c.negative else c) for c in poly.terms.values()} - {ONE}
        for number in numbers:
            chosen = {k: c for k, c in poly.terms.items() if number in (c, -c)}
            if 1 < len(chosen) < len(poly.terms):
                first = next(iter(chosen.values()))
                group = Poly(chosen).scale(first.inverse())
                rest = Poly({k: c for k, c in poly.terms.items() if k not in chosen})
                inner = self.build(group, depth - 1, rank, plain=True)
                other = self.build(rest, depth - 1, rank, plain=True)
                outer = inner and self.product((), number, [inner], rank)
                if outer is not None and other is not None:
                    yield joined([(False, other), (first.negative, outer)])

    def flat(self, poly: Poly, rank: int | None) -> Piece | None:
        """Write a sum term by term."""
        if len(poly.terms) == 1:
            ((key, c),) = poly.terms.items()
            return self.product(key, c, [], rank)
        terms: list[tuple[bool, Piece]] = []
        for key, c in sorted(
            poly.terms.items(), key=lambda t: (bound_count(t[0]), len(t[0]), t[0])
        ):
            minus = c.negative
            piece = self.product(key, -c if minus else c, [], rank)
            if piece is None:
                return None
            if piece.text[0] == "-" and piece.level >= PRODUCT:
                saved = not piece.text[1].isdigit()
                piece = replace(piece, text=piece.text[1:], cost=piece.cost - saved)
                minus = not minus
            terms.append((minus, piece))
        return joined(terms)

    def product(
        self, key: Key, c: Coefficient, inner: list[Piece], rank: int | None
    ) -> Piece | None:
        """Write a product of a coefficient, a monomial and pieces in brackets."""
        self.enrich(key)
        picks = self.vocabulary.cover(key, lambda word: self.piece(word).cost)
        if picks is None:
            return None
        picks = sorted(picks, key=self.order)
        for pick in picks:
            c = c * power_of(pick.word.by, pick.power).inverse() if pick.word.by != ONE else c
        minus, c = c.negative, (-c if c.negative else c)
        over, under, c = self.factors(key, picks, c, rank) or (None, None, c)
        if over is None or under is None:
            return None
        top, bottom = coefficient_pieces(c, self.sizes)
        if bottom and not top and (minus or not (over or inner)):
            top, bottom = [Piece(f"1/{bottom[0].at(ATOM)}", PRODUCT, 0)], []
        parts = [*top, *over, *inner]
        if minus:
            parts = negated(parts, top)
        return multiplied(parts, [*under, *bottom])

    def order(self, pick: Pick) -> tuple[bool, int]:
        """Return where a word goes in a product: gradients first, then as the program has them."""
        name = pick.word.name
        place = next((k for k, w in enumerate(self.vocabulary.words) if w is pick.word), 0)
        return name not in self.ring.linear, place

    def factors(
        self, key: Key, picks: list[Pick], c: Coefficient, rank: int | None
    ) -> tuple[list[Piece], list[Piece], Coefficient] | None:
        """Write the words of a product: those above the line, those below, the coefficient left."""
        over: list[Piece] = []
        under: list[Piece] = []
        grouped: list[Pick] = []
        alone: list[Pick] = []
        for pick in picks:
            if any(label >= 0 for label in pick.at):
                grouped.append(pick)
                continue
            alone.append(pick)
        if not self.put_all(alone, None, over, under):
            return None
        for group in connected(grouped):
            done = self.summed(key, group, c, rank)
            if done is None:
                return None
            piece, c = done
            over.append(piece)
        return over, under, c

    def put_all(
        self, picks: list[Pick], frame: Frame | None, over: list[Piece], under: list[Piece]
    ) -> bool:
        """Add words to a product, those that get the same new axes in one; False if one cannot."""
        moved: dict[tuple[int, ...], list[Pick]] = {}
        for pick in picks:
            where = shift(pick, frame)
            if where is not None:
                moved.setdefault(where, []).append(pick)
                continue
            piece = placed(self.piece(pick.word), pick, frame)
            if piece is None:
                return False
            put(piece, pick.power, over, under)
        for where, many in moved.items():
            top: list[Piece] = []
            bottom: list[Piece] = []
            for pick in many:
                put(self.piece(pick.word), pick.power, top, bottom)
            flipped = not top
            inner = multiplied(bottom, []) if flipped else multiplied(top, bottom)
            text = ", ".join(":" if k in where else "None" for k in range(where[0], 0))
            piece = Piece(f"{inner.at(ATOM)}[{text}]", ATOM, inner.cost + 1, inner.reads)
            (under if flipped else over).append(piece)
        return True

    def summed(
        self, key: Key, group: list[Pick], c: Coefficient, rank: int | None
    ) -> tuple[Piece, Coefficient] | None:
        """Write a sum over axes of a product of words; a mean where the coefficient asks for it."""
        frame = frame_of(group, rank)
        if frame is None:
            return None
        over: list[Piece] = []
        under: list[Piece] = []
        if not self.put_all(group, frame, over, under):
            return None
        inner = multiplied(over, under)
        sizes = ONE
        for (name, at), _ in key:
            if name[0] == "#" and at[0] in frame.bound:
                sizes = sizes * symbol(name[1:])
        whole = c * sizes
        mean = simpler(whole, c)
        text = f"{inner.at(ATOM)}.{'mean' if mean else 'sum'}({frame.arguments})"
        return Piece(text, ATOM, inner.cost + 1, inner.reads), whole if mean else c

    def piece(self, word: Word) -> Piece:
        """Return a word's text; that of an atom without a name is what it stands for."""
        if word.piece is not None:
            return word.piece
        key = (("word", word.name), 0)
        if key not in self.memo and word.name.startswith("[one_hot "):
            self.memo[key] = self.one_hot(word.name)
        if key not in self.memo:
            made = self.ring.made[word.name]
            inner = self.show(made.at(made.home))
            self.memo[key] = inner if made.how == "sum" else applied(made.how, inner)
        found = self.memo[key]
        assert found is not None
        return found

    def one_hot(self, name: str) -> Piece:
        """Return the text of a one-hot of labels."""
        text = self.ring.texts[name]
        size = self.sizes.get(self.ring.axes[name][-1], "-1")
        reads = frozenset(names_in(text))
        return Piece(f"F.one_hot({text}, num_classes={size})", ATOM, 1 + count(text), reads)

    def enrich(self, key: Key) -> None:
        """Add words for the exponentials in a monomial: one for all together, softmax, sigmoid."""
        atoms = frozenset(self.ring.functional & {name for (name, _), _ in key})
        mark = tuple(f for f in key if f[0][0] in atoms)
        if not mark or mark in self.enriched:
            return
        self.enriched.add(mark)
        for word in self.functions(mark):
            if word.key not in {known.key for known in self.vocabulary.words}:
                self.vocabulary.add(word)

    def functions(self, key: Key) -> Iterator[Word]:
        """Yield the words for functions that a monomial may be written with."""
        exponents = [(place, power, self.exponent(place)) for place, power in key]
        chosen = [(place, power, e) for place, power, e in exponents if e is not None]
        if chosen and all(power.denominator == 1 for _, power, _ in chosen):
            yield from self.exponential(chosen)
        for (name, _), _ in key:
            meaning = self.ring.meaning(name)
            if meaning is not None:
                yield from self.softmax(name, meaning)
                yield from self.sigmoid(name, meaning)

    def exponent(self, place: Place) -> Poly | None:
        """Return the logarithm of an atom, if it has a plain one."""
        name, at = place
        made = self.ring.made.get(name)
        if made is not None and made.how == "exp":
            return made.at(at)
        inner = monomial([(place, 1)])
        log = self.ring.found.get(("log", compacted(inner).key))
        if log is None:
            return None
        return monomial([((log, tuple(i for i in at if i != ABSENT)), 1)])

    def exponential(self, chosen: list[tuple[Place, Fraction, Poly]]) -> Iterator[Word]:
        """Yield the word for e to the sum of several exponents."""
        (name, at), _, _ = max(chosen, key=lambda c: sum(i != ABSENT for i in c[0][1]))
        to = {i: k for i, k in zip(at, self.ring.home(name), strict=True) if i != ABSENT}
        if any(i not in to and i != ABSENT for (_, at), _, _ in chosen for i in at):
            return
        total = Poly({})
        for _, power, exponent in chosen:
            total = total + exponent.scale(constant(power))
        forms = [self.build(p, DEPTH - 1) for p in self.logarithms(total.relabel(to))]
        inner = min((p for p in forms if p is not None), key=lambda p: p.rank, default=None)
        key = monomial((place, power) for place, power, _ in chosen).relabel(to)
        only = key.single
        if inner is not None and only is not None:
            piece = applied("exp", inner)
            yield Word(piece.text, only[0], spread(tuple(sorted(to.values()))), piece=piece)

    def logarithms(self, total: Poly) -> Iterator[Poly]:
        """Yield an exponent, and the same with logarithms written by the names that they are in."""
        yield total
        for name, meaning in self.ring.means.items():
            for key, c in meaning.terms.items():
                made = self.ring.made.get(key[0][0][0]) if len(key) == 1 else None
                if made is None or made.how != "log" or abs(c.number or 0) != 1 or key[0][1] != 1:
                    continue
                if not any(w.name == name for w in self.vocabulary.by_atom.get(name, ())):
                    continue
                others = Poly({k: v for k, v in meaning.terms.items() if k != key})
                if not others.pointwise:
                    continue
                me = monomial([((name, places(self.ring.axes[name])), 1)])
                value = (me - others).scale(c)
                changed = exchanged(total, key[0][0][0], key[0][0][1], value)
                if changed is not None:
                    yield changed
                    yield from self.opened(changed)

    def opened(self, total: Poly) -> Iterator[Poly]:
        """Yield a sum with each name in it that is a sum itself opened."""
        for name in total.atoms:
            meaning = self.ring.means.get(name)
            if meaning is not None and meaning.pointwise:
                changed = exchanged(total, name, places(self.ring.axes[name]), meaning)
                if changed is not None:
                    yield changed

    def softmax(self, name: str, meaning: Poly) -> Iterator[Word]:
        """Yield the word for an exponential over its sum along an axis."""
        only = meaning.single
        if only is None or only[1] != ONE or len(only[0]) != 2:
            return
        (_, (place, power)) = only[0]
        made = self.ring.made.get(place[0])
        if made is None or made.how != "exp" or power != 1 or place[1].count(0) != 1:
            return
        home = made.home
        along = home[place[1].index(0)]
        inner = self.build(made.at(home), DEPTH - 1)
        own = tuple(i for i in home if i != along)
        free = [i for i in self.ring.axes[name] if i]
        if inner is None or len(free) != len(own):
            return
        if name not in self.ring.made:
            own = (
                tuple(ABSENT if not a else next(rest) for a in self.ring.axes[name])
                if (rest := iter(own))
                else own
            )
        whole = monomial([((place[0], home), 1), ((name, own), -1)])
        rank = -min(home)
        read = [len(w.labels) for w in self.vocabulary.words if w.name in inner.reads]
        dim = along + rank if rank < 3 and max(read, default=0) == rank else along
        piece = Piece(f"{inner.at(ATOM)}.softmax({dim})", ATOM, inner.cost + 1.4, inner.reads)
        (key,) = whole.terms
        yield Word(piece.text, key, spread(home), piece=piece)

    def sigmoid(self, name: str, meaning: Poly) -> Iterator[Word]:
        """Yield the words for u / (1 + u) and 1 / (1 + u), where u is an exponential."""
        if len(meaning.terms) != 2 or meaning.terms.get(()) != ONE:
            return
        (key,) = [k for k in meaning.terms if k]
        if len(key) != 1 or key[0][1] != 1 or meaning.terms[key] != ONE:
            return
        made = self.ring.made.get(key[0][0][0])
        if made is None or made.how != "exp":
            return
        home = made.home
        rest = dict(zip(key[0][0][1], home, strict=True))
        under = tuple(rest.get(i, i) for i in self.labels_of(name))
        for sign, factors in (
            (1, [((key[0][0][0], home), 1), ((name, under), -1)]),
            (-1, [((name, under), -1)]),
        ):
            inner = self.build(made.at(home).scale(constant(sign)), DEPTH - 1)
            if inner is not None:
                piece = Piece(f"torch.sigmoid({inner.text})", ATOM, inner.cost + 1, inner.reads)
                (whole,) = monomial(factors).terms
                yield Word(piece.text, whole, spread(home), piece=piece)

    def labels_of(self, name: str) -> tuple[int, ...]:
        """Return the labels at which an atom's meaning is given."""
        made = self.ring.made.get(name)
        return places(self.ring.axes[name]) if made is None else tuple(range(-len(made.home), 0))


def negation(poly: Poly) -> Place | None:
    """Return the condition whose negation a sum is: one minus something that is 0 or 1."""
    if len(poly.terms) != 2 or poly.terms.get(()) != ONE:
        return None
    (key,) = [k for k in poly.terms if k]
    condition = len(key) == 1 and key[0][0][0][0] == "[" and poly.terms[key] == constant(-1)
    return key[0][0] if condition and not key[0][0][0].startswith("[one_hot") else None


def applied(how: str, inner: Piece) -> Piece:
    """Return a function of a piece."""
    if how in ("exp", "log"):
        return Piece(f"{inner.at(ATOM)}.{how}()", ATOM, inner.cost + 1, inner.reads)
    return Piece(how.format(inner.text), ATOM, inner.cost + 1, inner.reads)


def put(piece: Piece, power: Power, over: list[Piece], under: list[Piece]) -> None:
    """Add a piece to a product as often as its power says."""
    if power.denominator == 1 and abs(power) <= 3:
        (over if power > 0 else under).extend([piece] * int(abs(power)))
    else:
        over.append(raised(piece, power))


def negated(parts: list[Piece], top: list[Piece]) -> list[Piece]:
    """Return a product with a minus in front; in front of a number it costs nothing."""
    first, *rest = parts or [Piece("1", ATOM, 0)]
    free = bool(top) or not parts
    text = f"-{first.at(POWER)}" if first.level != 11 or not top else f"-{first.text}"
    level = 12 if first.level != 11 or not top else 11
    return [Piece(text, level, first.cost + (0 if free else 1), first.reads), *rest]


def added(one: Piece, other: Piece) -> Piece:
    """Return the sum of two pieces; one that starts with a minus goes second."""
    if one.text.startswith("-") and not other.text.startswith("-"):
        one, other = other, one
    text, reads = f"{one.at(SUM)} + {other.at(SUM)}", one.reads | other.reads
    cost = one.cost + other.cost + 1
    if other.text.startswith("-"):
        return Piece(f"{one.at(SUM)} - {other.text[1:]}", SUM, cost - 1, reads)
    return Piece(text, SUM, cost, reads)


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


def below(c: Coefficient) -> set[object]:
    """Return what a coefficient divides by, but for sizes and numbers."""
    names = {s for powers, _ in c.terms for s, p in powers if p < 0 and not is_size(s)}
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


__all__ = ["Frame", "Refold", "Unwritable"]
