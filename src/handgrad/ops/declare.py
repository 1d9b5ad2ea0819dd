"""How a row of the op table is written: spellings as text, rules as lambdas, examples as calls."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ir import Op, Param, Spelling
from handgrad.spell import OPERATORS

METHODS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "@": "matmul",
    "**": "__pow__",
    "//": "__floordiv__",
    "%": "__mod__",
    ">": "gt",
    ">=": "ge",
    "<": "lt",
    "<=": "le",
    "==": "__eq__",
    "!=": "__ne__",
    "&": "__and__",
    "|": "__or__",
    "^": "__xor__",
}
UNARY_METHODS = {"-": "neg", "~": "__invert__"}
FIELDS = frozenset(each.name for each in dataclasses.fields(Op))


@dataclass(frozen=True)
class Example:
    """Arguments that a row is tested on: tensors by shape, statics by name.

    Attributes:
        args: a shape makes a random float tensor, a `Given` what it says, a list a list of them,
            anything else is itself.
        kwargs: statics, or operands by name.
        orders: how many derivatives are compared with autograd's.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    orders: int = 2


@dataclass(frozen=True)
class Given:
    """A tensor of an example that is not simply random normal.

    Attributes:
        make: draws it, given a generator.
        keep: it keeps its dtype where the other tensors of the example are made float64.
    """

    make: Callable[[torch.Generator], torch.Tensor]
    keep: bool = False


def call(*args: Any, **kwargs: Any) -> Example:
    """Describe one example call."""
    return Example(args, kwargs)


def at_kink(*args: Any, **kwargs: Any) -> Example:
    """Describe a call where torch's second derivative is a choice of its own, or not a number."""
    return Example(args, kwargs, orders=1)


def positive(*shape: int) -> Given:
    """Describe a tensor of entries between 0.5 and 2."""
    return Given(lambda g: torch.rand(shape, generator=g, dtype=torch.float64) * 1.5 + 0.5)


def single(*shape: int) -> Given:
    """Describe a tensor of single precision among those of double."""
    return Given(lambda g: torch.randn(shape, generator=g, dtype=torch.float32), keep=True)


def unit(*shape: int) -> Given:
    """Describe a tensor of entries between 0.1 and 0.9."""
    return Given(lambda g: torch.rand(shape, generator=g, dtype=torch.float64) * 0.8 + 0.1)


def index(*shape: int, below: int) -> Given:
    """Describe an index tensor with repeats, entries from 0 to below - 1."""

    def make(g: torch.Generator) -> torch.Tensor:
        values = torch.randint(0, below, shape, generator=g)
        if values.numel() > 1:
            values.view(-1)[-1] = values.view(-1)[0]  # at least one repeat
        return values

    return Given(make)


def mask(*shape: int) -> Given:
    """Describe a mask in which both values occur (where it has more than one entry)."""

    def make(g: torch.Generator) -> torch.Tensor:
        values = torch.rand(shape, generator=g) > 0.5
        if values.numel() > 1:
            values.view(-1)[0], values.view(-1)[1] = True, False
        return values

    return Given(make)


def exactly(*values: Any, dtype: torch.dtype | None = None) -> Given:
    """Describe a tensor by its values, for ties and edges."""
    data = values[0] if len(values) == 1 else list(values)
    return Given(lambda _: torch.tensor(data, dtype=dtype or torch.get_default_dtype()))


def op(
    spellings: str,
    *,
    index: str | None,
    examples: Sequence[Example],
    name: str | None = None,
    **fields: Any,
) -> Op:
    """Declare one row.

    Args:
        spellings: `"a * b, torch.mul(a, b), a.mul(b)"`; several outputs as an assignment,
            `"values, indices = x.max(dim, keepdim=False)"`; a list of outputs as `"*ys = ..."`.
        index: the meaning in index notation; None where that does not reach.
        examples: calls with distinct sizes; each is run by the table's test.
        name: the row's name, by default the first named spelling's.
        **fields: `dx=lambda dy, y, x: ...`, the rule of each operand `x`, which names only what it
            needs; and the other fields of `Op` by their names.
    """
    outputs, expressions = parse_spellings(spellings)
    parsed = tuple(parse_spelling(node, text) for node, text in expressions)
    rules = {key[1:]: rule for key, rule in fields.items() if key not in FIELDS}
    wrong = [key for key in fields if key not in FIELDS and not key.startswith("d")]
    if wrong:
        raise TypeError(f"op {spellings!r} has no field {wrong[0]!r}")
    return Op(
        name=name or row_name(parsed),
        spellings=parsed,
        outputs=outputs,
        index=index,
        rules=rules,
        examples=tuple(examples),
        **{key: value for key, value in fields.items() if key in FIELDS},
    )


