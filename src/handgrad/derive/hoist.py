"""Give a name to what one group of backward lines would otherwise compute twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from handgrad.index import parse
from handgrad.ir import Arg, Call, Expr, Item, Name, Static, children
from handgrad.spell import literal, spell

LONG = 40  # characters: nobody wants to read that twice


class Hoist:
    """Find shared parts of expressions and exchange them for names."""

    def __init__(self) -> None:
        self.keys: dict[int, Any] = {}
        self.keep: list[Expr] = []

    def key(self, arg: Arg) -> Any:
        """Return a key that is equal for expressions that are spelled the same."""
        if isinstance(arg, Static):
            return literal(arg.value) if is_number(arg.text) else arg.text  # .5 is 0.5
        if isinstance(arg, tuple):
            return tuple(self.key(part) for part in arg)
        if isinstance(arg, Name):
            return ("name", arg.name)
        if id(arg) not in self.keys:
            self.keep.append(arg)
            if isinstance(arg, Item):
                key: Any = ("item", self.key(arg.call), arg.position)
            else:
                key = (arg.op.name, *self.parts(arg))
            self.keys[id(arg)] = hash(key), key
        return self.keys[id(arg)][0]

    def parts(self, call: Call) -> tuple[Any, ...]:
        """Return the keys of a call's arguments."""
        return tuple((name, self.key(part)) for name, part in call.args.items())

    def shared(self, roots: list[Expr]) -> list[Expr]:
        """Return the costly parts that appear in more than one place, inner ones first."""
        uses: Counter[Any] = Counter()
        first: dict[Any, Expr] = {}

        def visit(node: Expr) -> None:
            key = self.key(node)
            uses[key] += 1
            if key in first or isinstance(node, Name):
                return
            for child in children(node):
                visit(child)
            first[key] = node

        for root in roots:
            visit(root)
        return [node for key, node in first.items() if uses[key] > 1 and costly(node, uses[key])]

    def exchange(self, root: Expr, named: Mapping[Any, Name]) -> Expr:
        """Return an expression with the named parts exchanged for their names."""
        memo: dict[int, Expr] = {}

        def visit(node: Expr) -> Expr:
            if isinstance(node, Name):
                return node
            if (name := named.get(self.key(node))) is not None:
                return name
            if id(node) not in memo:
                memo[id(node)] = inside(node, visit)
            return memo[id(node)]

        return visit(root)


def is_number(text: str) -> bool:
    """Tell whether a text is a number written out."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def inside(node: Call | Item, visit: Callable[[Expr], Expr]) -> Expr:
    """Return a node with its operands visited."""

    def argument(arg: Arg) -> Arg:
        if isinstance(arg, Static):
            return arg
        if isinstance(arg, tuple):
            return tuple(argument(part) for part in arg)
        return visit(arg)

    if isinstance(node, Item):
        call = visit(node.call)
        return Item(call, node.position) if isinstance(call, Call) else node
    return Call(node.op, {name: argument(arg) for name, arg in node.args.items()}, node.outputs)


def costly(node: Expr, uses: int) -> bool:
    """Tell whether computing a part again costs more, to run or to read, than a name for it."""
    if not isinstance(node, Call) or node.op.several or not node.op.rules:
        return False
    if len(spell(node)) > LONG:
        return True
    index = node.op.index
    nested = any(isinstance(child, Call | Item) for child in children(node))
    if index is None:
        return nested
    if parse(index).elementwise:
        return nested or uses > 2
    return "sum[" in index or "mean[" in index
