"""Numbers that remember how they were written, so that `1/n` stays `1/n`."""

from __future__ import annotations

import ast
import math
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
    power = symbol == "**"  # groups from the right and takes a sign on its right side
    text = tight.join(
        (
            guard((before, text_precedence(before)), precedence + power),
            symbol,
            guard((after, text_precedence(after)), UNARY if power else precedence + 1),
        )
    )
    return write(value, text)


def is_exactly(value: Any, number: float) -> bool:
    """Tell whether a static is this number as written, not merely today's value of a name."""
    return (
        isinstance(value, int | float) and not isinstance(value, Written | bool) and value == number
    )


def lift(static: Static) -> Any:
    """Return a static as the value that a rule works with; a written range or slice stays one."""
    value, text = static.value, static.text
    if isinstance(value, tuple) and value and text != literal(value):
        return tuple(map(lift, parts_of(value, text)))
    if isinstance(value, range | slice) and text != literal(value):
        return static
    return write(value, text)


def parts_of(value: tuple[Any, ...], text: str) -> list[Static]:
    """Return the entries of a written tuple, each with its own text where that can be told."""
    inside = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    for source in (f"_[{text}]", f"_[{inside}]"):
        try:
            node = ast.parse(source, mode="eval").body
        except SyntaxError:
            continue
        entries = node.slice if isinstance(node, ast.Subscript) else None
        if isinstance(entries, ast.Tuple) and len(entries.elts) == len(value):
            texts = [ast.get_source_segment(source, entry) or "" for entry in entries.elts]
            return [Static(part, own) for part, own in zip(value, texts, strict=True)]
    return [Static(part, literal(part)) for part in value]


def lower(value: Any) -> Static:
    """Return a rule's value as a static."""
    if isinstance(value, Static):
        return value
    if isinstance(value, Written):
        return Static(plain(value), value.text)
    if isinstance(value, slice):
        bounds = [value.start, value.stop, *([] if value.step is None else [value.step])]
        text = ":".join("" if bound is None else text_of(bound) for bound in bounds)
        return Static(slice(*map(plain, (value.start, value.stop, value.step))), text)
    if isinstance(value, tuple | list) and any(
        isinstance(part, Written | Static | slice) for part in value
    ):
        parts = [lower(part) for part in value]
        inside = ", ".join(part.text for part in parts)
        if isinstance(value, list):
            return Static([part.value for part in parts], f"[{inside}]")
        inside += "," if len(value) == 1 else ""
        return Static(tuple(part.value for part in parts), f"({inside})")
    return Static(value, literal(value))


PI = write(math.pi, "torch.pi")
ROOT_2 = write(2**0.5, "2**0.5")