def parse_spellings(text: str) -> tuple[tuple[str, ...], list[tuple[ast.expr, str]]]:
    """Split a declaration into output names and spellings, each with its text."""
    text = text.strip()
    statement = ast.parse(text).body[0]
    outputs: tuple[str, ...] = ("y",)
    if isinstance(statement, ast.Assign):
        target = statement.targets[0]
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        outputs = tuple(ast.unparse(part) for part in parts)
        value = statement.value
    else:
        assert isinstance(statement, ast.Expr), text
        value = statement.value
    nodes = value.elts if isinstance(value, ast.Tuple) else [value]
    return outputs, [(node, text[node.col_offset : node.end_col_offset]) for node in nodes]


def parse_spelling(node: ast.expr, text: str) -> Spelling:
    """Read one spelling: what kind it is, what torch calls it, its parameters."""
    if isinstance(node, ast.BinOp | ast.Compare):
        compare = isinstance(node, ast.Compare)
        symbol = OPERATORS[type(node.ops[0] if compare else node.op)]
        right = node.comparators[0] if compare else node.right
        params = (param(node.left), param(right))
        function = getattr(torch.Tensor, METHODS[symbol])
        return make(text, "compare" if compare else "operator", symbol, params, function)
    if isinstance(node, ast.UnaryOp):
        symbol = OPERATORS[type(node.op)]
        function = getattr(torch.Tensor, UNARY_METHODS[symbol])
        return make(text, "unary", symbol, (param(node.operand),), function)
    if isinstance(node, ast.Subscript):
        params = (param(node.value), param(node.slice))
        return make(text, "subscript", "[]", params, torch.Tensor.__getitem__)
    if isinstance(node, ast.Attribute):
        function = getattr(torch.Tensor, node.attr).__get__
        return make(text, "attribute", node.attr, (param(node.value),), function)
    assert isinstance(node, ast.Call), text
    return parse_call(node, text)


def parse_call(node: ast.Call, text: str) -> Spelling:
    """Read a spelling that is a method or function call."""
    params = tuple(param(arg) for arg in node.args)
    params += tuple(
        Param(word.arg or "", default=ast.literal_eval(word.value), required=False)
        for word in node.keywords
    )
    dotted = text[: (node.func.end_col_offset or 0) - node.col_offset]
    if dotted.startswith(("torch.", "F.")):
        function: Any = {"torch": torch, "F": F}[dotted.split(".")[0]]
        for part in dotted.split(".")[1:]:
            function = getattr(function, part)
        return make(text, "function", dotted, params, function)
    assert isinstance(node.func, ast.Attribute), text
    function = getattr(torch.Tensor, node.func.attr)
    return make(text, "method", node.func.attr, (param(node.func.value), *params), function)


def param(node: ast.expr) -> Param:
    """Read one positional parameter of a spelling."""
    if isinstance(node, ast.Name):
        return Param(node.id)
    if isinstance(node, ast.Starred):
        return Param(ast.unparse(node.value), star=True)
    if isinstance(node, ast.Constant):
        return Param(repr(node.value), default=node.value, required=False, constant=True)
    return Param(ast.unparse(node))


def make(text: str, kind: str, target: str, params: tuple[Param, ...], function: Any) -> Spelling:
    """Build a spelling together with the function that runs it."""
    made: list[Callable[..., Any]] = []

    def run(**given: Any) -> Any:
        if not made:  # most spellings of a table are never run
            made.append(runner(text, params))
        return made[0](**given)

    return Spelling(text, kind, target, params, function, run)


def runner(text: str, params: tuple[Param, ...]) -> Callable[..., Any]:
    """Return a spelling as a function of its parameters."""
    names = [p.name for p in params if not p.constant]
    defaults = {p.name: p.default for p in params if not p.required}
    head = ", ".join(f"{name}=_defaults[{name!r}]" if name in defaults else name for name in names)
    body = ast.parse(text, mode="eval").body
    if isinstance(body, ast.Call):  # `dim=None` declares a default; the run passes what it is given
        for word in body.keywords:
            word.value = ast.Name(word.arg or "")
        for arg in body.args:  # no size at all is said as one empty tuple: `x.flip(())`
            if isinstance(arg, ast.Starred):
                arg.value = ast.parse(f"{ast.unparse(arg.value)} or ((),)", mode="eval").body
    code = f"lambda {head}: {ast.unparse(body)}"
    return eval(code, {"torch": torch, "F": F, "_defaults": defaults})


def row_name(spellings: tuple[Spelling, ...]) -> str:
    """Return the name of the first spelling that has one."""
    for spelling in spellings:
        if spelling.kind in ("method", "function"):
            return spelling.target.split(".")[-1]
    return spellings[0].target


@cache
def needs(rule: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names that a VJP asks for."""
    return tuple(inspect.signature(rule).parameters)
