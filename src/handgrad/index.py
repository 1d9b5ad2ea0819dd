"""Index notation: what an op means, entry by entry, as `y[I,i,k] = sum[j] a[I,i,j] * b[I,j,k]`.

Capital labels stand for any number of axes (aligned from the right, size 1 stretches), small ones
for one axis. A reduction is `sum[j](...)`; `x[I]` reduced over the argument `dim` gives `y[I-dim]`.
Everything after `sum[j] ` belongs to the sum.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache, cached_property

REDUCTIONS = ("sum", "mean", "prod", "max", "min")


@dataclass(frozen=True)
class Equation:
    """One equation in index notation.

    Attributes:
        output: labels of the result, a tuple of names; `I-dim` stays one label.
        value: the right-hand side as a Python syntax tree.
        reads: operand name to the label tuples that it is read at.
    """

    text: str
    output: tuple[str, ...]
    value: ast.expr
    reads: dict[str, tuple[tuple[str, ...], ...]]

    @cached_property
    def elementwise(self) -> bool:
        """Tell whether each entry of the result reads the same entry of every operand."""
        return (
            self.output == ("I",)
            and all(labels == ("I",) for many in self.reads.values() for labels in many)
            and not any(reduction(node) for node in ast.walk(self.value))
        )


@cache
def parse(text: str) -> Equation:
    """Parse an equation.

    Raises:
        ValueError: the text is not an equation in index notation.
    """
    left, _, right = text.partition(" = ")
    target = ast.parse(left, mode="eval").body
    value = ast.parse(close_reductions(right), mode="eval").body
    if not isinstance(target, ast.Subscript):
        raise ValueError(f"index notation starts with `y[...] = `, not with {left!r}")
    reads: dict[str, tuple[tuple[str, ...], ...]] = {}
    for node in ast.walk(value):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            name = node.value.id
            if name not in REDUCTIONS:
                reads[name] = (*reads.get(name, ()), labels(node))
    return Equation(text, labels(target), value, reads)


def labels(node: ast.Subscript) -> tuple[str, ...]:
    """Return the labels inside the brackets, each as text."""
    inside = node.slice
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    return tuple(ast.unparse(part).replace(" ", "") for part in parts if ast.unparse(part) != "()")


def reduction(node: ast.AST) -> str | None:
    """Return the name of the reduction that a node is, if it is one."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
        name = ast.unparse(node.func.value)
        return name if name in REDUCTIONS else None
    return None


def close_reductions(text: str) -> str:
    """Put the brackets that `sum[j] a * b` leaves out."""
    match = re.search(rf"\b({'|'.join(REDUCTIONS)})\[[^\]]*\] (?=\S)", text)
    if match is None:
        return text
    head, tail = text[: match.end() - 1], text[match.end() :]
    return f"{head}({close_reductions(tail)})"
