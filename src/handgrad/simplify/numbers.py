"""Numbers as a program writes them, `1/(n-1)`, as exact coefficients in the sizes of axes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from handgrad.ir import Arg, Static
from handgrad.simplify.coefficient import Coefficient, constant, symbol
from handgrad.simplify.sizes import Axes, Sizes
from handgrad.spell import ATOM, guard, text_precedence


@dataclass(frozen=True)
class Numbers:
    """Read the numbers of a program.

    Attributes:
        scalars: the program's own, by name.
        axes_of: returns the size symbols of an expression's axes, None for what is no tensor.
    """

    sizes: Sizes
    scalars: Mapping[str, object]
    axes_of: Callable[[ast.expr], Axes | None]

    def read(self, arg: Arg) -> Coefficient:
        """Return a number as it was written, exactly; what is not arithmetic is a symbol.

        Raises:
            ValueError: it is not a finite number.
        """
        if not isinstance(arg, Static) or not isinstance(arg.value, int | float):
            raise ValueError
        if arg.value != arg.value or abs(arg.value) == float("inf"):
            raise ValueError
        try:
            return self.written(ast.parse(arg.text, mode="eval").body)
        except (SyntaxError, ValueError):
            return symbol(guard((arg.text, text_precedence(arg.text)), ATOM))

    def written(self, node: ast.expr) -> Coefficient:
        """Return the value of a number's text.

        Raises:
            ValueError: there is more than arithmetic in it.
        """
        match node:
            case ast.Constant(value=bool() as v):
                return constant(int(v))
            case ast.Constant(value=int() | float() as v):
                return constant(Fraction(repr(v)))
            case ast.Name(id=name) if isinstance(self.scalars.get(name), int | float):
                return self.scalar(name)
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return -self.written(x)
            case ast.BinOp(left=a, op=ast.Add(), right=b):
                return self.written(a) + self.written(b)
            case ast.BinOp(left=a, op=ast.Sub(), right=b):
                return self.written(a) - self.written(b)
            case ast.BinOp(left=a, op=ast.Mult(), right=b):
                return self.written(a) * self.written(b)
            case ast.BinOp(left=a, op=ast.Div(), right=b):
                return self.written(a) / self.written(b)
            case ast.BinOp(left=a, op=ast.Pow(), right=ast.Constant(value=int() as p)):
                return self.written(a) ** p
            case ast.Subscript(value=ast.Attribute(value=inner, attr="shape"), slice=place):
                return self.size(inner, place)
            case ast.Call(func=ast.Name(id="len"), args=[inner]):
                return self.size(inner, ast.Constant(0))
        raise ValueError

    def scalar(self, name: str) -> Coefficient:
        """Return a scalar of the program: the size of an axis, where it is known to count it."""
        tied = self.sizes.tied.get(name)
        return symbol(self.sizes.find(tied) if tied else name)

    def size(self, inner: ast.expr, place: ast.expr) -> Coefficient:
        """Return `x.shape[k]`.

        Raises:
            ValueError: it is not the size of a known axis.
        """
        axes = self.sizes.named.get(inner.id) if isinstance(inner, ast.Name) else None
        axes = self.axes_of(inner) if axes is None else axes
        axis = ast.literal_eval(place)
        if axes is None or type(axis) is not int or not -len(axes) <= axis < len(axes):
            raise ValueError
        found = axes[axis]
        return symbol(self.sizes.find(found)) if found else constant(1)
