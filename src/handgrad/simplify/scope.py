"""The names of a program as terms, so that a text becomes an expression with shapes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive import BackwardLine
from handgrad.errors import NoRule
from handgrad.ir import Expr, Name
from handgrad.ops import TABLE
from handgrad.ops.numbers import WrittenFloat, write
from handgrad.ops.term import Term, building
from handgrad.spell import literal
from handgrad.trace import Trace


class Scope(Mapping[str, Any]):
    """The names of a forward and a backward pass as terms and numbers."""

    def __init__(self, trace: Trace, start: str, lines: Iterable[BackwardLine]) -> None:
        self.scalars = {n: write(v, n) for n, v in trace.program.scalars.items()}
        self.tensors: dict[str, Callable[[], Name]] = {}
        for name, value in trace.values.items():
            self.put(name, tuple(value.shape), value.dtype)
        out = trace.values[trace.output]
        self.put(start, tuple(out.shape), out.dtype)
        for each in lines:
            self.put(each.name, each.line.expr.shape, each.line.expr.dtype)

    def put(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Add a tensor."""
        self.tensors[name] = lambda: Name(name, shape, dtype)

    def parse(self, text: str) -> Expr | None:
        """Return a text as an expression, None if torch refuses it."""
        tree = ast.fix_missing_locations(Numbers().visit(ast.parse(text, mode="eval")))
        given = {"torch": torch, "F": F, "_number": remembered}
        try:
            with building(TABLE):
                value = eval(compile(tree, "<line>", "eval"), given, self)
        except (NoRule, RuntimeError, IndexError, TypeError, NameError, AttributeError):
            return None
        return value.expr if isinstance(value, Term) else None

    def __getitem__(self, name: str) -> Any:
        if name in self.tensors:
            return Term(self.tensors[name]())
        return self.scalars[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.tensors, *self.scalars])

    def __len__(self) -> int:
        return len(self.tensors) + len(self.scalars)


class Numbers(ast.NodeTransformer):
    """Make the numbers of a text remember how they are written."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        """Wrap a float."""
        if type(node.value) is not float:
            return node
        return ast.Call(ast.Name("_number", ast.Load()), [node], [])


def remembered(value: float) -> WrittenFloat:
    """Return a float that remembers its text."""
    found = WrittenFloat(value)
    found.text = literal(value)
    return found
