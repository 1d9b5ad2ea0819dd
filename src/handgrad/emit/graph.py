"""The tensors that a backward pass can read: what makes each of them, and what it costs to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive import Backward
from handgrad.derive.backward import names_in_text
from handgrad.derive.hoist import Hoist, inside
from handgrad.emit.effort import passes
from handgrad.index import parse
from handgrad.ir import Call, Expr, Item, Line, Name, operands
from handgrad.spell import spell

Place = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Node:
    """A tensor made from the inputs alone, in the forward pass or in the backward pass.

    Attributes:
        name: what it is called; empty for a part of a line.
        expr: what makes it; an input is its own name.
        reads: keys of the tensors whose values it is made from.
        place: the forward line after which it can be there, and an order among equals.
        storage: a number for the memory that holds it; views share one.
        size: bytes of that memory.
        again: it may be made a second time.
        effort: bytes of the passes over memory that it takes to make it.
    """

    key: Any
    name: str
    expr: Expr
    reads: tuple[Any, ...]
    place: Place
    storage: int
    size: int
    again: bool
    effort: int = 0


class Graph:
    """Every tensor that a backward pass reads or could read.

    Args:
        backward: the backward pass; its lines that read no gradient belong to the graph.
    """

    def __init__(self, backward: Backward) -> None:
        self.backward, self.trace = backward, backward.trace
        self.hoist = Hoist()
        self.nodes: dict[Any, Node] = {}
        self.aliases: dict[Any, Name] = {}
        self.forward: set[Any] = set()
        self.values: dict[Any, torch.Tensor] = {}  # alive, so that memory tells views apart
        self.scope: dict[str, Any] = {"torch": torch, "F": F, **self.trace.program.scalars}
        self.scope |= self.trace.values
        self.gradients = gradients_in(backward)
        self.own = [each.line for each in backward.lines if each.name not in self.gradients]
        self.lines = [each.line for each in backward.lines if each.name in self.gradients]
        self.hoisted = {
            self.hoist.key(line.expr): Name(line.target, line.expr.shape, line.expr.dtype)
            for line in self.own
        }
        with torch.no_grad():
            self.fill()
        self.wanted = tuple(
            dict.fromkeys(key for line in self.lines for key in self.parts(line.expr))
        )

    def fill(self) -> None:
        """Add the inputs, the forward lines, and the backward lines that read no gradient."""
        for place, name in enumerate(self.trace.program.inputs):
            self.add(name.name, name, (-1, place))
        for place, line in enumerate(self.trace.lines):
            for target, expr in made_by(line):
                self.aliases.setdefault(self.hoist.key(expr), Name(target, expr.shape, expr.dtype))
                self.add(target, expr, (place, 0))
        self.forward = set(self.nodes)
        self.aliases |= {k: n for k, n in self.hoisted.items() if k not in self.aliases}
        for line in self.own:
            self.adopt(self.hoist.key(line.expr), line.target)
            if ("name", line.target) not in self.nodes:
                self.add(line.target, line.expr, None)

    def adopt(self, key: Any, name: str) -> None:
        """Give a part of a forward line the name that the backward pass has for it."""
        if key not in self.forward or key not in self.nodes:
            return
        own = ("name", name)
        self.values[own] = self.scope[name] = self.values[key]
        self.nodes[own] = replace(self.nodes.pop(key), key=own, name=name)
        self.forward.add(own)
        for other in list(self.nodes.values()):
            if key in other.reads:
                reads = tuple(own if read == key else read for read in other.reads)
                self.nodes[other.key] = replace(other, reads=reads)

    def add(self, name: str, expr: Expr, place: Place | None) -> None:
        """Add a named tensor."""
        reads = () if expr == Name(name, expr.shape, expr.dtype) else tuple(self.operands(expr))
        if name not in self.scope:
            self.scope[name] = eval(spell(expr), self.scope)
        self.node(("name", name), name, expr, reads, place, self.scope[name])

    def node(
        self,
        key: Any,
        name: str,
        expr: Expr,
        reads: tuple[Any, ...],
        place: Place | None,
        value: torch.Tensor,
    ) -> None:
        """Add a node; without a place it comes right after what it reads."""
        if place is None:
            place = max((self.nodes[k].place for k in reads), default=(-1, 0))[0], len(self.nodes)
        self.values[key] = value
        storage = value.untyped_storage()
        again = not isinstance(expr, Name) and not fixed(expr)
        memory = storage.data_ptr() if storage.nbytes() else -len(self.nodes) - 1
        view = any(self.nodes[other].storage == memory for other in reads)
        most = max([storage.nbytes(), *(self.nodes[other].size for other in reads)])
        effort = 0 if view else passes(expr) * most
        size = storage.nbytes()
        self.nodes[key] = Node(key, name, expr, reads, place, memory, size, again, effort)

    def operands(self, expr: Expr) -> Iterator[Any]:
        """Yield the keys of the tensors that an expression reads for their values."""
        call = expr.call if isinstance(expr, Item) else expr
        if isinstance(call, Name):
            yield self.find(call)
            return
        for part in by_value(call):
            yield self.find(part)

    def find(self, expr: Expr) -> Any:
        """Return the key of an expression's node, which is added if it is not there."""
        key = self.hoist.key(expr)
        name = self.aliases.get(key) if self.forward else self.hoisted.get(key)
        if name is not None:
            if ("name", name.name) not in self.nodes:
                self.add(name.name, expr, None)
            return ("name", name.name)
        if key not in self.nodes:
            reads = tuple(self.operands(expr))
            self.node(key, "", expr, reads, None, eval(spell(expr), self.scope))
        return key

    def parts(self, expr: Expr) -> Iterator[Any]:
        """Yield the keys of the largest parts of a gradient's line that read no gradient."""
        if not self.reads_gradient(expr):
            yield self.find(expr)
            return
        call = expr.call if isinstance(expr, Item) else expr
        if isinstance(call, Call):
            for part in by_value(call):
                yield from self.parts(part)

    def reads_gradient(self, expr: Expr) -> bool:
        """Tell whether the text of an expression has a gradient in it."""
        return not self.gradients.isdisjoint(names_in_text(spell(expr)))

    @property
    def names(self) -> set[str]:
        """Return the names of all tensors that are not gradients."""
        return {node.name for node in self.nodes.values() if node.name}

    def in_forward(self, key: Any) -> bool:
        """Tell whether the forward pass makes a tensor."""
        return key in self.forward

    def exchanged(self, expr: Expr, named: Mapping[Any, Name], whole: bool = True) -> Expr:
        """Return an expression with named parts exchanged, or only those inside it."""
        if whole:
            return self.hoist.exchange(expr, named)
        if isinstance(expr, Name):
            return expr
        return inside(expr, lambda part: self.hoist.exchange(part, named))


