"""The one intermediate representation: expressions, lines and programs, all immutable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Static:
    """A value known before any tensor is: a number, a dim, a shape; with its source text."""

    value: Any
    text: str


@dataclass(frozen=True)
class Name:
    """A named tensor.

    Attributes:
        sizes: how each axis' size is written, `n` or `x.shape[0]`; empty where nothing is known.
    """

    name: str
    shape: Shape
    dtype: torch.dtype
    sizes: tuple[str, ...] = ()

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class Call:
    """An op applied to its arguments; `shape` and `dtype` are those of its only or first output.

    Attributes:
        constant: no gradient passes it: detached, or run without gradients.
    """

    op: Op
    args: Mapping[str, Arg]
    outputs: tuple[tuple[Shape, torch.dtype], ...]
    constant: bool = False

    @property
    def shape(self) -> Shape:
        """Return the shape of the first output."""
        return self.outputs[0][0]

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the first output."""
        return self.outputs[0][1]

    @property
    def ndim(self) -> int:
        """Return the number of axes of the first output."""
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class Item:
    """One output of an op that has several."""

    call: Call
    position: int

    @property
    def shape(self) -> Shape:
        """Return this output's shape."""
        return self.call.outputs[self.position][0]

    @property
    def dtype(self) -> torch.dtype:
        """Return this output's dtype."""
        return self.call.outputs[self.position][1]

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)


Expr: TypeAlias = Name | Call | Item
Arg: TypeAlias = "Expr | Static | tuple[Arg, ...]"


@dataclass(frozen=True)
class Param:
    """A parameter of a spelling; `required` ones have no default, a starred one takes the rest."""

    name: str
    default: Any = None
    required: bool = True
    star: bool = False
    constant: bool = False


@dataclass(frozen=True)
class Spelling:
    """One way to write an op in PyTorch.

    Attributes:
        kind: operator, compare, unary, subscript, attribute, method or function.
        target: the operator's symbol, the attribute or method, or the dotted function.
        function: what torch reports to `__torch_function__` when this spelling runs.
        run: the spelling as a function of the op's parameters by name.
    """

    text: str
    kind: str
    target: str
    params: tuple[Param, ...]
    function: Any
    run: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Op:
    """One row of the op table.

    Attributes:
        spellings: all recognised, the first is printed.
        outputs: names of the results; a single starred name stands for a list.
        index: its meaning in index notation, or None where that does not reach.
        rules: parameter name to its VJP.
        when: the arguments this row holds for; None is always.
        same_as: an equal expression in simpler ops.
        fold: a simpler equal for particular arguments, or None.
        additive: the result is a sum of operands' entries, up to sign.
        repeats: the result is the first operand stretched, nothing else.
        stretches: operands that the op itself stretches; for elementwise ops all of them.
        structural: operands whose shape and dtype alone are read.
        random: the result differs from run to run.
        heavy: it costs much more than reading its operands, so its result is worth keeping.
        foreign: no row of the table, made for a call that has none.
    """

    name: str
    spellings: tuple[Spelling, ...]
    outputs: tuple[str, ...] = ("y",)
    index: str | None = None
    rules: Mapping[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    when: Callable[..., bool] | None = None
    same_as: str | None = None
    fold: Callable[..., Any] | None = None
    why: Mapping[str, str] = field(default_factory=dict[str, str])
    examples: tuple[Any, ...] = ()
    additive: bool = False
    repeats: bool = False
    stretches: tuple[str, ...] = ()
    structural: tuple[str, ...] = ()
    random: bool = False
    heavy: bool = False
    foreign: bool = False

    def __repr__(self) -> str:
        return f"Op({self.name!r})"

    @property
    def identity(self) -> str:
        """Return what tells an op from others: the name of a row, the text of what has none."""
        return self.spellings[0].text if self.foreign else self.name

    @property
    def several(self) -> bool:
        """Tell whether the op has more than one output, or a list of them."""
        return len(self.outputs) > 1 or self.variadic

    @property
    def variadic(self) -> bool:
        """Tell whether the op's output is a list of any length."""
        return self.outputs[0].startswith("*")


@dataclass(frozen=True)
class Span:
    """Where a line stands in the user's source."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Line:
    """One assignment. `text` is what is printed and run, `source` what the user wrote."""

    targets: tuple[str, ...]
    expr: Expr
    text: str
    source: str = ""
    span: Span | None = None
    differentiable: bool = True

    @property
    def target(self) -> str:
        """Return the first name that the line assigns."""
        return self.targets[0]


@dataclass(frozen=True)
class Program:
    """Lines in order, the tensors and scalars they read from outside, and the name they end in.

    `sizes` tells which scalars the user's code took from a shape: `{"n": "x.shape[0]"}`;
    `externals` are functions and classes of the user's that a line calls.
    """

    lines: tuple[Line, ...]
    inputs: tuple[Name, ...]
    scalars: Mapping[str, Any]
    output: str
    sizes: Mapping[str, str] = field(default_factory=dict[str, str])
    externals: Mapping[str, Any] = field(default_factory=dict[str, Any])


def operands(arg: Arg) -> Iterator[Expr]:
    """Yield the expressions directly inside an argument, left to right."""
    if isinstance(arg, tuple):
        for part in arg:
            yield from operands(part)
    elif not isinstance(arg, Static):
        yield arg


def children(expr: Expr) -> list[Expr]:
    """Return the expressions that an expression is made of, left to right."""
    if isinstance(expr, Name):
        return []
    if isinstance(expr, Item):
        return [expr.call]
    found: list[Expr] = []
    for arg in expr.args.values():
        if isinstance(arg, tuple):
            found.extend(operands(arg))
        elif not isinstance(arg, Static):
            found.append(arg)
    return found


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield every distinct node of an expression, operands before results."""
    seen: set[int] = set()
    waiting: list[tuple[Expr, bool]] = [(expr, False)]  # no recursion: it may be of any depth
    while waiting:
        node, opened = waiting.pop()
        if opened:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            inside = children(node)
            if not inside:
                yield node
                continue
            waiting.append((node, True))
            waiting += [(child, False) for child in reversed(inside) if id(child) not in seen]


def names(expr: Expr) -> list[str]:
    """Return the names that an expression reads, each once, in order of appearance."""
    return list(dict.fromkeys(node.name for node in walk(expr) if isinstance(node, Name)))
