"""What it costs to make a tensor a second time, next to keeping it."""

from __future__ import annotations

import ast
import re

from handgrad.index import parse
from handgrad.ir import Call, Expr, Item, Static

WORTH = 6  # passes over a tensor that cost as much as keeping it
SLOW = 4  # passes that a function takes: tanh 7, pow 11, erf and sin 3.5, exp, log and sigmoid 2.5
QUICK = re.compile(r"abs|bool|ceil|float|floor|int|is\w+|max|min|round|sign|sqrt|trunc|where")
POWERS = {-2, -1, -0.5, 0, 0.5, 1, 2, 3}  # torch has quick code for them


def passes(expr: Expr) -> int:
    """Return how many passes over memory an op takes: one, and more where it computes functions."""
    call = expr.call if isinstance(expr, Item) else expr
    if not isinstance(call, Call) or call.op.index is None:
        return 1
    parts = ast.walk(parse(call.op.index).value)
    return max(1, SLOW * len({ast.unparse(node) for node in parts if slow(node, call)}))


def slow(node: ast.AST, call: Call) -> bool:
    """Tell whether a part of an op's index notation is a function like tanh, or such a power."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and not QUICK.fullmatch(node.func.id)
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Pow):
        return False
    if isinstance(node.right, ast.Name):
        power = call.args.get(node.right.id)
        return not (isinstance(power, Static) and power.value in POWERS)
    return any(isinstance(part, ast.Subscript) for part in ast.walk(node.right))