def by_value(call: Call) -> Iterator[Expr]:
    """Yield the operands of a call that it reads for their values.

    One that it reads for its shape alone counts only where no name has that shape.
    """
    for param, arg in call.args.items():
        for part in operands(arg):
            if param not in call.op.structural or like(part) is None:
                yield part


def like(expr: Expr) -> Name | None:
    """Return a name with the shape and dtype of an expression, None if there is none."""
    return next(iter(all_like(expr)), None)


def all_like(expr: Expr) -> Iterator[Name]:
    """Yield the names that have an expression's shape and dtype by elementwise ops alone."""
    waiting = [expr]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, Name):
            yield node
        elif isinstance(node, Call) and node.op.index and parse(node.op.index).elementwise:
            parts = operands(tuple(node.args.values()))
            waiting += [p for p in parts if p.shape == expr.shape and p.dtype == expr.dtype]


def gradients_in(backward: Backward) -> set[str]:
    """Return the upstream gradient and the names of all lines that are made from it."""
    found = {backward.start}
    for each in backward.lines:
        if each.primal or not found.isdisjoint(names_in_text(each.line.text)):
            found.add(each.name)
    return found


def made_by(line: Line) -> list[tuple[str, Expr]]:
    """Return each name that a line assigns with the expression for it."""
    if len(line.targets) == 1:
        return [(line.target, line.expr)]
    assert isinstance(line.expr, Call)
    return [(target, Item(line.expr, place)) for place, target in enumerate(line.targets)]


def fixed(expr: Expr) -> bool:
    """Tell whether an op must not, or need not, run twice: random, costly, or unknown."""
    call = expr.call if isinstance(expr, Item) else expr
    return isinstance(call, Call) and (call.op.heavy or call.op.random or call.op.foreign)
