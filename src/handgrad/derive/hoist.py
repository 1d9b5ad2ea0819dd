"""Give a name to what one group of backward lines would otherwise compute twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from handgrad.index import parse
from handgrad.ir import Arg, Call, Expr, Item, Name, Static, children, walk
from handgrad.spell import fits, literal

DEEPEST = 24  # calls in each other: nobody reads more, and every walk may be a recursion
LONG = 40  # characters: nobody wants to read that twice


class Hoist:
    """Find shared parts of expressions and exchange them for names."""

    def __init__(self) -> None:
        self.keys: dict[int, Any] = {}
        self.keep: list[Expr] = []

    def key(self, expr: Expr) -> Any:
        """Return a key that is equal for expressions that are spelled the same."""
        if isinstance(expr, Name):
            return ("name", expr.name)
        if id(expr) not in self.keys:
            self.keep.append(expr)
            for node in walk(expr):  # operands first, so that each looks no deeper than they
                if id(node) not in self.keys and not isinstance(node, Name):
                    self.keys[id(node)] = hash(self.of_node(node))
        return self.keys[id(expr)]

    def of_node(self, node: Call | Item) -> Any:
        """Return what makes up the key of an expression whose operands have theirs."""
        if isinstance(node, Item):
            return ("item", self.key(node.call), node.position)
        return (node.op.identity, *self.parts(node))

    def parts(self, call: Call) -> tuple[Any, ...]:
        """Return the keys of a call's arguments."""
        return tuple((name, self.of_argument(part)) for name, part in call.args.items())

    def of_argument(self, arg: Arg) -> Any:
        """Return the key of an argument."""
        if isinstance(arg, Static):
            return literal(arg.value) if is_number(arg.text) else arg.text  # .5 is 0.5
        if isinstance(arg, tuple):
            return tuple(self.of_argument(part) for part in arg)
        return self.key(arg)

    def occurring(self, roots: list[Expr]) -> list[tuple[Expr, int]]:
        """Return the parts of expressions, inner ones first, with how many places read each."""
        first: dict[Any, Expr] = {}
        for root in roots:
            for node in walk(root):
                if not isinstance(node, Name):
                    first.setdefault(self.key(node), node)
        uses = Counter(self.key(root) for root in roots)
        uses.update(self.key(child) for node in first.values() for child in children(node))
        return [(node, uses[key]) for key, node in first.items()]

    def shared(self, roots: list[Expr]) -> list[Expr]:
        """Return the parts to be named, inner ones first.

        They are the costly ones that appear in more than one place, and as many others as keep
        every expression from nesting too deep.
        """
        found: list[Expr] = []
        depth: dict[Any, int] = {}
        whole = {self.key(root) for root in roots}
        for node, uses in self.occurring(roots):
            key = self.key(node)
            depth[key] = 1 + max((depth.get(self.key(c), 0) for c in children(node)), default=0)
            deep = depth[key] >= DEEPEST and key not in whole
            if (uses > 1 and costly(node, uses)) or (deep and single(node)):
                found.append(node)
                depth[key] = 0
        return found

    def exchange(self, root: Expr, named: Mapping[Any, Name]) -> Expr:
        """Return an expression with the named parts exchanged for their names."""
        done: dict[int, Expr] = {}
        for node in walk(root):
            name = None if isinstance(node, Name) else named.get(self.key(node))
            if isinstance(node, Name) or name is not None:
                done[id(node)] = name or node
            else:
                done[id(node)] = inside(node, lambda part: done[id(part)])
        return done[id(root)]


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


def single(node: Expr) -> bool:
    """Tell whether an expression is one tensor."""
    return isinstance(node, Item) or (isinstance(node, Call) and not node.op.several)


def costly(node: Expr, uses: int) -> bool:
    """Tell whether computing a part again costs more, to run or to read, than a name for it."""
    if not isinstance(node, Call) or node.op.several or not node.op.rules:
        return False
    if not fits(node, LONG):
        return True
    index = node.op.index
    nested = any(isinstance(child, Call | Item) for child in children(node))
    if index is None:
        return nested
    if parse(index).elementwise:
        return nested or uses > 2
    return "sum[" in index or "mean[" in index
