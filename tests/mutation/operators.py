"""Mistakes that people make in one line of a backward pass, as operators on its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Rewrite = Callable[[ast.expr, "Context"], Iterator[ast.expr]]
TINY = 1e-3  # a constant below is an epsilon
REDUCERS = ("sum", "mean", "softmax", "log_softmax", "amax", "cumsum", "logsumexp", "prod", "flip")
OPPOSITES = {
    "cos": "sin", "sin": "cos", "exp": "expm1", "tanh": "sigmoid", "sigmoid": "tanh",
    "sqrt": "square", "rsqrt": "reciprocal", "log": "exp", "sign": "abs", "softmax": "log_softmax",
}  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What an operator may know of the line that it changes.

    Attributes:
        target: the name that the line assigns.
        tensors: every tensor that the line could read.
        made: for each forward name, the names of the lines that read it.
    """

    target: str
    tensors: Mapping[str, torch.Tensor]
    made: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def alike(self, name: str) -> list[str]:
        """Return the other tensors of the same shape and dtype, in order."""
        one = self.tensors[name]
        return [
            other
            for other, value in self.tensors.items()
            if other not in (name, self.target)
            and value.shape == one.shape
            and value.dtype == one.dtype
        ]

    def rank(self, node: ast.expr) -> int | None:
        """Return the number of dims of an expression, None where it is no tensor."""
        scope = {"torch": torch, "F": torch.nn.functional, **self.tensors}
        try:
            with torch.no_grad():
                value = eval(ast.unparse(node), scope)
        except Exception:
            return None
        return value.dim() if isinstance(value, torch.Tensor) else None


def call(value: ast.expr, name: str, *args: object, **kwargs: object) -> ast.expr:
    """Return `value.name(*args, **kwargs)`."""
    return ast.Call(
        ast.Attribute(value, name, ast.Load()),
        [ast.Constant(a) for a in args],  # type: ignore[arg-type]
        [ast.keyword(k, ast.Constant(v)) for k, v in kwargs.items()],  # type: ignore[arg-type]
    )


def method(node: ast.expr) -> str:
    """Return the last name of what a call calls, empty where it is no call."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)


def is_op(node: ast.expr, *kinds: type[ast.operator]) -> bool:
    """Tell whether a node is a binary operation of one of some kinds."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, kinds)


