"""Small edits of a line of Python: one operator a function, each says its class."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

Pair = tuple[str, ast.expr]  # class of the mistake, what stands in place
REDUCTIONS = ("sum", "mean", "softmax", "log_softmax", "amax", "max", "cumsum", "var", "prod")


@dataclass(frozen=True)
class Scope:
    """What edits may put in.

    Attributes:
        swaps: for a name, the names that may stand in its place, with the class of that mistake.
        factors: numbers in scope that a term may be multiplied by.
        operands: names that a term may be multiplied by.
        scalars: names of numbers.
    """

    swaps: Mapping[str, list[tuple[str, str]]] = field(default_factory=dict)
    factors: tuple[str, ...] = ()
    operands: tuple[str, ...] = ()
    scalars: frozenset[str] = frozenset()


def parsed(text: str) -> ast.expr:
    """Return an expression's tree."""
    return ast.parse(text, mode="eval").body


def swap_name(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Put another name in place of one."""
    if isinstance(node, ast.Name):
        for other, kind in scope.swaps.get(node.id, []):
            yield kind, ast.Name(other, ast.Load())


def change_dim(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Reduce along other axes."""
    place = dim_of(node)
    if place is None:
        return
    assert isinstance(node, ast.Call)
    keyword, position = place
    for text in ("0", "1", "-1", "-2", "(0, 1)", "(0, 2)", "(1, 2)", "(0, 2, 3)"):
        made = copy.deepcopy(node)
        if keyword is not None:
            made.keywords[keyword].value = parsed(text)
        else:
            made.args[position] = parsed(text)
        if ast.dump(made) != ast.dump(node):
            yield "wrong-dim", made


def dim_of(node: ast.expr) -> tuple[int | None, int] | None:
    """Return where a call says its axes: keyword or position; None if it does not."""
    if not isinstance(node, ast.Call) or called(node) not in REDUCTIONS:
        return None
    for k, word in enumerate(node.keywords):
        if word.arg in ("dim", "axis"):
            return k, 0
    function = node.func
    module = isinstance(function, ast.Attribute) and ast.unparse(function.value) in ("torch", "F")
    position = 1 if module else 0
    return (None, position) if len(node.args) > position else None


def called(node: ast.Call) -> str:
    """Return the last word of what is called."""
    return ast.unparse(node.func).split(".")[-1]


def change_keepdim(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Add keepdim=True, or take it away."""
    if not isinstance(node, ast.Call) or called(node) not in ("sum", "mean", "amax"):
        return
    made = copy.deepcopy(node)
    kept = [k for k in made.keywords if k.arg not in ("keepdim", "keepdims")]
    if len(kept) == len(made.keywords):
        kept.append(ast.keyword("keepdim", ast.Constant(True)))
    made.keywords = kept
    yield "keepdim", made


def sum_for_mean(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Exchange sum and mean."""
    other = {"sum": "mean", "mean": "sum"}
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in other
    ):
        made = copy.deepcopy(node)
        assert isinstance(made.func, ast.Attribute)
        made.func.attr = other[node.func.attr]
        yield "scale", made


def transpose(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Add a transpose, take one away, or exchange the operands of a product."""
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield "transpose", node.value
    elif isinstance(node, ast.Call) and called(node) in ("transpose", "t"):
        if isinstance(node.func, ast.Attribute):
            yield "transpose", node.func.value
    elif isinstance(node, ast.Name | ast.Subscript | ast.Call):
        yield "transpose", ast.Attribute(node, "T", ast.Load())
        yield "transpose", ast.Attribute(node, "mT", ast.Load())
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield "transpose", ast.BinOp(node.right, node.op, node.left)
        yield "transpose", turned(turned(node, "left"), "right")
        for side in ("left", "right"):
            yield "transpose", turned(ast.BinOp(node.right, node.op, node.left), side)


def turned(node: ast.BinOp, side: str) -> ast.BinOp:
    """Return a product with one operand transposed."""
    made = ast.BinOp(node.left, node.op, node.right)
    operand = getattr(made, side)
    plain = isinstance(operand, ast.Attribute) and operand.attr in ("T", "mT")
    setattr(made, side, operand.value if plain else ast.Attribute(operand, "mT", ast.Load()))
    return made


def change_sign(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Exchange plus and minus, or turn a term around."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield "sign", ast.BinOp(node.left, ast.Sub(), node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        yield "sign", ast.BinOp(node.left, ast.Add(), node.right)
        yield "sign", ast.BinOp(node.right, ast.Sub(), node.left)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", node.operand


def change_number(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Put another number in place of one."""
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        for other in (value - 1, value + 1, 2 * value, value / 2):
            if other != value:
                yield "scale", ast.Constant(other)


def change_power(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Change an exponent, drop it, or square something."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield "local-derivative", node.left
        text = ast.unparse(node.right)
        try:
            value = ast.literal_eval(text)
        except ValueError:
            return
        for other in (value - 1, value + 1, -value, 2 * value):
            yield "local-derivative", ast.BinOp(node.left, ast.Pow(), parsed(repr(other)))
    elif isinstance(node, ast.Name) and node.id not in scope.scalars:
        yield "local-derivative", ast.BinOp(node, ast.Pow(), ast.Constant(2))


def drop_part(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Leave a term or a factor out."""
    if not isinstance(node, ast.BinOp):
        return
    if isinstance(node.op, ast.Add | ast.Sub):
        numbers = all(plain_number(part, scope) for part in (node.left, node.right))
        small = isinstance(node.right, ast.Constant) or ast.unparse(node.right) == "eps"
        yield ("bessel" if numbers else "eps" if small else "accumulate"), node.left
        if isinstance(node.op, ast.Add):
            yield "accumulate", node.right
        else:
            yield "accumulate", ast.UnaryOp(ast.USub(), node.right)
    elif isinstance(node.op, ast.Mult | ast.Div):
        yield factor_kind(node.right, scope), node.left
        if isinstance(node.op, ast.Mult):
            yield factor_kind(node.left, scope), node.right
            yield factor_kind(node.right, scope), ast.BinOp(node.left, ast.Div(), node.right)
        else:
            yield factor_kind(node.right, scope), ast.BinOp(node.left, ast.Mult(), node.right)


def factor_kind(node: ast.expr, scope: Scope) -> str:
    """Return the class of a factor too much or too little."""
    if not plain_number(node, scope):
        return "operand"
    read = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    ones = [part for part in ast.walk(node) if isinstance(part, ast.Constant) and part.value == 1]
    return "bessel" if len(read) > 1 and ones else "scale"


def plain_number(node: ast.expr, scope: Scope) -> bool:
    """Tell whether an expression is made of numbers alone."""
    return all(
        part.id in scope.scalars for part in ast.walk(node) if isinstance(part, ast.Name)
    ) and not any(isinstance(part, ast.Call | ast.Attribute) for part in ast.walk(node))


def times_number(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Multiply a term by a number in scope, or divide."""
    if not isinstance(node, ast.BinOp | ast.Name | ast.Call | ast.Constant | ast.UnaryOp):
        return
    for text in scope.factors:
        kind = "bessel" if "/(" in text and not text.startswith("1/(1") else "scale"
        divided = text.startswith("1/")
        operator = ast.Div() if divided else ast.Mult()
        yield kind, ast.BinOp(node, operator, parsed(text.removeprefix("1/")))


def times_operand(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Multiply a name by another operand."""
    if isinstance(node, ast.Name) and node.id not in scope.scalars:
        for other in scope.operands:
            yield "operand", ast.BinOp(node, ast.Mult(), ast.Name(other, ast.Load()))


def add_sum(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Sum along an axis."""
    if isinstance(node, ast.Name | ast.BinOp | ast.Call) and not plain_number(node, scope):
        for arguments in ("0", "1", "-1", "0, keepdim=True", "1, keepdim=True", "-1, keepdim=True"):
            call = parsed(f"_.sum({arguments})")
            assert isinstance(call, ast.Call)
            assert isinstance(call.func, ast.Attribute)
            call.func.value = node
            yield "broadcast-sum", call


def whole_for_one(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Sum over what one entry was taken of."""
    if isinstance(node, ast.Subscript):
        call = parsed("_.sum(0)")
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Attribute)
        call.func.value = node.value
        yield "accumulate", call


def flip(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Reverse an axis, or two."""
    if isinstance(node, ast.Name | ast.Call):
        for arguments in ("-1", "-2, -1"):
            call = parsed(f"_.flip({arguments})")
            assert isinstance(call, ast.Call)
            assert isinstance(call.func, ast.Attribute)
            call.func.value = node
            yield "layout", call


def same_dtype(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Convert integers to the dtype of the gradients."""
    if isinstance(node, ast.Call) and called(node) == "one_hot":
        for other in scope.operands:
            yield "dtype", parsed(f"({ast.unparse(node)}).to({other}.dtype)")


def change_flag(node: ast.expr, scope: Scope) -> Iterator[Pair]:
    """Turn a keyword `accumulate` around."""
    if isinstance(node, ast.Call):
        for k, word in enumerate(node.keywords):
            if word.arg == "accumulate" and isinstance(word.value, ast.Constant):
                made = copy.deepcopy(node)
                made.keywords[k].value = ast.Constant(not word.value.value)
                yield "scatter", made


OPERATORS: tuple[Callable[[ast.expr, Scope], Iterator[Pair]], ...] = (
    change_flag,
    change_dim,
    change_keepdim,
    sum_for_mean,
    swap_name,
    change_sign,
    transpose,
    change_power,
    change_number,
    whole_for_one,
    same_dtype,
    flip,
    drop_part,
    times_number,
    add_sum,
    times_operand,
)
IN_PAIRS = (add_sum, transpose)
EVERYWHERE = (swap_name, times_operand)


@dataclass(frozen=True)
class Slot:
    """A place of an expression in a statement's tree."""

    parent: ast.AST
    field: str
    index: int | None

    @property
    def node(self) -> ast.expr:
        """Return what stands there."""
        held = getattr(self.parent, self.field)
        return held if self.index is None else held[self.index]

    def put(self, node: ast.expr) -> None:
        """Put something there."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@dataclass(frozen=True)
class Edit:
    """One edit of a statement.

    Attributes:
        kind: the class of the mistake that it mends.
        operator: the function that made it.
        changes: what goes where.
    """

    kind: str
    operator: str
    changes: tuple[tuple[Slot, ast.expr], ...]

    @property
    def before(self) -> str:
        """Return the text that goes."""
        return tidy(ast.unparse(self.changes[0][0].node))

    @property
    def after(self) -> str:
        """Return the text that comes."""
        return tidy(ast.unparse(ast.fix_missing_locations(self.changes[0][1])))


def tidy(text: str) -> str:
    """Return text with powers and small numbers written as people write them."""
    text = re.sub(r"\*\*\(-([\d.]+)\)", r"**-\1", text.replace(" ** ", "**"))
    return re.sub(r"(\de-)0(\d)", r"\1\2", text)


def slots(tree: ast.AST) -> Iterator[Slot]:
    """Yield the places of expressions that are read, outermost first."""
    for name, value in ast.iter_fields(tree):
        many = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, node in many:
            if not isinstance(node, ast.AST) or name == "targets" or name == "target":
                continue
            if isinstance(node, ast.expr):
                yield Slot(tree, name, index)
            yield from slots(node)


def edits(trees: list[ast.stmt], scope: Scope) -> Iterator[tuple[int, Edit]]:
    """Yield edits of statements with the statement's place, the most plausible first."""
    last = list(enumerate(trees))[::-1]
    places = [(k, slot) for k, tree in last for slot in slots(tree)]
    for operator in OPERATORS:
        for number, slot in places:
            for kind, node in operator(slot.node, scope):
                yield number, Edit(kind, operator.__name__, ((slot, node),))
    for number, tree in last:
        own = list(slots(tree))
        for edit in chain(everywhere(own, scope), in_pairs(own, scope)):
            yield number, edit


def everywhere(places: list[Slot], scope: Scope) -> Iterator[Edit]:
    """Yield edits of a name wherever it stands."""
    by_name: dict[str, list[Slot]] = {}
    for slot in places:
        if isinstance(slot.node, ast.Name):
            by_name.setdefault(slot.node.id, []).append(slot)
    for same_name in by_name.values():
        if len(same_name) > 1:
            for operator in EVERYWHERE:
                made = [list(operator(slot.node, scope)) for slot in same_name]
                for each in zip(*made, strict=True):
                    changes = tuple((s, node) for s, (_, node) in zip(same_name, each, strict=True))
                    yield Edit(each[0][0], operator.__name__, changes)


def in_pairs(places: list[Slot], scope: Scope) -> Iterator[Edit]:
    """Yield the same edit at two places that do not lie in one another."""
    for operator in IN_PAIRS:
        made = [(slot, kind, node) for slot in places for kind, node in operator(slot.node, scope)]
        shown = [(s, k, n, suffix(n)) for s, k, n in made]
        for first, (slot, kind, node, end) in enumerate(shown):
            for other, _, changed, other_end in shown[first + 1 :]:
                if other is not slot and end == other_end and apart(slot, other):
                    yield Edit(kind, operator.__name__, ((slot, node), (other, changed)))


def suffix(node: ast.expr) -> str:
    """Return what an edit adds at the end, to pair equal ones."""
    if isinstance(node, ast.Call):
        return (
            called(node)
            + ast.unparse(ast.Tuple(node.args, ast.Load()))
            + str([k.arg for k in node.keywords])
        )
    return node.attr if isinstance(node, ast.Attribute) else type(node).__name__


def apart(one: Slot, other: Slot) -> bool:
    """Tell whether neither of two places lies in the other."""
    return not any(n is other.node for n in ast.walk(one.node)) and not any(
        n is one.node for n in ast.walk(other.node)
    )
