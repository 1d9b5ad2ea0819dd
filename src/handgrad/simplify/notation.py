"""Expressions in index notation, as LaTeX: entry by entry, sums over labels."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

from handgrad.index import labels as labels_of
from handgrad.index import parse, reduction
from handgrad.ir import Arg, Call, Expr, Item, Name, Static, operands
from handgrad.simplify.layout import permuted
from handgrad.simplify.picking import unstretched
from handgrad.simplify.sizes import flag, is_expr, reduced_dims
from handgrad.simplify.tex import (
    ATOM,
    CALL,
    PRODUCT,
    Tex,
    added,
    applied,
    divided,
    indicator,
    joined,
    minus,
    multiplied,
    number,
    power,
    typewriter,
    upright,
)
from handgrad.spell import spell

Labels = tuple[str, ...]
"""The letter of each axis; empty for an axis of size 1."""
LETTERS = "ijklmpqrstuvwabcdefgh"
BIG = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min"}
COMPARED = {
    ast.Gt: ">",
    ast.GtE: r"\ge",
    ast.Lt: "<",
    ast.LtE: r"\le",
    ast.Eq: "=",
    ast.NotEq: r"\ne",
}
RESHAPES = frozenset(["reshape", "reshape_as", "flatten", "unflatten", "view"])


class Notation:
    """Expressions of one program.

    Args:
        primals: the forward names, whose cotangents are written as derivatives.
        taken: names of one letter, which are no labels.
        size: the text of the size of an expression's axis.
    """

    def __init__(
        self, primals: Mapping[str, object], taken: set[str], size: Callable[[Expr, int], str]
    ) -> None:
        self.primals, self.size = primals, size
        self.letters = [letter for letter in LETTERS if letter not in taken]
        self.outer: set[str] = set()

    def labels(self, expr: Expr) -> Labels:
        """Return a letter for each axis of an expression that has more than one entry."""
        free = iter(self.letters)
        return tuple(next(free) if size != 1 else "" for size in expr.shape)

    def name(self, name: str, at: Labels | list[str]) -> Tex:
        """Return an entry of a tensor; of a cotangent the derivative."""
        primal = name[1:] if name[:1] == "d" and name not in self.primals else ""
        shown = upright(primal if primal in self.primals else name)
        comma = "," if any(len(a) > 1 for a in at) else ""
        places = comma.join(a for a in at if a)
        whole = f"{shown}_{{{places}}}" if places else shown
        if primal in self.primals:
            return Tex(rf"\frac{{\partial L}}{{\partial {whole}}}", CALL)
        return Tex(whole, ATOM)

    def entry(self, expr: Expr, at: Labels) -> Tex:
        """Return one entry of an expression."""
        if isinstance(expr, Name):
            return self.name(expr.name, [a for a, s in zip(at, expr.shape, strict=True) if s != 1])
        found = self.extreme(expr, at) if isinstance(expr, Item) else self.special(expr, at)
        if found is None and isinstance(expr, Call) and expr.op.index and not expr.op.several:
            found = self.by_equation(expr, at)
        return found or self.opaque(expr, at)

    def opaque(self, expr: Expr, at: Labels) -> Tex:
        """Return what no index notation reaches as it is written, its labels below."""
        places = "".join(at)
        if isinstance(expr, Call) and expr.op.name in RESHAPES:
            first = next(operands(tuple(expr.args.values())))
            inner = (
                self.name(first.name, []).text
                if isinstance(first, Name)
                else typewriter(spell(first))
            )
            text = rf"\operatorname{{reshape}}\left({inner}\right)"
        else:
            text = rf"\left[{typewriter(spell(expr))}\right]"
        return Tex(f"{text}_{{{places}}}" if places else text, CALL)

    def extreme(self, item: Item, at: Labels) -> Tex | None:
        """Return the largest or smallest entry along an axis, or where it is."""
        call = item.call
        how = {"max_dim": "max", "min_dim": "min"}.get(call.op.name)
        first = next(operands(tuple(call.args.values())), None)
        if how is None or first is None:
            return None
        dims, letter, left = reduced_dims(call), self.fresh(set(at)), iter(at)
        if flag(call, "keepdim"):
            left = iter([a for k, a in enumerate(at) if k not in dims])
        whole = tuple(letter if k in dims else next(left) for k in range(first.ndim))
        body = self.entry(first, whole)
        if item.position == 0:
            return self.big(how, [letter], body)
        return Tex(rf"\operatorname{{arg{how}}}_{{{letter}}} {body.at(PRODUCT)}", PRODUCT)

    def special(self, call: Call, at: Labels) -> Tex | None:
        """Return an entry of what moves axes, fills, picks or puts by label; None for others."""
        op, args = call.op.name, call.args
        first = next(operands(tuple(args.values())), None)
        if op == "one_hot" and first is not None:
            return indicator(self.entry(first, at[:-1]), "=", Tex(at[-1], ATOM))
        if op in ("zeros_like", "zeros", "new_zeros", "ones_like", "ones", "new_ones"):
            return Tex("1" if "ones" in op else "0", ATOM)
        found = permuted(call)
        if found is not None and first is not None:
            to = {source: at[k] for k, source in found.items()}
            return self.entry(first, tuple(to.get(k, "") for k in range(first.ndim)))
        if op in ("index_put", "index_add_put"):
            return self.put(call, at)
        if op in ("scatter_add", "gather"):
            return self.along(call, at)
        if op == "index" and isinstance(first, Name):
            return self.picked(first, args["index"], at)
        return None

    def put(self, call: Call, at: Labels) -> Tex | None:
        """Return an entry of values put at labels: a sum with a condition for each label."""
        base, index, values = (call.args.get(n) for n in ("x", "indices", "values"))
        if not (isinstance(base, Call) and "zeros" in base.op.name and isinstance(index, tuple)):
            return None
        if not isinstance(values, Name | Call | Item):
            return None
        shape = max((p.shape for p in index if is_expr(p)), key=len, default=())  # type: ignore[union-attr]
        used = set(at)
        inner = [self.fresh(used) for _ in shape]
        conditions: list[Tex] = []
        for k, part in enumerate(index):
            if counts(part):
                inner[-1] = at[k]
            elif isinstance(part, Name | Call | Item):
                entry = self.entry(part, tuple(inner[len(inner) - part.ndim :]))
                conditions.append(indicator(entry, "=", Tex(at[k], ATOM)))
            else:
                return None
        rest = (*inner, *at[len(index) :])[-values.ndim :] if values.ndim else ()
        body = multiplied([*conditions, self.entry(values, tuple(rest))])
        return self.big("sum", [i for i in inner if i not in at], body)

    def along(self, call: Call, at: Labels) -> Tex | None:
        """Return an entry of what is picked or put by one label a row, along the last axis."""
        x, dim, index = (call.args.get(n) for n in ("x", "dim", "index"))
        src = call.args.get("src")
        if (
            not isinstance(x, Name | Call)
            or not isinstance(index, Name | Call)
            or index.ndim != x.ndim
        ):
            return None
        if not isinstance(dim, Static) or dim.value % x.ndim != x.ndim - 1 or index.shape[-1] != 1:
            return None
        label, kept = unstretched(index)
        row = self.entry(label, tuple(at[k] for k in kept))
        if call.op.name == "gather":
            return self.name(x.name, [*at[:-1], row.text]) if isinstance(x, Name) else None
        if not isinstance(src, Name | Call | Item) or not isinstance(x, Call):
            return None
        condition = indicator(row, "=", Tex(at[-1], ATOM))
        return multiplied([condition, self.entry(src, (*at[:-1], ""))])

    def picked(self, x: Name, index: Arg, at: Labels) -> Tex | None:
        """Return `x[range(n), y]` or `C[X]` with the labels inside."""
        parts = index if isinstance(index, tuple) else (index,)
        shapes = [p.ndim for p in parts if isinstance(p, Name | Call | Item)]
        deep = max(shapes, default=0)
        inside: list[str] = []
        for part in parts:
            if isinstance(part, Name | Call | Item) and not counts(part):
                inside.append(self.entry(part, at[deep - part.ndim : deep]).text)
            elif counts(part):
                inside.append(at[0])
            else:
                return None
        return self.name(x.name, [*inside, *at[deep:]])

    def fresh(self, used: set[str]) -> str:
        """Return a letter that is not in use, and note it."""
        letter = next(c for c in self.letters if c not in used | self.outer)
        used.add(letter)
        return letter

    def big(self, how: str, letters: list[str], body: Tex) -> Tex:
        """Return a sum, product or extreme over labels."""
        if not letters:
            return body
        return Tex(rf"{BIG[how]}_{{{','.join(letters)}}} {body.at(PRODUCT)}", PRODUCT, open=True)

    def by_equation(self, call: Call, at: Labels) -> Tex | None:
        """Return an entry by the op's meaning in index notation."""
        equation = parse(call.op.index or "")
        scope: dict[str, Labels] = {}
        if equation.output == ("I-dim",):
            first = next(operands(tuple(call.args.values())))
            dims, keep, used = reduced_dims(call), flag(call, "keepdim"), set(at)
            left = iter(at)
            whole: list[str] = []
            for k, size in enumerate(first.shape):
                if k in dims:
                    whole.append(self.fresh(used) if size != 1 else "")
                    next(left, "") if keep else ""
                else:
                    whole.append(next(left))
            scope["I"] = tuple(whole)
            scope["dim"] = tuple(whole[k] for k in dims)
        else:
            small = sum(not label[:1].isupper() for label in equation.output if label != "()")
            rest = list(at)
            for label in equation.output:
                take = len(at) - small if label[:1].isupper() else 1
                scope[label], rest = tuple(rest[:take]), rest[take:]
        return Evaluate(self, call, scope).node(equation.value)


