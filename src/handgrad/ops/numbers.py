"""Numbers that remember how they were written, so that `1/n` stays `1/n`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from handgrad.ir import Static
from handgrad.spell import PRECEDENCE, UNARY, guard, literal, text_precedence

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "**": operator.pow,
}


class Written:
    """Arithmetic on numbers that carries the source text along."""

    text: str

    def __add__(self, other: Any) -> Any:
        return combine("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return combine("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return combine("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return combine("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return combine("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return combine("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return combine("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return combine("/", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return combine("//", self, other)

    def __pow__(self, other: Any) -> Any:
        return combine("**", self, other)

    def __neg__(self) -> Any:
        return write(-plain(self), "-" + guard((self.text, text_precedence(self.text)), UNARY))


class WrittenInt(Written, int):
    """A whole number with its text."""


class WrittenFloat(Written, float):
    """A float with its text."""


def write(value: Any, text: str) -> Any:
    """Return a number that carries its text; a number that is its own text stays plain."""
    if isinstance(value, bool) or not isinstance(value, int | float) or text == literal(value):
        return value
    number: Any = WrittenInt(value) if isinstance(value, int) else WrittenFloat(value)
    number.text = text
    return number


def plain(number: Any) -> Any:
    """Return the number without its text."""
    if isinstance(number, WrittenInt):
        return int(number)
    return float(number) if isinstance(number, WrittenFloat) else number


def text_of(number: Any) -> str:
    """Return how a number is written."""
    return number.text if isinstance(number, Written) else literal(number)


def combine(symbol: str, left: Any, right: Any) -> Any:
    """Apply an operator to two numbers and to their texts."""
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        return NotImplemented
    value = FUNCTIONS[symbol](plain(left), plain(right))
    if symbol in "*/" and is_exactly(right, 1):
        return left
    if symbol == "*" and is_exactly(left, 1):
        return right
    precedence = PRECEDENCE[symbol]
    before, after = text_of(left), text_of(right)
    tight = "" if symbol in ("/", "**", "//") else " "
    text = tight.join((
        guard((before, text_precedence(before)), precedence),
        symbol,
        guard((after, text_precedence(after)), precedence + 1),
    ))
    return write(value, text)


def is_exactly(value: Any, number: float) -> bool:
    """Tell whether a static is this number as written, not merely today's value of a name."""
    return isinstance(value, int | float) and not isinstance(value, Written | bool) and value == number


def lift(static: Static) -> Any:
    """Return a static as the value that a rule works with; a written range or slice stays one."""
    if isinstance(static.value, range | slice) and static.text != literal(static.value):
        return static
    return write(static.value, static.text)


def lower(value: Any) -> Static:
    """Return a rule's value as a static."""
    if isinstance(value, Static):
        return value
    if isinstance(value, Written):
        return Static(plain(value), value.text)
    if isinstance(value, tuple | list) and any(isinstance(part, Written) for part in value):
        inside = ", ".join(text_of(part) for part in value)
        inside += "," if len(value) == 1 else ""
        return Static(type(value)(map(plain, value)), f"({inside})")
    return Static(value, literal(value))


