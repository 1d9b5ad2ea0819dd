"""Names that are read for their shape alone: another tensor of that shape, or the shape itself."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from handgrad.derive import Backward
from handgrad.emit.graph import all_like, like, made_by
from handgrad.ir import Arg, Call, Expr, Item, Name, Static


class Alike:
    """Which names have one shape and dtype whatever the sizes are.

    Args:
        backward: the backward pass; `dx` has the shape of `x`.
    """

    def __init__(self, backward: Backward) -> None:
        self.kin: dict[str, str] = {}
        for line in backward.trace.lines:
            for target, expr in made_by(line):
                for name in directly_like(expr):
                    self.join(target, name)
        for each in backward.lines:
            if each.primal:
                self.join(each.name, each.primal)
            else:
                for name in directly_like(each.line.expr):
                    self.join(each.name, name)
        self.join(backward.start, backward.trace.output)

    def root(self, name: str) -> str:
        """Return the name that stands for all of one shape."""
        while self.kin.get(name, name) != name:
            name = self.kin[name]
        return name

    def join(self, a: str, b: str) -> None:
        """Note that two names have one shape."""
        self.kin[self.root(a)] = self.root(b)

    def pick(self, name: str, among: Iterable[str]) -> str | None:
        """Return the first name that has the shape of another, None if there is none."""
        return next((other for other in among if self.root(other) == self.root(name)), None)


def directly_like(expr: Expr) -> list[str]:
    """Return the names in an expression that have its shape by elementwise ops alone."""
    return [name.name for name in all_like(expr)]


def by_names(expr: Expr) -> Expr:
    """Return an expression that reads shapes from names, not from parts computed for that."""
    if isinstance(expr, Name):
        return expr
    if isinstance(expr, Item):
        call = by_names(expr.call)
        assert isinstance(call, Call)
        return Item(call, expr.position)

    def argument(arg: Arg, structural: bool) -> Arg:
        if isinstance(arg, Static):
            return arg
        if isinstance(arg, tuple):
            return tuple(argument(part, structural) for part in arg)
        return (like(arg) if structural else None) or by_names(arg)

    args = {name: argument(arg, name in expr.op.structural) for name, arg in expr.args.items()}
    return Call(expr.op, args, expr.outputs, expr.constant)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a line's text with names on its right side exchanged for other texts."""
    spots: list[tuple[ast.expr, str]] = [
        (node, names[node.id])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names
    ]
    return replaced(text, spots)


def of_shape(text: str, names: Mapping[str, str]) -> tuple[str, set[str]]:
    """Return a text in which sizes are read from shapes that have names of their own.

    Args:
        text: an assignment.
        names: tensor name to the name of its shape.

    Returns:
        The text, and the tensors that it still reads.
    """
    tree = ast.parse(text)
    spots: list[tuple[ast.expr, str]] = []
    done: set[int] = set()
    for node in ast.walk(tree):
        part = node.func if isinstance(node, ast.Call) else node
        if not isinstance(part, ast.Attribute) or not isinstance(part.value, ast.Name):
            continue
        if part.value.id not in names or id(part.value) in done:
            continue
        word = names[part.value.id]
        if part.attr == "shape":
            spots.append((part, word))
        elif part.attr == "numel" and isinstance(node, ast.Call):
            spots.append((part, f"{word}.numel"))
        elif part.attr == "size" and isinstance(node, ast.Call) and node.args:
            spots.append((node, f"{word}[{ast.unparse(node.args[0])}]"))
        else:
            continue
        done.add(id(part.value))
    left = {
        n.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Name)
        and isinstance(n.ctx, ast.Load)
        and n.id in names
        and id(n) not in done
    }
    return replaced(text, spots), left


def replaced(text: str, spots: Iterable[tuple[ast.expr, str]]) -> str:
    """Return a one-line text with parts of it replaced, the last first."""
    data = text.encode()
    for node, word in sorted(spots, key=lambda spot: -spot[0].col_offset):
        data = data[: node.col_offset] + word.encode() + data[node.end_col_offset :]
    return data.decode()