def number(node: ast.expr) -> float | None:
    """Return a literal number, None where it is none."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# At the root of the right-hand side.


def flip_sign(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    yield node.operand if isinstance(node, ast.UnaryOp) else ast.UnaryOp(ast.USub(), node)


def scale_percent(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    yield ast.BinOp(node, ast.Mult(), ast.Constant(1.01))


def scale_millionth(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    yield ast.BinOp(node, ast.Mult(), ast.Constant(1.000001))


def add_sum(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if context.rank(node):
        yield call(node, "sum", 0)
        yield call(node, "sum", 0, keepdim=True)


def transposed_result(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if (context.rank(node) or 0) >= 2:
        yield ast.Attribute(node, "mT", ast.Load())


def other_layout(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if (context.rank(node) or 0) >= 2:
        flat = call(ast.Attribute(node, "mT", ast.Load()), "reshape", -1)
        yield call_with(flat, "reshape", ast.Attribute(node, "shape", ast.Load()))


def call_with(value: ast.expr, name: str, *args: ast.expr) -> ast.expr:
    """Return `value.name(*args)` of syntax nodes."""
    return ast.Call(ast.Attribute(value, name, ast.Load()), list(args), [])


def magnitude(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    yield call(node, "abs")


def narrower(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    yield call(node, "float")


def extra_axis(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    yield call(node, "unsqueeze", 0)


def swap_names(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    names = list(dict.fromkeys(n.id for n in ast.walk(node) if isinstance(n, ast.Name)))
    known = [n for n in names if n in context.tensors]
    for k, one in enumerate(known):
        for other in known[k + 1 :]:
            if other in context.alike(one):
                yield renamed(node, {one: other, other: one})


def renamed(node: ast.expr, names: Mapping[str, str]) -> ast.expr:
    """Return an expression with names replaced."""
    changed = copy.deepcopy(node)
    for part in ast.walk(changed):
        if isinstance(part, ast.Name):
            part.id = names.get(part.id, part.id)
    return changed


# At any place of the right-hand side.


def drop_factor(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.Mult):
        yield from (node.left, node.right)
    elif is_op(node, ast.Div):
        yield node.left


def drop_upstream(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name) and node.id in context.tensors and node.id.startswith("d"):
        ones = ast.Attribute(ast.Name("torch", ast.Load()), "ones_like", ast.Load())
        yield ast.Call(ones, [node], [])


def other_name(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name) and node.id in context.tensors and not node.id.startswith("d"):
        for other in context.alike(node.id):
            if not other.startswith("d"):
                yield ast.Name(other, ast.Load())


def output_for_input(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name) and node.id in context.tensors:
        for other in context.made.get(node.id, ()):
            if other in context.alike(node.id):
                yield ast.Name(other, ast.Load())


def stale_upstream(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name) and node.id in context.tensors and node.id.startswith("d"):
        for other in context.alike(node.id):
            if other.startswith("d"):
                yield ast.Name(other, ast.Load())


def drop_sum(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if method(node) in ("sum", "mean") and isinstance(node.func, ast.Attribute):
        yield node.func.value


def change_dim(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if method(node) not in REDUCERS or not isinstance(node.func, ast.Attribute):
        return
    rank = context.rank(node.func.value)
    if rank is None:
        return
    for place in places_of_dim(node):
        for dim in range(rank):
            changed = copy.deepcopy(node)
            slot = [*changed.args, *(k.value for k in changed.keywords)][place]
            was = number(slot)
            if was is not None and int(was) % rank != dim:
                slot.value = dim
                yield changed


def places_of_dim(node: ast.Call) -> list[int]:
    """Return which arguments of a call are one axis."""
    slots = [(None, a) for a in node.args] + [(k.arg, k.value) for k in node.keywords]
    return [
        place
        for place, (name, value) in enumerate(slots)
        if name in (None, "dim", "axis") and isinstance(number(value), int)
    ]


def drop_keepdim(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        kept = [k for k in node.keywords if k.arg not in ("keepdim", "keepdims")]
        if len(kept) < len(node.keywords):
            yield ast.Call(node.func, node.args, kept)


def mean_for_sum(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    swapped = {"sum": "mean", "mean": "sum"}.get(method(node))
    if swapped and isinstance(node.func, ast.Attribute):
        changed = copy.deepcopy(node)
        changed.func.attr = swapped
        yield changed


def drop_transpose(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield node.value
    elif method(node) in ("transpose", "t", "permute") and isinstance(node.func, ast.Attribute):
        yield node.func.value


def add_transpose(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name) and node.id in context.tensors:
        if context.tensors[node.id].dim() >= 2:
            yield ast.Attribute(node, "mT", ast.Load())


def swap_matmul(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.MatMult):
        yield ast.BinOp(node.right, ast.MatMult(), node.left)


def transpose_other(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    """`x.mT @ dy` becomes `(dy.mT @ x)`: the right product transposed."""
    if is_op(node, ast.MatMult):
        left, right = (ast.Attribute(n, "mT", ast.Load()) for n in (node.left, node.right))
        yield ast.BinOp(right, ast.MatMult(), left)


def exponent(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.Pow):
        for step in (1, -1):
            yield ast.BinOp(node.left, ast.Pow(), plus(node.right, step))
        yield node.left


def plus(node: ast.expr, step: int) -> ast.expr:
    """Return a number moved by a step."""
    return ast.BinOp(node, ast.Add() if step > 0 else ast.Sub(), ast.Constant(abs(step)))


def constant(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    value = number(node)
    if value is not None and value not in (0, 1):
        yield ast.Constant(1 if isinstance(value, int) else 1.0)
        yield ast.Constant(value * 2)
    if is_op(node, ast.Sub) and number(node.right) == 1:
        yield node.left  # n for n - 1
    if is_op(node, ast.Sub) and number(node.left) == 1:
        yield ast.BinOp(ast.Constant(2), ast.Sub(), node.right)  # 1 - h**2


def drop_epsilon(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.Add):
        for small, other in ((node.left, node.right), (node.right, node.left)):
            value = number(small)
            if value is not None and 0 < value < TINY:
                yield other


def drop_term(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.Add, ast.Sub):
        yield node.left
        yield node.right if is_op(node, ast.Add) else ast.UnaryOp(ast.USub(), node.right)


def double_term(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.Add, ast.Sub):
        yield ast.BinOp(node, ast.Add(), node.left)
        yield ast.BinOp(node, node.op, node.right)


def minus_for_plus(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.Add):
        yield ast.BinOp(node.left, ast.Sub(), node.right)
    elif is_op(node, ast.Sub):
        yield ast.BinOp(node.left, ast.Add(), node.right)


def times_for_divide(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if is_op(node, ast.Div):
        yield ast.BinOp(node.left, ast.Mult(), node.right)


def overwrite_repeats(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    """A scatter that adds becomes one that overwrites."""
    other = {"index_add": "index_copy", "scatter_add": "scatter"}.get(method(node))
    if other and isinstance(node.func, ast.Attribute):
        changed = copy.deepcopy(node)
        changed.func.attr = other
        yield changed
    if method(node) == "index_put":
        changed = copy.deepcopy(node)
        changed.keywords = [k for k in changed.keywords if k.arg != "accumulate"]
        yield changed


def drop_mask(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if method(node) == "where" and len(node.args) == 3:
        yield from node.args[1:]
    elif method(node) in ("masked_fill", "clamp", "tril", "triu"):
        yield node.func.value


def other_index(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Name) and node.id in context.tensors:
        value = context.tensors[node.id]
        if not value.is_floating_point() and value.dim():
            yield call(node, "roll", 1, 0)
            yield call(node, "flip", 0)


def ones_for_zeros(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    known = ("zeros", "zeros_like", "new_zeros")
    if method(node) in known and isinstance(node.func, ast.Attribute):
        changed = copy.deepcopy(node)
        changed.func.attr = node.func.attr.replace("zeros", "ones")
        yield changed


def other_function(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    other = OPPOSITES.get(method(node))
    if other and isinstance(node.func, ast.Attribute):
        changed = copy.deepcopy(node)
        changed.func.attr = other
        yield changed


def flip_comparison(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if isinstance(node, ast.Compare):
        for kind in (ast.Lt, ast.GtE, ast.Eq, ast.NotEq):
            if not isinstance(node.ops[0], kind):
                yield ast.Compare(node.left, [kind()], node.comparators)


def reshape_of_transposed(node: ast.expr, context: Context) -> Iterator[ast.expr]:
    if method(node) in ("reshape", "view") and isinstance(node.func, ast.Attribute):
        if (context.rank(node.func.value) or 0) >= 2:
            source = ast.Attribute(node.func.value, "mT", ast.Load())
            yield ast.Call(ast.Attribute(source, "reshape", ast.Load()), node.args, [])


ROOT: tuple[Rewrite, ...] = (
    flip_sign, scale_percent, scale_millionth, add_sum, transposed_result, other_layout,
    magnitude, narrower, extra_axis, swap_names,
)  # fmt: skip
ANYWHERE: tuple[Rewrite, ...] = (
    drop_factor, drop_upstream, other_name, output_for_input, stale_upstream, drop_sum, change_dim,
    drop_keepdim, mean_for_sum, drop_transpose, add_transpose, swap_matmul, transpose_other,
    exponent, constant, drop_epsilon, drop_term, double_term, minus_for_plus, times_for_divide,
    overwrite_repeats, drop_mask, other_index, ones_for_zeros, other_function, flip_comparison,
    reshape_of_transposed,
)  # fmt: skip


# On the whole statement.


def overwritten(node: ast.Assign, context: Context) -> Iterator[str]:
    """Write two contributions one after the other, both with `=`."""
    if is_op(node.value, ast.Add):
        left, right = ast.unparse(node.value.left), ast.unparse(node.value.right)
        yield f"{context.target} = {left}\n{context.target} = {right}"


def aliased(node: ast.Assign, context: Context) -> Iterator[str]:
    """Start from another gradient's own tensor and change it in place."""
    if is_op(node.value, ast.Add):
        left, right = node.value.left, node.value.right
        for first, rest in ((left, right), (right, left)):
            if isinstance(first, ast.Name) and first.id in context.tensors:
                yield f"{context.target} = {first.id}\n{context.target} += {ast.unparse(rest)}"


