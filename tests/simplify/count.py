"""Counts the tensor operations of lines of text, from their syntax alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable

SIZES = {"shape", "ndim", "dtype", "device", "eps"}  # attributes that are no tensors
ASKED = {"size", "numel", "dim", "finfo"}  # methods that give numbers
PYTHON = {"range", "len", "float", "int", "abs", "max", "min"}  # on numbers only
TURNED = {"T", "mT", "H", "mH"}


class Count:
    """Count the operations of expressions.

    An operator, a call, an index and a reduction are one each; what is made of numbers and sizes
    alone is none. A minus in front of a term of a sum, or of a difference in brackets, is none.

    Args:
        numbers: names of Python numbers.
        upstream: the gradient of a scalar output: multiplying by it is none.
    """

    def __init__(self, numbers: Iterable[str] = (), upstream: str = "") -> None:
        self.numbers, self.upstream = {*numbers, upstream}, upstream

    def lines(self, text: str) -> int:
        """Return the operations of a few assignments."""
        return sum(self.of(each.value) for each in ast.parse(text).body)

    def of(self, node: ast.AST) -> int:
        """Return the operations of an expression."""
        if self.is_number(node):
            return 0
        below = sum(self.of(child) for child in operands(node))
        return below + self.own(node)

    def own(self, node: ast.AST) -> int:
        """Return 1 if a node is an operation itself."""
        match node:
            case ast.BinOp(op=ast.Mult()) if self.is_upstream(node.left, node.right):
                return 0
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return 1 - self.is_minus(node.left) - self.is_minus(node.right)
            case (
                ast.UnaryOp(op=ast.USub(), operand=ast.BinOp(op=ast.Sub()))
                | ast.UnaryOp(op=ast.UAdd())
            ):
                return 0
            case ast.Attribute():
                return int(node.attr in TURNED)
            case ast.Name() | ast.Tuple() | ast.List() | ast.Slice() | ast.Starred():
                return 0
            case ast.BinOp() | ast.UnaryOp() | ast.Call() | ast.Subscript() | ast.Compare():
                return 1
        raise ValueError(f"no count for {ast.unparse(node)}")

    def is_upstream(self, *nodes: ast.AST) -> bool:
        """Tell whether one of the nodes is the upstream gradient and nothing else."""
        return any(isinstance(n, ast.Name) and n.id == self.upstream for n in nodes)

    def is_minus(self, node: ast.AST) -> bool:
        """Tell whether a term has a minus of its own, which the sum around it takes over."""
        minus = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        return minus and not self.is_number(node) and self.own(node) == 1

    def is_number(self, node: ast.AST) -> bool:
        """Tell whether an expression is made of Python numbers and sizes alone."""
        match node:
            case ast.Constant():
                return True
            case ast.Name():
                return node.id in self.numbers
            case ast.Attribute():
                return node.attr in SIZES or getattr(node.value, "id", "") == "math"
            case ast.Subscript():
                return self.is_number(node.value)
            case ast.Call(func=ast.Attribute(attr=method)) if method in ASKED:
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="math")) | ast.Name(id=_)):
                plain = not isinstance(node.func, ast.Name) or node.func.id in PYTHON
                return plain and all(map(self.is_number, node.args))
            case ast.BinOp() | ast.UnaryOp() | ast.Tuple() | ast.List() | ast.Slice():
                return all(self.is_number(child) for child in operands(node))
        return False


def operands(node: ast.AST) -> list[ast.AST]:
    """Return the expressions that a node is made of; `torch` and `F` are none."""
    match node:
        case ast.Call():
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            module = isinstance(owner, ast.Name) and owner.id in ("torch", "F", "math")
            own = [] if owner is None or module else [owner]
            return own + list(node.args) + [keyword.value for keyword in node.keywords]
        case ast.Attribute(value=ast.Name(id="torch" | "F" | "math")):
            return []
        case ast.BinOp():
            return [node.left, node.right]
        case ast.UnaryOp():
            return [node.operand]
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def reads(text: str) -> set[str]:
    """Return the names that a line of text loads."""
    found = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name))
    return {n.id for n in found if isinstance(n.ctx, ast.Load)}


def needed(source: str, wanted: Iterable[str]) -> str:
    """Return the lines that some names need, those of what they read included."""
    kept: list[str] = []
    open_names = set(wanted)
    for each in reversed(ast.parse(source).body):
        text = ast.unparse(each)
        targets = {n.id for n in ast.walk(each) if isinstance(n, ast.Name)} - reads(text)
        if targets & open_names:
            kept.append(ast.get_source_segment(source, each) or text)
            open_names = (open_names - targets) | reads(text)
    return "\n".join(reversed(kept)) + "\n"
