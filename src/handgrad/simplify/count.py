"""How many tensor operations a line of text does."""

from __future__ import annotations

import ast
from collections.abc import Mapping

FREE = frozenset(
    [
        "type_as",
        "to",
        "float",
        "double",
        "half",
        "bfloat16",
        "expand_as",
        "expand",
        "unsqueeze",
        "squeeze",
        "view",
        "reshape",
        "reshape_as",
        "transpose",
        "permute",
        "contiguous",
        "size",
        "dim",
        "numel",
        "item",
        "mT",
        "T",
    ]
)


def count(text: str, scalars: Mapping[str, object] | None = None) -> int:
    """Count the operators, calls and reductions in an expression; numbers alone cost nothing."""
    return counted(ast.parse(text, mode="eval").body, scalars or {})[0]


def counted(node: ast.AST, scalars: Mapping[str, object]) -> tuple[int, bool]:
    """Return the operations in a node, and whether it is a number."""
    match node:
        case ast.Constant():
            return 0, True
        case ast.Name(id=name):
            return 0, name in scalars
        case ast.Attribute(value=inner, attr=attr):
            return counted(inner, scalars)[0], attr in ("shape", "ndim")
        case ast.UnaryOp(operand=inner):
            cost, number = counted(inner, scalars)
            return cost + (not number), number
        case ast.BinOp(left=a, right=b):
            (x, p), (y, q) = counted(a, scalars), counted(b, scalars)
            return x + y + (not (p and q)), p and q
        case ast.Compare(left=a, comparators=[b]):
            return counted(a, scalars)[0] + counted(b, scalars)[0] + 1, False
        case ast.Subscript(value=inner):
            cost, number = counted(inner, scalars)
            return cost, number
        case ast.Call(func=ast.Attribute(value=inner, attr=attr), args=args, keywords=words):
            parts = [inner, *args, *(w.value for w in words)]
            if isinstance(inner, ast.Name) and inner.id in ("torch", "F"):
                parts = parts[1:]
            cost = sum(counted(part, scalars)[0] for part in parts)
            return cost + (attr not in FREE), attr in ("size", "numel", "item")
    return sum(counted(child, scalars)[0] for child in ast.iter_child_nodes(node)), False