STATEMENT: tuple[Callable[[ast.Assign, Context], Iterator[str]], ...] = (overwritten, aliased)
NAMES = tuple(f.__name__ for f in (*ROOT, *ANYWHERE, *STATEMENT))


@dataclass(frozen=True)
class Mistake:
    """A line with one mistake.

    Attributes:
        operator: the name of the operator.
        text: the statements that stand for the line.
    """

    operator: str
    text: str


def mistakes(line: str, context: Context) -> Iterator[Mistake]:
    """Yield every mistake that the operators make in a line, none that reads as before."""
    (node,) = ast.parse(line).body
    if not isinstance(node, ast.Assign | ast.AugAssign):
        return
    seen = {ast.unparse(node)}
    for name, text in candidates(node, context):
        if text not in seen:
            seen.add(text)
            yield Mistake(name, text)


def candidates(node: ast.Assign | ast.AugAssign, context: Context) -> Iterator[tuple[str, str]]:
    """Yield what each operator makes of an assignment, as text."""
    for change in ROOT:
        for value in change(node.value, context):
            yield change.__name__, with_part(node, node.value, value)
    for part in ast.walk(node.value):
        if isinstance(part, ast.expr):
            for change in ANYWHERE:
                for value in change(part, context):
                    yield change.__name__, with_part(node, part, value)
    if isinstance(node, ast.Assign):
        for whole in STATEMENT:
            for text in whole(node, context):
                yield whole.__name__, text


def with_part(node: ast.stmt, part: ast.expr, new: ast.expr) -> str:
    """Return the text of a statement with one part replaced."""
    return ast.unparse(ast.fix_missing_locations(replace_in(node, part, new)))


def replace_in(node: Any, part: ast.AST, new: ast.AST) -> Any:
    """Return a tree in which one part is another, all else as it was."""
    if node is part:
        return new
    made = copy.copy(node)
    for name, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            setattr(made, name, replace_in(value, part, new))
        elif isinstance(value, list):
            items = [replace_in(v, part, new) if isinstance(v, ast.AST) else v for v in value]
            setattr(made, name, items)
    return made
