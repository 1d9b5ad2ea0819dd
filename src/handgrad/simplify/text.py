"""Pieces of source text that know their cost: how many tensor operations they do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from handgrad.simplify.coefficient import ONE, Coefficient, Rational, Terms
from handgrad.simplify.normal import Power

SUM, PRODUCT, UNARY, POWER, ATOM = 10, 11, 12, 13, 15


@dataclass(frozen=True)
class Piece:
    """An expression's text.

    Attributes:
        level: how tightly its outermost operator binds.
        cost: tensor operations in it.
        reads: the names in it.
    """

    text: str
    level: int
    cost: float
    reads: frozenset[str] = frozenset()

    def at(self, level: int) -> str:
        """Return the text, in brackets where its place asks for a tighter operator."""
        return self.text if self.level >= level else f"({self.text})"

    @property
    def rank(self) -> tuple[float, int, int, int, str]:
        """Return what to choose by: operations, then names read, then how often, then length."""
        return (round(self.cost, 3), *taste(self.text))


def taste(text: str) -> tuple[int, int, int, str]:
    """Return what to choose by between texts that do as much: names in them, then length."""
    found = re.findall(r"[A-Za-z_]\w*", text)
    return len(set(found)), len(found), len(text), text


def joined(terms: list[tuple[bool, Piece]]) -> Piece:
    """Return a sum of pieces, each with whether it is subtracted."""
    ordered = sorted(terms, key=lambda t: (t[0], is_fraction(t[1].text)))
    negative, first = ordered[0]
    text = ("-" + first.at(PRODUCT)) if negative else first.at(SUM)
    level = UNARY if negative and first.level >= UNARY else first.level
    if negative and first.level == PRODUCT:
        level = PRODUCT
    cost = first.cost + (1 if negative else 0)
    reads = set(first.reads)
    for minus, piece in ordered[1:]:
        text += (" - " if minus else " + ") + piece.at(PRODUCT)
        level, cost = SUM, cost + 1 + piece.cost
        reads |= piece.reads
    return Piece(text, level if len(terms) == 1 else SUM, cost, frozenset(reads))


def is_fraction(text: str) -> bool:
    """Tell whether a text is a number that is not whole: it stands last, as in `var + 1e-5`."""
    return re.fullmatch(r"\d*\.\d+(e-?\d+)?|\d+e-\d+", text) is not None


def multiplied(over: list[Piece], under: list[Piece]) -> Piece:
    """Return a product of pieces, divided by others."""
    over, powers = repeated(over), repeated(under)
    if not over:
        over = [Piece("1", ATOM, 0)]
    text, level = over[0].text, over[0].level
    if len(over) + len(powers) > 1:
        text, level = over[0].at(PRODUCT), PRODUCT
    cost = over[0].cost
    for piece in over[1:]:
        text += f" * {piece.at(UNARY)}"
        cost += 1 + piece.cost
    for piece in powers:
        text += f" / {piece.at(UNARY)}"
        cost += 1.01 + piece.cost
    reads = frozenset().union(*(p.reads for p in (*over, *powers)))
    return Piece(text, level, cost, reads)


def repeated(pieces: list[Piece]) -> list[Piece]:
    """Write a piece that occurs several times as a power."""
    count: dict[Piece, int] = {}
    for piece in pieces:
        count[piece] = count.get(piece, 0) + 1
    return [p if k == 1 else raised(p, Fraction(k)) for p, k in count.items()]


def raised(piece: Piece, power: Power) -> Piece:
    """Return a power of a piece."""
    shown = fraction_text(power)
    exponent = f"({shown})" if "/" in shown else shown
    return Piece(f"{piece.at(ATOM)}**{exponent}", POWER, piece.cost + 1, piece.reads)


def fraction_text(value: Rational) -> str:
    """Return a rational number as a person writes it: `0.5`, `3`, `1/3`."""
    if value.denominator == 1:
        return str(value.numerator)
    short = repr(float(value))
    if Fraction(short) == value and len(short) <= 7:
        return short.replace("e-0", "e-")
    if Fraction(short) == value and (len(short) < 20 or "e" in short):
        return short.replace("e-0", "e-")
    return f"{value.numerator}/{value.denominator}"


def coefficient_pieces(c: Coefficient, names: Mapping[str, str]) -> tuple[list[Piece], list[Piece]]:
    """Return a positive coefficient as one number to multiply by, or one to divide by."""
    if c == ONE:
        return [], []
    scale = c.terms[0][1] if len(c.terms) == 1 else Fraction(1)
    over: list[str] = []
    under: list[str] = []
    if len(c.terms) == 1:
        for symbol, power in c.terms[0][0]:
            (over if power > 0 else under).append(powered(names.get(symbol, symbol), abs(power)))
    else:
        over.append(f"({terms_text(c.terms, names)})")
    for factor, power in c.under:
        under.append(powered(f"({terms_text(factor, names)})", power))
    if fraction_text(scale).find("/") < 0:
        top = [fraction_text(scale)] if scale != 1 else []
    else:
        top = [str(scale.numerator)] if scale.numerator != 1 else []
        under.insert(0, str(scale.denominator))
    over = top + over
    if not over and under:
        text = under[0] if len(under) == 1 else f"({' * '.join(under)})"
        return [], [Piece(text, ATOM, 0)]
    text = " * ".join(over)
    if under:
        text += "".join(f"/{part}" for part in under)
    level = ATOM if len(over) == 1 and not under else PRODUCT
    return [Piece(text, level, 0)], []


def powered(text: str, power: int) -> str:
    """Return a number's text to a power."""
    return text if power == 1 else f"{text}**{power}"


def terms_text(terms: Terms, names: Mapping[str, str]) -> str:
    """Return a sum of numbers as text: `n - 1`."""
    parts: list[str] = []
    for powers, scale in terms:
        factors = [powered(names.get(s, s), p) for s, p in powers if p > 0]
        below = [powered(names.get(s, s), -p) for s, p in powers if p < 0]
        size = fraction_text(abs(scale))
        if abs(scale) != 1 or not factors:
            factors.insert(0, size)
        text = " * ".join(factors) + "".join(f" / {b}" for b in below)
        parts.append((" - " if scale < 0 else " + ") + text)
    whole = "".join(parts)
    return whole[3:] if whole.startswith(" + ") else "-" + whole[3:]


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
