"""From a normal form back to text: names for products, common factors out, fewest operations."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from handgrad.simplify.coefficient import ONE, Coefficient, symbol
from handgrad.simplify.count import count
from handgrad.simplify.effort import go_on
from handgrad.simplify.exponentials import functions
from handgrad.simplify.factoring import (
    connected,
    divides,
    legibly,
    negation,
    power_of,
    safely,
    scales,
    shared,
    simpler,
)
from handgrad.simplify.normal import Key, Poly, bound_count, monomial
from handgrad.simplify.placing import Frame, frame_of, placed, shift
from handgrad.simplify.ring import Ring
from handgrad.simplify.sizes import names_in
from handgrad.simplify.text import (
    ATOM,
    PRODUCT,
    UNARY,
    Piece,
    added,
    applied,
    coefficient_pieces,
    joined,
    multiplied,
    negated,
    put,
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
        go_on()
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
                tidy = safely(rest, scaled) and legibly(rest, scaled)
                if tidy and (outer or scale != ONE):
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
        alike = self.alike_powers(picks, frame, over)
        for pick in picks:
            where = shift(pick, frame)
            if where is not None:
                moved.setdefault(where, []).append(pick)
                continue
            if pick in alike:
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

    def alike_powers(self, picks: list[Pick], frame: Frame | None, over: list[Piece]) -> list[Pick]:
        """Add words with the same whole power to a product as one, `(a / b)**2`; return them."""
        plain = [p for p in picks if shift(p, frame) is None and abs(p.power) > 1]
        powers = Counter(abs(p.power) for p in plain if Fraction(p.power).denominator == 1)
        power = next((k for k, times in powers.items() if times > 1), None)
        many = [p for p in plain if power is not None and abs(p.power) == power]
        pieces = [placed(self.piece(p.word), p, frame) for p in many]
        if power is None or None in pieces or all(p.power < 0 for p in many):
            return []
        top: list[Piece] = []
        bottom: list[Piece] = []
        for pick, piece in zip(many, pieces, strict=True):
            assert piece is not None
            (top if pick.power > 0 else bottom).append(piece)
        over.append(raised(multiplied(top, bottom), power))
        return many

    def summed(
        self, key: Key, group: list[Pick], c: Coefficient, rank: int | None
    ) -> tuple[Piece, Coefficient] | None:
        """Write a sum over axes of a product of words; a mean where the coefficient asks for it."""
        most = max(self.vocabulary.rank(self.piece(pick.word)) for pick in group)
        frame = frame_of(group, rank, most)
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
        for word in functions(self, mark):
            if word.key not in {known.key for known in self.vocabulary.words}:
                self.vocabulary.add(word)
