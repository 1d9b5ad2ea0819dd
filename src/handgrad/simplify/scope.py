"""The names of a program as terms, so that a text becomes an expression with shapes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive import BackwardLine
from handgrad.ir import Expr, Name
from handgrad.ops import TABLE
from handgrad.ops.numbers import WrittenFloat, plain, write
from handgrad.ops.term import Term, building
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
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError:  # a size that has no name
            return None
        tree = ast.fix_missing_locations(Numbers(text, self.scalars).visit(tree))
        given = {"torch": torch, "F": F, "_number": remembered}
        try:
            with building(TABLE):
                value = eval(compile(tree, "<line>", "eval"), given, self)
        except Exception:  # what Terms cannot do: NoRule, and whatever a user's function raises
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
    """Make the numbers of a text remember how they are written, `0.5/n` as a whole."""

    def __init__(self, text: str, scalars: Mapping[str, Any]) -> None:
        self.text, self.scalars = text, scalars

    def visit(self, node: ast.AST) -> Any:
        """Wrap a number; go on inside anything else."""
        worth = isinstance(node, ast.BinOp | ast.UnaryOp) or (
            isinstance(node, ast.Constant) and type(node.value) is float
        )
        if worth and self.is_number(node):
            source = ast.get_source_segment(self.text, node) or ast.unparse(node)
            args: list[ast.expr] = [node, ast.Constant(source)]  # type: ignore[list-item]
            return ast.Call(ast.Name("_number", ast.Load()), args, [])
        return self.generic_visit(node)

    def is_number(self, node: ast.AST) -> bool:
        """Tell whether a part of a text is made of numbers and sizes alone."""
        match node:
            case ast.Constant(value=int() | float()):
                return True
            case ast.Name(id=name):
                return name in self.scalars
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return self.is_number(inner)
            case ast.BinOp(left=a, right=b):
                return self.is_number(a) and self.is_number(b)
            case ast.Subscript(value=ast.Attribute(value=ast.Name(), attr="shape")):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(), attr="numel"), args=[]):
                return True
        return False


def remembered(value: Any, text: str) -> Any:
    """Return a number that remembers its text."""
    value = plain(value)
    if type(value) is not float:
        return write(value, text)
    found = WrittenFloat(value)
    found.text = text
    return found
