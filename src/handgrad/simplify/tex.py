"""Pieces of LaTeX that know how tightly they bind."""

from __future__ import annotations

import ast
from dataclasses import dataclass

SUM, PRODUCT, POWER, CALL, ATOM = 1, 2, 3, 4, 5
ESCAPED = {
    "\\": r"\textbackslash{}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}
FUNCTIONS = {"exp", "log", "sin", "cos", "tan", "tanh", "sinh", "cosh", "max", "min"}


@dataclass(frozen=True)
class Tex:
    """A formula.

    Attributes:
        level: how tightly its outermost operator binds.
        open: it ends in a sum over labels, which would take in what follows.
        negative: it is a product with a minus in front.
    """

    text: str
    level: int
    open: bool = False
    negative: bool = False

    @property
    def positive(self) -> Tex:
        """Return it without its minus."""
        return Tex(self.text[1:], PRODUCT, self.open) if self.negative else self

    def at(self, level: int) -> str:
        """Return the text, in brackets where its place asks for a tighter operator."""
        return self.text if self.level >= level else rf"\left({self.text}\right)"


def escaped(text: str) -> str:
    """Return plain text for LaTeX."""
    return "".join(ESCAPED.get(c, c) for c in text)


def upright(name: str) -> str:
    """Return a name; one letter stays slanted, as in mathematics."""
    return name if len(name) == 1 else rf"\mathrm{{{escaped(name)}}}"


def typewriter(text: str) -> str:
    """Return code inside a formula."""
    return rf"\mathtt{{{escaped(text).replace(' ', chr(92) + ' ')}}}"


def added(left: Tex, right: Tex, sign: str) -> Tex:
    """Return a sum or a difference."""
    if right.negative:
        right, sign = right.positive, "+" if sign == "-" else "-"
    shown = right.at(PRODUCT) if sign == "-" else right.text
    head = bracketed(left) if left.open and left.level == SUM else left.text
    return Tex(f"{head} {sign} {shown}", SUM, right.open)


def bracketed(inner: Tex) -> str:
    """Return a formula in brackets."""
    return rf"\left({inner.text}\right)"


def minus(inner: Tex) -> Tex:
    """Return the negative; it binds as a sum does."""
    if inner.negative:
        return inner.positive
    return Tex(f"-{inner.at(PRODUCT)}", SUM, inner.open, negative=True)


def multiplied(factors: list[Tex]) -> Tex:
    """Return a product: what ends in a sum over labels comes last or gets brackets."""
    negative = sum(f.negative for f in factors) % 2 == 1
    kept = [p for f in factors if (p := f.positive).text != "1"] or [Tex("1", ATOM)]
    if len(kept) == 1:
        return minus(kept[0]) if negative else kept[0]
    text = ""
    for k, factor in enumerate(kept):
        last = k == len(kept) - 1
        part = factor.at(PRODUCT) if last or not factor.open else bracketed(factor)
        if text:
            text += r" \cdot " if part[:1].isdigit() else r"\, "
        text += part
    whole = Tex(text, PRODUCT, kept[-1].open)
    return minus(whole) if negative else whole


def divided(over: Tex, under: Tex) -> Tex:
    """Return a fraction; a minus goes before it."""
    whole = Tex(rf"\frac{{{over.positive.text}}}{{{under.positive.text}}}", CALL)
    return minus(whole) if over.negative != under.negative else whole


def power(base: Tex, exponent: Tex) -> Tex:
    """Return a power."""
    whole = base.text if base.level == ATOM else bracketed(base)
    return Tex(f"{whole}^{{{exponent.text}}}", POWER)


def indicator(left: Tex, sign: str, right: Tex) -> Tex:
    """Return what is 1 where a condition holds, else 0."""
    return Tex(rf"\mathbf{{1}}[{left.text} {sign} {right.text}]", CALL)


def applied(name: str, inner: list[Tex]) -> Tex:
    """Return a function of something."""
    if name == "float":
        return inner[0]
    if name == "sqrt":
        return Tex(rf"\sqrt{{{inner[0].text}}}", CALL)
    if name == "abs":
        return Tex(rf"\left|{inner[0].text}\right|", CALL)
    if name == "exp":
        return Tex(f"e^{{{inner[0].text}}}", POWER)
    shown = f"\\{name}" if name in FUNCTIONS else rf"\operatorname{{{escaped(name)}}}"
    return Tex(rf"{shown}\left({', '.join(i.text for i in inner)}\right)", CALL)


def joined(factors: list[Tex]) -> Tex:
    """Return a product of sizes."""
    return multiplied(factors) if factors else Tex("1", ATOM)


def number(node: ast.expr) -> Tex:
    """Return the text of a number: arithmetic, names of numbers, sizes of axes."""
    match node:
        case ast.Constant(value=float() as value):
            return scientific(value)
        case ast.Constant(value=value):
            return Tex(str(value), ATOM)
        case ast.Name(id=name):
            return Tex(upright(name), ATOM)
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return minus(number(x))
        case ast.BinOp(left=a, op=ast.Add(), right=b):
            return added(number(a), number(b), "+")
        case ast.BinOp(left=a, op=ast.Sub(), right=b):
            return added(number(a), number(b), "-")
        case ast.BinOp(left=a, op=ast.Mult(), right=b):
            return multiplied([number(a), number(b)])
        case ast.BinOp(left=a, op=ast.Div(), right=b):
            return divided(number(a), number(b))
        case ast.BinOp(left=a, op=ast.Pow(), right=b):
            return power(number(a), number(b))
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=name), attr="shape"), slice=at):
            axis = escaped(ast.unparse(at))
            return Tex(rf"\left|{upright(name)}\right|_{{{axis}}}", CALL)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="numel")):
            return Tex(rf"\left|{upright(name)}\right|", CALL)
    return Tex(typewriter(ast.unparse(node)), CALL)


def scientific(value: float) -> Tex:
    """Return a real number; a power of ten as such."""
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return Tex(mantissa, ATOM)
    ten = rf"10^{{{int(exponent)}}}"
    return Tex(ten, POWER) if mantissa == "1" else Tex(rf"{mantissa} \cdot {ten}", PRODUCT)
