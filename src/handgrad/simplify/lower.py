"""From expressions to normal forms, by way of each op's index notation."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import torch

from handgrad.index import Equation, parse, reduction
from handgrad.ir import Arg, Call, Expr, Item, Name, Static, names, operands
from handgrad.simplify.coefficient import ONE, constant, symbol
from handgrad.simplify.layout import permuted
from handgrad.simplify.normal import EMPTY, Key, Poly, TooLarge, number
from handgrad.simplify.numbers import Numbers
from handgrad.simplify.picking import picked
from handgrad.simplify.ring import Ring
from handgrad.simplify.sizes import Sizes, is_expr, reduced_dims
from handgrad.spell import spell

WHOLE_DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
FUNCTIONS = {
    "tanh": "torch.tanh({})",
    "sigmoid": "torch.sigmoid({})",
    "erf": "torch.erf({})",
    "sin": "torch.sin({})",
    "cos": "torch.cos({})",
    "abs": "torch.abs({})",
    "sign": "torch.sign({})",
}

GROWING = ("exp", "log", "1 / {}")


class Opaque(Exception):
    """An expression that index notation does not reach."""


@dataclass
class Lowering:
    """Lower expressions of one program.

    Attributes:
        names: the normal form of each name so far.
        upstream: the backward names that are cotangents.
    """

    sizes: Sizes
    ring: Ring
    numbers: Numbers
    reduce: Callable[[Poly], Poly]
    gone: Callable[[Key], Poly | None]
    said: Callable[[str], object]
    names: dict[str, Poly] = field(default_factory=dict[str, Poly])
    upstream: set[str] = field(default_factory=set[str])
    safe: dict[str, bool] = field(default_factory=dict[str, bool])
    memo: dict[int, Poly] = field(default_factory=dict[int, Poly])

    def lower(self, expr: Expr) -> Poly:
        """Return an expression's normal form at its own labels."""
        if isinstance(expr, Name):
            return self.name(expr)
        if id(expr) not in self.memo:
            self.sizes.kept.append(expr)  # so that its id stays its own
            self.memo[id(expr)] = self.fresh(expr)
        return self.memo[id(expr)]

    def fresh(self, expr: Call | Item) -> Poly:
        """Lower a call that was not lowered before."""
        try:
            if isinstance(expr, Item):
                raise Opaque
            return self.reduce(self.call(expr)).bounded()
        except (Opaque, TooLarge, ZeroDivisionError):
            return self.opaque(expr)

    def name(self, expr: Name) -> Poly:
        """Return the normal form of a name."""
        if expr.name not in self.names:
            axes = self.sizes.axes(expr)
            whole = expr.dtype in WHOLE_DTYPES
            if expr.dtype is torch.bool:
                self.names[expr.name] = self.indicator(expr.name, expr)
            elif whole:
                self.names[expr.name] = self.opaque(expr)
            else:
                self.names[expr.name] = self.ring.named(expr.name, axes)
        return self.names[expr.name]

    def opaque(self, expr: Expr) -> Poly:
        """Return an expression as an atom that is printed as it was written."""
        text = spell(expr)
        if expr.dtype is torch.bool:
            return self.indicator(text, expr)
        name = f"`{text}`"
        self.ring.texts[name] = text
        if not self.upstream.isdisjoint(names(expr)):
            self.ring.linear.add(name)
        hidden = self.masked(expr)
        if hidden is not None:
            self.ring.hidden[name] = hidden
        return self.noticed(name, expr)

    def indicator(self, text: str, expr: Expr) -> Poly:
        """Return an atom that is 1 where a condition holds, else 0."""
        name = f"[{text}]"
        self.ring.texts[name] = text
        return self.noticed(name, expr)

    def noticed(self, name: str, expr: Expr) -> Poly:
        """Return an atom that is printed as it was written."""
        new = name not in self.ring.axes
        found = self.ring.named(name, self.sizes.axes(expr))
        if new:
            self.ring.notice(name)
        return found

    def is_border(self, expr: Expr) -> bool:
        """Tell whether an expression is an op that index notation does not reach."""
        return isinstance(expr, Item) or (isinstance(expr, Call) and not reaches(expr))

    def masked(self, expr: Expr) -> tuple[str, tuple[int, ...], bool] | None:
        """Return the condition for a value to be minus infinity: its atom, labels, and when."""
        if not isinstance(expr, Call) or expr.op.index is None or "where(" not in expr.op.index:
            return None
        parts = list(expr.args.values())
        lowest = [
            isinstance(p, Static) and isinstance(p.value, float) and p.value == float("-inf")
            for p in parts
        ]
        condition = expr.args.get("mask", expr.args.get("condition"))
        if not any(lowest) or not isinstance(condition, Name | Call):
            return None
        only = self.lower(condition).single
        if only is None or len(only[0]) != 1 or only[1] != ONE:
            return None
        when = "mask" in expr.args or lowest[1]  # where(condition, -inf, x)
        (name, at), _ = only[0][0]
        return name, at, when

    def border_reads(self, expr: Expr) -> set[str]:
        """Return the names that an expression reads inside what index notation does not reach."""
        if isinstance(expr, Name):
            return set()
        if isinstance(expr, Item) or not reaches(expr):
            return set(names(expr))
        found: set[str] = set()
        for arg in expr.args.values():
            for part in operands(arg):
                found |= self.border_reads(part)
        return found

    def call(self, call: Call) -> Poly:
        """Lower a call.

        Raises:
            Opaque: index notation does not reach it.
        """
        if call.op.foreign or call.op.several or call.op.random:
            raise Opaque
        if call.dtype is torch.bool:
            return self.boolean(call)
        if call.op.index is None or call.op.name == "one_hot":
            return self.without_equation(call)
        equation = parse(call.op.index)
        if equation.output == ("I",):
            return self.evaluate(equation.value, call)
        if equation.output == ("I-dim",):
            whole = self.evaluate(equation.value, call)
            return self.dropped(whole, call)
        return self.transposed(equation, call)

    def boolean(self, call: Call) -> Poly:
        """Lower a condition; a negation is one minus what it negates."""
        if call.op.name == "bitwise_not":
            return number(1) - self.lower(next(operands(tuple(call.args.values()))))
        raise Opaque

    def without_equation(self, call: Call) -> Poly:
        """Lower an op that has no index notation, if it moves axes, fills, or picks by label."""
        first = next(operands(tuple(call.args.values())), None)
        if call.op.name in ("zeros_like", "zeros", "new_zeros"):
            return EMPTY
        if call.op.name in ("ones_like", "ones", "new_ones"):
            return number(1)
        if call.op.name in ("full_like", "full", "new_full"):
            return self.number(call.args["fill_value"])
        found = permuted(call)
        if found is not None and first is not None:
            to = {source - first.ndim: k - call.ndim for k, source in found.items()}
            return self.lower(first).relabel(to)
        result = picked(self, call)
        if result is None:
            raise Opaque
        return result

    def dropped(self, whole: Poly, call: Call) -> Poly:
        """Move labels right over the axes that a reduction drops."""
        first = next(operands(tuple(call.args.values())))
        if call.ndim == first.ndim:
            return whole
        left = [k for k in range(first.ndim) if k not in reduced_dims(call)]
        return whole.relabel({old - first.ndim: new - len(left) for new, old in enumerate(left)})

    def transposed(self, equation: Equation, call: Call) -> Poly:
        """Lower an op that only exchanges axes.

        Raises:
            Opaque: it does more.
        """
        value = equation.value
        first = next(operands(tuple(call.args.values())))
        if not isinstance(value, ast.Subscript) or first.ndim != call.ndim:
            raise Opaque
        if call.ndim < 2:
            return self.lower(first)
        (read,) = next(iter(equation.reads.values()))
        out = equation.output
        small = [label for label in out if not label[:1].isupper()]
        if sorted(read) != sorted(out) or len(small) != 2:
            raise Opaque
        return self.lower(first).relabel({-1: -2, -2: -1})

    def evaluate(self, node: ast.expr, call: Call) -> Poly:
        """Evaluate the right-hand side of an equation on a call's arguments.

        Raises:
            Opaque: it has a function in it that the normal form does not know.
        """
        ring = self.ring

        def value(n: ast.expr) -> Poly:
            return self.evaluate(n, call)

        match node:
            case ast.Constant(value=int() | float() as v):
                return number(Fraction(repr(v)))
            case ast.Name(id=name):
                return self.argument(call.args.get(name))
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Name()):
                return self.argument(call.args.get(name))
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return value(x).scale(constant(-1))
            case ast.BinOp(left=a, op=ast.Add(), right=b):
                return value(a) + value(b)
            case ast.BinOp(left=a, op=ast.Sub(), right=b):
                return value(a) - value(b)
            case ast.BinOp(left=a, op=ast.Mult(), right=b):
                return ring.times(value(a), value(b))
            case ast.BinOp(left=a, op=ast.Div(), right=b):
                return ring.times(value(a), ring.power(value(b), Fraction(-1)))
            case ast.BinOp(left=a, op=ast.Pow(), right=b):
                return ring.power(value(a), self.exponent(value(b)))
            case ast.Call() if reduction(node):
                return self.reduced(node, call)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self.function(name, args, call)
        raise Opaque

    def function(self, name: str, args: list[ast.expr], call: Call) -> Poly:
        """Evaluate a function in an equation.

        Raises:
            Opaque: the normal form does not know it.
        """
        if name == "where":
            condition, a, b = (self.evaluate(arg, call) for arg in args)
            if not a.terms and (self.hides(condition, b) or self.never(call)):
                return b
            return self.chosen(condition, a, b)
        x = self.evaluate(args[0], call)
        if name == "exp":
            return self.ring.exponential(x)
        if name == "log":
            return self.ring.logarithm(x)
        if name == "log1p":
            return self.ring.logarithm(number(1) + x)
        if name == "sqrt":
            return self.ring.power(x, Fraction(1, 2))
        if name == "float":
            return x
        if name in FUNCTIONS:
            return self.ring.make(FUNCTIONS[name], x)
        raise Opaque

    def chosen(self, condition: Poly, a: Poly, b: Poly) -> Poly:
        """Return `a` where a condition holds, else `b`.

        Raises:
            Opaque: what is not chosen may be infinite, which no product with zero undoes.
        """
        if any(n[0] != "[" for n in condition.atoms) or not (self.finite(a) and self.finite(b)):
            raise Opaque
        return self.ring.times(condition, a) + self.ring.times(number(1) - condition, b)

    def hides(self, condition: Poly, b: Poly) -> bool:
        """Tell whether a sum is zero anyway wherever a condition holds."""
        only = condition.single
        return only is not None and all(
            self.gone(tuple(sorted((*key, *only[0])))) is not None for key in b.terms
        )

    def never(self, call: Call) -> bool:
        """Tell whether a condition is `a == 0` for an `a` that a forward line divides by."""
        test = call.args.get("mask", call.args.get("condition"))
        if isinstance(test, Name) or not isinstance(test, Call) or test.op.name != "eq":
            return False
        left, right = test.args.values()
        if not (isinstance(right, Static) and right.value == 0 and is_expr(left)):
            return False
        assert not isinstance(left, tuple | Static)
        only = self.lower(left).single
        if only is None or not only[0] or not {n for (n, _), _ in only[0]} <= self.ring.divided:
            return False
        self.said(f"{spell(left)} is not 0: a forward line divides by it")
        return True

    def finite(self, a: Poly) -> bool:
        """Tell whether a sum is finite wherever the inputs are: nothing in it divides or grows."""
        return all(
            power > 0 and power.denominator == 1 and self.bounded(name)
            for key in a.terms
            for (name, _), power in key
            if name[0] != "#"
        )

    def bounded(self, name: str) -> bool:
        """Tell whether an atom is finite wherever the inputs are."""
        ring = self.ring
        if name not in self.safe:
            made = ring.made.get(name)
            grows = name in ring.hidden or (made is not None and made.how in GROWING)
            inner = made.of if made is not None else ring.means.get(name)
            self.safe[name] = not grows and (inner is None or self.finite(inner))
        return self.safe[name]

    def reduced(self, node: ast.Call, call: Call) -> Poly:
        """Evaluate `sum[dim](...)` or `mean[dim](...)`.

        Raises:
            Opaque: it is another reduction.
        """
        kind = reduction(node)
        if kind not in ("sum", "mean") or ast.unparse(node.func).split("[")[1] != "dim]":
            raise Opaque
        first = next(operands(tuple(call.args.values())))
        axes = self.sizes.axes(first)
        total = self.evaluate(node.args[0], call)
        if self.ring.is_linear(total):
            total = self.reduce(total)
        for dim in reduced_dims(call):
            if axes[dim]:
                total = total.sum_over(dim - first.ndim, axes[dim])
                if kind == "mean":
                    total = total.scale(symbol(axes[dim]).inverse())
        return self.reduce(total)

    def argument(self, arg: Arg | None) -> Poly:
        """Return the normal form of a call's argument.

        Raises:
            Opaque: it is neither a tensor nor a finite number.
        """
        if isinstance(arg, Static):
            return self.number(arg)
        if arg is None or not is_expr(arg):
            raise Opaque
        assert not isinstance(arg, tuple)
        return self.lower(arg)

    def number(self, arg: Arg) -> Poly:
        """Return a number's normal form.

        Raises:
            Opaque: it is not finite.
        """
        try:
            return number(self.numbers.read(arg))
        except ValueError as error:
            raise Opaque from error

    def exponent(self, a: Poly) -> Fraction:
        """Return an exponent as a number.

        Raises:
            Opaque: it is none.
        """
        if not a.terms:
            return Fraction(0)
        only = a.single
        value = only[1].number if only is not None and not only[0] else None
        if value is None or abs(value) > 64 or value.denominator > 8:
            raise Opaque
        return value


MOVES = frozenset(
    ["one_hot", "zeros_like", "ones_like", "full_like", "index_put", "index_add_put", "gather"]
)


def reaches(call: Call) -> bool:
    """Tell whether a call is one that the normal form has a meaning for."""
    if call.op.foreign or call.op.several or call.op.random or call.dtype is torch.bool:
        return False
    if call.op.index is None:
        known = call.op.name in MOVES or call.op.name in ("scatter_add", "scatter", "index")
        return known or permuted(call) is not None
    equation = parse(call.op.index)
    if equation.output not in (("I",), ("I-dim",)):
        return isinstance(equation.value, ast.Subscript) or call.op.name == "one_hot"
    calls = (n for n in ast.walk(equation.value) if isinstance(n, ast.Call))
    plain = {"where", "exp", "log", "log1p", "sqrt", "float", *FUNCTIONS}
    return all(
        reduction(n) in ("sum", "mean") if reduction(n) else ast.unparse(n.func) in plain
        for n in calls
    )