def counts(part: Arg) -> bool:
    """Tell whether an index is every row in order."""
    if isinstance(part, Static):
        return isinstance(part.value, range)
    return isinstance(part, Call) and part.op.name == "arange"


class Evaluate:
    """The right-hand side of one equation on one call's arguments."""

    def __init__(self, notation: Notation, call: Call, scope: Mapping[str, Labels]) -> None:
        self.notation, self.call, self.scope = notation, call, scope

    def node(self, node: ast.expr) -> Tex | None:
        """Return a node as LaTeX, None if it has something that is not known."""
        match node:
            case ast.Constant(value=value):
                return number(ast.Constant(value))
            case ast.Name(id=name):
                return self.argument(name, ())
            case ast.Subscript(value=ast.Name(id=name)):
                return self.argument(name, labels_of(node))
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return (inner := self.node(x)) and minus(inner)
            case ast.UnaryOp(op=ast.Invert(), operand=x):
                return (inner := self.node(x)) and added(Tex("1", ATOM), inner, "-")
            case ast.BinOp(left=a, op=op, right=b):
                left, right = self.node(a), self.node(b)
                return binary(left, op, right) if left and right else None
            case ast.Compare(left=a, ops=[op], comparators=[b]):
                left, right = self.node(a), self.node(b)
                return indicator(left, COMPARED[type(op)], right) if left and right else None
            case ast.Call() if reduction(node):
                return self.reduced(node)
            case ast.Call(func=ast.Name(id=name), args=args):
                inner = [self.node(a) for a in args]
                return applied(name, [i for i in inner if i]) if None not in inner else None
        return None

    def argument(self, name: str, at: tuple[str, ...]) -> Tex | None:
        """Return an argument's entry."""
        arg = self.call.args.get(name)
        if isinstance(arg, Static):
            return number_of(arg)
        if not isinstance(arg, Name | Call | Item):
            return None
        letters = tuple(letter for label in at for letter in self.scope.get(label, ()))
        own = letters[len(letters) - arg.ndim :] if len(letters) >= arg.ndim else None
        if own is None:
            return None
        shown = tuple(a if size != 1 else "" for a, size in zip(own, arg.shape, strict=True))
        return self.notation.entry(arg, shown)

    def reduced(self, node: ast.Call) -> Tex | None:
        """Return `sum[dim](...)`, `mean[j](...)`."""
        how = reduction(node) or ""
        assert isinstance(node.func, ast.Subscript)
        (label,) = labels_of(node.func)
        scope = dict(self.scope)
        first = next(operands(tuple(self.call.args.values())))
        used = {letter for many in scope.values() for letter in many}
        if label == "dim" and "dim" not in scope:
            whole = list(scope["I"])
            dims = reduced_dims(self.call)
            for k in dims:
                whole[k] = self.notation.fresh(used) if first.shape[k] != 1 else ""
            scope |= {"I": tuple(whole), "dim": tuple(whole[k] for k in dims)}
        elif label != "dim":
            scope[label] = (self.notation.fresh(used),)
        letters = [letter for letter in scope[label] if letter]
        body = Evaluate(self.notation, self.call, scope).node(node.args[0])
        if body is None or how not in (*BIG, "mean"):
            return None
        if how != "mean":
            return self.notation.big(how, letters, body)
        if label != "dim" or not letters:
            return None if letters else body
        sizes = [
            self.notation.size(first, k) for k in reduced_dims(self.call) if first.shape[k] != 1
        ]
        under = joined([number(ast.parse(size, mode="eval").body) for size in sizes])
        return multiplied([divided(Tex("1", ATOM), under), self.notation.big("sum", letters, body)])


def number_of(arg: Static) -> Tex:
    """Return a number as it was written."""
    try:
        return number(ast.parse(arg.text, mode="eval").body)
    except SyntaxError:
        return Tex(typewriter(arg.text), ATOM)


def binary(left: Tex, op: ast.operator, right: Tex) -> Tex | None:
    """Return two operands with their operator."""
    match op:
        case ast.Add():
            return added(left, right, "+")
        case ast.Sub():
            return added(left, right, "-")
        case ast.Mult():
            return multiplied([left, right])
        case ast.Div():
            return divided(left, right)
        case ast.Pow():
            return power(left, right)
        case ast.BitAnd():
            return multiplied([left, right])
    return None
