"""Point out where a backward pass by hand asks autograd, or holds what cannot be seen into."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

from handgrad.check.judge import Judge
from handgrad.check.report import Report, Row, Verdict
from handgrad.check.statements import Statement

ASKING = {
    "backward": "",
    "grad": "autograd func",
    "vjp": "autograd functional func",
    "jvp": "autograd functional func",
    "jacobian": "functional",
    "jacrev": "func",
    "jacfwd": "func",
    "grad_and_value": "func",
}
FOREIGN = ("np", "numpy", "jnp", "jax", "tf", "ctypes")


def remarked(report: Report, judge: Judge) -> Report:
    """Add to each row what its statements should be read with."""
    return replace(report, rows=tuple(remark(row, judge) for row in report.rows))


def remark(row: Row, judge: Judge) -> Row:
    """Return a row whose note says where autograd was asked, or what cannot be seen into."""
    if not judge.run.writes.get(row.name):
        return row
    places = [judge.body[place] for place in judge.slice_of(row.name)]
    told = [f"line {s.line} asks autograd: {asked}" for s in places for asked in asks(s)]
    if row.verdict is Verdict.UNCONFIRMED and any(s.reads & set(FOREIGN) for s in places):
        told.append("cannot see inside what is not torch's")
    return replace(row, note="; ".join(filter(None, [row.note, *told]))) if told else row


def asks(statement: Statement) -> Iterator[str]:
    """Yield the calls and attributes of a statement that ask autograd for a derivative."""
    try:
        tree = ast.parse(statement.text)
    except SyntaxError:  # a block taken out of a function
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from asking(node.func)
        elif isinstance(node, ast.Attribute) and is_gradient(node):
            yield ast.unparse(node)


def asking(called: ast.Attribute) -> Iterator[str]:
    """Yield a call's function if it is one of autograd's."""
    owner = ast.unparse(called.value).split(".")[-1]
    if called.attr == "backward" or owner in ASKING.get(called.attr, "").split():
        yield ast.unparse(called)


def is_gradient(node: ast.Attribute) -> bool:
    """Tell whether something reads a tensor's `.grad`; `torch.autograd.grad` is none."""
    if node.attr != "grad" or not isinstance(node.ctx, ast.Load):
        return False
    return ast.unparse(node.value).split(".")[-1] not in ("autograd", "func", "torch")
