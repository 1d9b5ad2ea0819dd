"""Words for exponentials: one for a product of several, softmax, sigmoid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from handgrad.simplify.coefficient import ONE, constant
from handgrad.simplify.identities import exchanged
from handgrad.simplify.normal import ABSENT, Key, Place, Poly, Power, monomial
from handgrad.simplify.ring import Ring, compacted, places, spread
from handgrad.simplify.text import ATOM, Piece, applied
from handgrad.simplify.words import Vocabulary, Word

DEPTH = 2  # how deep an exponent is factored


class Printer(Protocol):
    """What writes an exponent."""

    ring: Ring
    vocabulary: Vocabulary

    def build(self, poly: Poly, depth: int, rank: int | None = None) -> Piece | None:
        """Return the cheapest text, None if there is none."""
        ...


def functions(refold: Printer, key: Key) -> Iterator[Word]:
    """Yield the words for functions that a monomial may be written with."""
    exponents = [(place, power, exponent(refold, place)) for place, power in key]
    chosen = [(place, power, e) for place, power, e in exponents if e is not None]
    if chosen and all(power.denominator == 1 for _, power, _ in chosen):
        yield from exponential(refold, chosen)
    for (name, _), _ in key:
        meaning = refold.ring.meaning(name)
        if meaning is not None:
            yield from softmax(refold, name, meaning)
            yield from sigmoid(refold, name, meaning)


def exponent(refold: Printer, place: Place) -> Poly | None:
    """Return the logarithm of an atom, if it has a plain one."""
    name, at = place
    made = refold.ring.made.get(name)
    if made is not None and made.how == "exp":
        return made.at(at)
    inner = monomial([(place, 1)])
    log = refold.ring.found.get(("log", compacted(inner).key))
    if log is None:
        return None
    return monomial([((log, tuple(i for i in at if i != ABSENT)), 1)])


def exponential(refold: Printer, chosen: list[tuple[Place, Power, Poly]]) -> Iterator[Word]:
    """Yield the word for e to the sum of several exponents."""
    (name, at), _, _ = max(chosen, key=lambda c: sum(i != ABSENT for i in c[0][1]))
    to = {i: k for i, k in zip(at, refold.ring.home(name), strict=True) if i != ABSENT}
    if any(i not in to and i != ABSENT for (_, at), _, _ in chosen for i in at):
        return
    total = Poly({})
    for _, power, exponent in chosen:
        total = total + exponent.scale(constant(power))
    forms = [refold.build(p, DEPTH) for p in logarithms(refold, total.relabel(to))]
    inner = min((p for p in forms if p is not None), key=lambda p: p.rank, default=None)
    key = monomial((place, power) for place, power, _ in chosen).relabel(to)
    only = key.single
    if inner is not None and only is not None:
        piece = applied("exp", inner)
        yield Word(piece.text, only[0], spread(tuple(sorted(to.values()))), piece=piece)


def logarithms(refold: Printer, total: Poly) -> Iterator[Poly]:
    """Yield an exponent, and the same with logarithms written by the names that they are in."""
    yield total
    for name, meaning in refold.ring.means.items():
        for key, c in meaning.terms.items():
            made = refold.ring.made.get(key[0][0][0]) if len(key) == 1 else None
            if made is None or made.how != "log" or abs(c.number or 0) != 1 or key[0][1] != 1:
                continue
            if not any(w.name == name for w in refold.vocabulary.by_atom.get(name, ())):
                continue
            others = Poly({k: v for k, v in meaning.terms.items() if k != key})
            if not others.pointwise:
                continue
            me = monomial([((name, places(refold.ring.axes[name])), 1)])
            value = (me - others).scale(c)
            changed = exchanged(total, key[0][0][0], key[0][0][1], value)
            if changed is not None:
                yield changed
                yield from opened(refold, changed)


def opened(refold: Printer, total: Poly) -> Iterator[Poly]:
    """Yield a sum with each name in it that is a sum itself opened."""
    for name in total.atoms:
        meaning = refold.ring.means.get(name)
        if meaning is not None and meaning.pointwise:
            changed = exchanged(total, name, places(refold.ring.axes[name]), meaning)
            if changed is not None:
                yield changed


def softmax(refold: Printer, name: str, meaning: Poly) -> Iterator[Word]:
    """Yield the word for an exponential over its sum along an axis."""
    only = meaning.single
    if only is None or only[1] != ONE or len(only[0]) != 2:
        return
    (_, (place, power)) = only[0]
    made = refold.ring.made.get(place[0])
    if made is None or made.how != "exp" or power != 1 or place[1].count(0) != 1:
        return
    home = made.home
    along = home[place[1].index(0)]
    inner = refold.build(made.at(home), DEPTH)
    own = tuple(i for i in home if i != along)
    free = [i for i in refold.ring.axes[name] if i]
    if inner is None or len(free) != len(own):
        return
    if name not in refold.ring.made:
        own = (
            tuple(ABSENT if not a else next(rest) for a in refold.ring.axes[name])
            if (rest := iter(own))
            else own
        )
    whole = monomial([((place[0], home), 1), ((name, own), -1)])
    rank = -min(home)
    dim = along + rank if rank < 3 and refold.vocabulary.rank(inner) == rank else along
    piece = Piece(f"{inner.at(ATOM)}.softmax({dim})", ATOM, inner.cost + 1.4, inner.reads)
    (key,) = whole.terms
    yield Word(piece.text, key, spread(home), piece=piece)


def sigmoid(refold: Printer, name: str, meaning: Poly) -> Iterator[Word]:
    """Yield the words for u / (1 + u) and 1 / (1 + u), where u is an exponential."""
    if len(meaning.terms) != 2 or meaning.terms.get(()) != ONE:
        return
    (key,) = [k for k in meaning.terms if k]
    if len(key) != 1 or key[0][1] != 1 or meaning.terms[key] != ONE:
        return
    made = refold.ring.made.get(key[0][0][0])
    if made is None or made.how != "exp":
        return
    home = made.home
    rest = dict(zip(key[0][0][1], home, strict=True))
    under = tuple(rest.get(i, i) for i in labels_of(refold, name))
    for sign, factors in (
        (1, [((key[0][0][0], home), 1), ((name, under), -1)]),
        (-1, [((name, under), -1)]),
    ):
        inner = refold.build(made.at(home).scale(constant(sign)), DEPTH)
        if inner is not None:
            piece = Piece(f"torch.sigmoid({inner.text})", ATOM, inner.cost + 1, inner.reads)
            (whole,) = monomial(factors).terms
            yield Word(piece.text, whole, spread(home), piece=piece)


def labels_of(refold: Printer, name: str) -> tuple[int, ...]:
    """Return the labels at which an atom's meaning is given."""
    made = refold.ring.made.get(name)
    return places(refold.ring.axes[name]) if made is None else tuple(range(-len(made.home), 0))
