"""The atoms that normal forms are made of, and how powers, exponentials and sums become atoms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from handgrad.simplify.coefficient import ONE, Coefficient, constant, ratio
from handgrad.simplify.normal import ABSENT, EMPTY, Key, Poly, atom, bound_count, monomial, number
from handgrad.simplify.sizes import Axes

MINUS = constant(-1)
MOST_OPENED = 8
MOST_POWER = (
    32  # of a number that is multiplied out, or of an exponential: -1e9 is a mask, no power
)


@dataclass(frozen=True)
class Made:
    """What an atom that is no name stands for.

    Attributes:
        how: `sum`, `exp`, `log`, or the text of a function with `{}` for its argument.
        of: the argument, at labels -k to -1.
        home: the labels that it was first read at: they say which axes it has when it is written.
    """

    how: str
    of: Poly
    home: tuple[int, ...] = ()

    def at(self, labels: tuple[int, ...]) -> Poly:
        """Return the argument at labels."""
        return self.of.relabel(dict(zip(range(-len(labels), 0), labels, strict=True)))


@dataclass
class Ring:
    """The atoms of a program.

    Attributes:
        axes: for each atom the size symbol of each place that it is read at.
        made: what the atoms without a name stand for.
        means: for each named sum, what it is in terms of other atoms.
        positive: atoms known to be above zero wherever the program has a value.
        linear: upstream gradients: a product with one of them is multiplied out.
        related: for atoms, those that are a number times them plus a number; as found so far.
        open_exponents: write out the names that are differences in what is exponentiated.
        divided: atoms that a forward line divides by: they are not 0.
        hidden: atoms that are minus infinity under a condition: its atom, labels, and whether
            that is where it holds.
        functional: atoms that exponentials are made of, or sums of them.
        texts: the spelling of each atom that is left as it was written.
        called: the program's name for an atom that is a function of others.
    """

    axes: dict[str, Axes] = field(default_factory=dict[str, Axes])
    made: dict[str, Made] = field(default_factory=dict[str, Made])
    means: dict[str, Poly] = field(default_factory=dict[str, Poly])
    positive: set[str] = field(default_factory=set[str])
    linear: set[str] = field(default_factory=set[str])
    texts: dict[str, str] = field(default_factory=dict[str, str])
    called: dict[str, str] = field(default_factory=dict[str, str])
    found: dict[tuple[str, object], str] = field(default_factory=dict[tuple[str, object], str])
    functional: set[str] = field(default_factory=set[str])
    hidden: dict[str, tuple[str, tuple[int, ...], bool]] = field(
        default_factory=dict[str, "tuple[str, tuple[int, ...], bool]"]
    )
    ahead: bool = True
    related: dict[str, Any] = field(default_factory=dict[str, Any])
    open_exponents: bool = False
    divided: set[str] = field(default_factory=set[str])
    disguise: Callable[[Poly], Poly] = lambda poly: poly
    notice: Callable[[str], None] = lambda name: None

    def named(self, name: str, axes: Axes) -> Poly:
        """Return a name as an atom at its own labels."""
        self.axes[name] = axes
        return atom(name, places(axes))

    def define(self, name: str, meaning: Poly) -> None:
        """Remember a name for a sum: the same sum is that name from here on."""
        self.means[name] = meaning
        self.note_exponentials(name, meaning)
        contiguous = compact(meaning)[1] == compact(meaning)[0]
        if len(meaning.terms) > 1 and contiguous and "" not in self.axes[name]:
            self.found.setdefault(("sum", compacted(meaning).key), name)

    def is_linear(self, poly: Poly) -> bool:
        """Tell whether an upstream gradient is in it."""
        return not self.linear.isdisjoint(poly.atoms)

    def times(self, a: Poly, b: Poly) -> Poly:
        """Multiply; a sum without upstream gradients in it stays together."""
        return self.whole(a, b) * self.whole(b, a)

    def whole(self, a: Poly, other: Poly) -> Poly:
        """Return a forward sum as one atom where it is multiplied by more than a coefficient."""
        if len(a.terms) < 2 or self.is_linear(a) or set(other.terms) <= {()}:
            return a
        if all(name[0] == "[" for name in a.atoms):
            return a  # conditions are multiplied out: each is 0 or 1, and its own square
        return self.as_atom(a)

    def as_atom(self, a: Poly) -> Poly:
        """Return a sum as one atom, what its terms have in common before it."""
        a = self.disguise(a)
        if len(a.terms) < 2 and a.pointwise:
            return a
        only = a.single
        if only is not None:
            outside = monomial(f for f in only[0] if max(f[0][1], default=-1) < 0)
            inside = monomial(f for f in only[0] if max(f[0][1], default=-1) >= 0)
            return (outside * self.make("sum", inside)).scale(only[1])
        common, inner = self.content(a)
        other = inner.scale(MINUS)
        if ("sum", compacted(other).key) in self.found:
            return (common * self.make("sum", other)).scale(MINUS)
        return common * self.make("sum", inner)

    def known(self, a: Poly) -> Poly:
        """Return a sum as the atom that it was made before, if it was."""
        if len(a.terms) < 2:
            return a
        common, inner = self.content(a)
        for sign in (1, -1):
            name = self.found.get(("sum", compacted(inner.scale(constant(sign))).key))
            if name is not None and name not in self.means:
                return (common * atom(name, tuple(sorted(inner.free)))).scale(constant(sign))
        return a

    def content(self, a: Poly) -> tuple[Poly, Poly]:
        """Return the factors that all terms share, and the sum without them."""
        if len(a.terms) < 2:
            return number(1), a
        keys = [dict(key) for key in a.terms]
        shared = {}
        for place in {p for key in keys for p in key}:
            powers = [key.get(place, 0) for key in keys]
            low = min(powers) if min(powers) < 0 or 0 not in powers else 0
            if low and max(place[1], default=-1) < 0:
                shared[place] = low
        by = common_coefficient(list(a.terms.values()))
        if not shared and by == ONE:
            return number(1), a
        outer = monomial(shared.items(), by)
        inverse = monomial(((place, -power) for place, power in shared.items()), by.inverse())
        return outer, a * inverse

    def make(self, how: str, of: Poly) -> Poly:
        """Return the atom for a function of a poly, the same one for the same argument."""
        labels, _ = compact(of)
        inner = compacted(of)
        key = (how, inner.key)
        if key not in self.found:
            name = f"^{len(self.made)}"
            self.found[key] = name
            self.made[name] = Made(how, inner, tuple(labels))
            self.axes[name] = tuple(self.size_of(inner, i) for i in range(-len(labels), 0))
            if how == "exp" or (how == "sum" and self.is_positive(inner)):
                self.positive.add(name)
            self.note_exponentials(name, inner)
            self.notice(name)
        name = self.found[key]
        return atom(name, tuple(labels))

    def note_exponentials(self, name: str, meaning: Poly) -> None:
        """Remember an atom that is an exponential, or a sum with one in it."""
        made = self.made.get(name)
        if (made is not None and made.how == "exp") or not self.functional.isdisjoint(
            meaning.atoms
        ):
            self.functional.add(name)

    def home(self, name: str) -> tuple[int, ...]:
        """Return the labels that an atom has when it is written."""
        return self.made[name].home if name in self.made else places(self.axes[name])

    def meaning(self, name: str) -> Poly | None:
        """Return the sum that an atom stands for, None if it stands for itself."""
        made = self.made.get(name)
        return made.of if made is not None and made.how == "sum" else self.means.get(name)

    def size_of(self, poly: Poly, label: int) -> str:
        """Return the symbol of the size of the axis that a free label goes over."""
        for key in poly.terms:
            for (name, at), _ in key:
                if label in at and name[0] != "#":
                    return self.axes[name][at.index(label)]
        return ""

    def is_positive(self, poly: Poly) -> bool:
        """Tell whether a sum is above zero because all its terms are."""
        return bool(poly.terms) and all(
            (c.number or 0) > 0 and all(n in self.positive or n[0] == "#" for (n, _), _ in key)
            for key, c in poly.terms.items()
        )

    def power(self, a: Poly, exponent: Fraction) -> Poly:
        """Raise to a rational power."""
        if exponent == 1 or not a.terms:
            return a if exponent > 0 else self.power_of_zero(a)
        if exponent == 0:
            return number(1)
        only = a.single
        if only is not None:
            done = self.power_of_monomial(*only, exponent)
            if done is not None:
                return done
        if exponent.denominator == 1:
            if 1 < exponent <= 3 and self.is_linear(a):
                return a * self.power(a, exponent - 1)
            only = self.as_atom(a).single
            assert only is not None
            done = self.power_of_monomial(*only, exponent)
            if done is not None:
                return done
        base = self.make("sum", a)
        if exponent.denominator > 1:
            self.positive |= base.atoms
        ((key, _),) = base.terms.items()
        return monomial((place, power * exponent) for place, power in key)

    def power_of_zero(self, a: Poly) -> Poly:
        """Return an atom for one over zero: it is left as it was written."""
        return self.power(self.make("sum", a), Fraction(-1)) if a.terms else self.make("1 / {}", a)

    def power_of_monomial(self, key: Key, by: object, exponent: Fraction) -> Poly | None:
        """Raise a product to a power; a fractional one only where no sign is lost."""
        if bound_count(key):
            return None
        if exponent < 0:
            self.divided |= {name for (name, _), q in key if q > 0} if self.ahead else set()
        if exponent.denominator == 1:
            assert isinstance(by, Coefficient)
            if by != ONE and abs(exponent) > MOST_POWER:
                return None
            return monomial(((p, q * exponent) for p, q in key), by ** int(exponent))
        if by != ONE:
            return None
        doubtful = [q for (n, _), q in key if n not in self.positive]
        odd = [q for q in doubtful if q.denominator > 1 or q.numerator % 2]
        if len(doubtful) > 1 or len(odd) < len(doubtful):
            return None  # (x**2)**0.5 is |x|
        return monomial((p, q * exponent) for p, q in key)

    def exponential(self, a: Poly) -> Poly:
        """Return e to a sum: a product of atoms, one for each term."""
        a = self.opened(a) if self.open_exponents else a
        result = number(1)
        for key, c in a.terms.items():
            one = Poly({key: ONE})
            times = c.number
            whole = times is not None and times.denominator == 1 and abs(times) <= MOST_POWER
            if times is None or not whole or bound_count(key):
                result = result * self.make("exp", Poly({key: c}))
                continue
            log = self.made.get(key[0][0][0]) if len(key) == 1 and key[0][1] == 1 else None
            if log is not None and log.how == "log":
                result = result * self.power(log.at(key[0][0][1]), times)
            else:
                result = result * self.power(self.make("exp", one), times)
        return result

    def opened(self, a: Poly) -> Poly:
        """Return a sum with the names in it that are differences themselves written out."""

        def change(key: Key) -> Poly | None:
            (name, at), power = key[0] if len(key) == 1 else (("", ()), 0)
            meaning = self.means.get(name)
            if power != 1 or meaning is None or not meaning.pointwise or ABSENT in at:
                return None
            return meaning.relabel(dict(zip(places(self.axes[name]), at, strict=True)))

        for _ in range(MOST_OPENED):
            before, a = a, a.each(change)
            if a == before:
                break
        return a

    def logarithm(self, a: Poly) -> Poly:
        """Return the logarithm: a sum over the factors that are known to be above zero."""
        only = a.single
        if only is None or bound_count(only[0]):
            return self.make("log", self.as_atom(a)) if self.is_positive(a) else self.make("log", a)
        key, c = only
        if c != ONE or any(n not in self.positive for (n, _), _ in key):
            return self.make("log", a)
        total = EMPTY
        for (name, at), power in key:
            made = self.made.get(name)
            if made is not None and made.how == "exp":
                part = made.at(at)
            else:
                part = self.make("log", atom(name, at))
            total = total + part.scale(constant(power))
        return total


def common_coefficient(many: list[Coefficient]) -> Coefficient:
    """Return the positive number, with its sizes, that all coefficients are whole times of."""
    if any(len(c.terms) != 1 or c.under != many[0].under for c in many):
        return ONE
    powers = {c.terms[0][0] for c in many}
    values = [Fraction(c.terms[0][1]) for c in many]
    top = math.gcd(*(abs(v.numerator) for v in values))
    bottom = math.lcm(*(v.denominator for v in values))
    if len(powers) > 1 or (bottom > 1 and len({abs(v) for v in values}) > 1):
        return ONE
    return Coefficient(((powers.pop(), ratio(top, bottom)),), many[0].under)


def places(axes: Axes) -> tuple[int, ...]:
    """Return the labels that a name is read at as it stands."""
    return tuple(k - len(axes) if axis else ABSENT for k, axis in enumerate(axes))


def bound_in(a: Poly) -> bool:
    """Tell whether something in it is summed over."""
    return not a.pointwise


def compact(a: Poly) -> tuple[list[int], list[int]]:
    """Return the free labels in order, and the labels -k to -1 for them."""
    labels = sorted(a.free)
    return labels, list(range(-len(labels), 0))


def compacted(a: Poly) -> Poly:
    """Return a sum at the labels -k to -1."""
    labels, lower = compact(a)
    return a.relabel(dict(zip(labels, lower, strict=True)))


def spread(home: tuple[int, ...]) -> tuple[int, ...]:
    """Return the label of each axis, from the first that there is, ABSENT between them."""
    return tuple(k if k in home else ABSENT for k in range(min(home, default=0), 0))
