"""Which axes are known to have the same size, and how that size is written.

Axes are one where the program makes them one: by broadcasting, by index notation, by a layout op.
Equal numbers prove nothing: `n` and `V` may both be 5 today.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from handgrad.index import Equation, parse
from handgrad.ir import Arg, Call, Expr, Item, Name, Static, names, operands, walk
from handgrad.simplify.coefficient import Coefficient
from handgrad.simplify.layout import moved
from handgrad.trace import Trace

Axes = tuple[str, ...]
"""The symbol of each axis' size; empty for an axis of size 1."""


class Sizes:
    """The axes of every expression in a program, each with the symbol of its size."""

    def __init__(self, trace: Trace, lines: Iterable[tuple[str, Expr]]) -> None:
        self.trace = trace
        self.parent: dict[str, str] = {}
        self.known: dict[int, Axes] = {}
        self.kept: list[Expr] = []  # their ids stay theirs
        self.named: dict[str, Axes] = {}
        self.numbers: dict[str, int] = {}
        for name, value in trace.values.items():
            self.named[name] = self.fresh(name, tuple(value.shape))
        for line in trace.lines:
            self.join(self.axes(line.expr), self.named[line.target])
        for name, expr in lines:
            self.assign(name, expr)
        self.tied = self.ties()

    def assign(self, name: str, expr: Expr) -> None:
        """Join the axes of a backward line's value with those of its name, and of its primal."""
        primal = name[1:] if name[:1] == "d" and name[1:] in self.trace.values else None
        axes = self.axes(expr)
        if primal is not None and self.trace.values[primal].shape == expr.shape:
            self.join(axes, self.named[primal])
        self.named.setdefault(name, axes)

    def fresh(self, name: str, shape: tuple[int, ...]) -> Axes:
        """Return axes of which nothing is known but their sizes today."""
        axes = tuple(f"{name}.shape[{k}]" if size != 1 else "" for k, size in enumerate(shape))
        for axis, size in zip(axes, shape, strict=True):
            if axis:
                self.numbers.setdefault(axis, size)
        return axes

    def find(self, axis: str) -> str:
        """Return the symbol that stands for an axis and all that are one with it."""
        while axis in self.parent:
            axis = self.parent[axis]
        return axis

    def join(self, a: Axes, b: Axes) -> None:
        """Make axes one, pair by pair from the right."""
        for x, y in zip(reversed(a), reversed(b), strict=False):
            self.unite(x, y)

    def unite(self, x: str, y: str) -> None:
        """Make two axes one, unless one of them is stretched."""
        if not x or not y:
            return
        x, y = self.find(x), self.find(y)
        if x != y and self.numbers[x] == self.numbers[y]:
            if x[0] == "^":  # an expression's axis: a name's is easier to write
                x, y = y, x
            self.parent[y] = x

    def axes(self, expr: Expr) -> Axes:
        """Return the symbols of an expression's axes."""
        if isinstance(expr, Name):
            found = self.named.get(expr.name) or self.named.get(expr.name[1:])
            if found is None or len(found) != expr.ndim:
                found = self.named[expr.name] = self.fresh(expr.name, expr.shape)
            return tuple(map(self.find, found))
        if id(expr) not in self.known:
            self.kept.append(expr)
            self.known[id(expr)] = self.of_call(expr)
        return tuple(a and self.find(a) for a in self.known[id(expr)])

    def of_call(self, expr: Call | Item) -> Axes:
        """Return the axes of what an op makes."""
        own = self.fresh(f"^{len(self.kept)}", expr.shape)
        call = expr.call if isinstance(expr, Item) else expr
        given = {
            name: self.axes(arg)
            for name, arg in call.args.items()
            if isinstance(arg, Name | Call | Item)
        }
        if call.op.index is not None:
            self.by_equation(parse(call.op.index), call, given, own)
            if call.op.name == "one_hot":
                self.unite(own[-1], self.shaped(call.args.get("num_classes")))
        else:
            for axis, (param, source) in moved(call, expr).items():
                self.unite(given[param][source], own[axis])
            self.by_label(call, given, own)
        return own

    def shaped(self, arg: Arg | None) -> str:
        """Return the axis that a number is written as the size of, `x.shape[1]`; empty for none."""
        text = arg.text if isinstance(arg, Static) else ""
        found = re.fullmatch(r"(\w+)\.shape\[(-?\d+)\]", text)
        axes = self.named.get(found[1], ()) if found else ()
        return axes[int(found[2])] if found and -len(axes) <= int(found[2]) < len(axes) else ""

    def by_label(self, call: Call, given: Mapping[str, Axes], own: Axes) -> None:
        """Join the rows that one label each is picked from with the labels."""
        x, index = given.get("x"), call.args.get("index", call.args.get("indices"))
        if not x or index is None:
            return
        if call.op.name in ("gather", "scatter_add", "scatter") and "index" in given:
            self.join(x[:-1], given["index"][:-1])
            self.join(x[:-1], given.get("src", own)[:-1])
        elif call.op.name in ("index", "index_put", "index_add_put") and isinstance(index, tuple):
            last = index[-1]
            if len(index) == len(x) == 2 and isinstance(last, Name | Call | Item):
                values = given.get("values", own)
                self.join(x[:1], self.axes(last))
                self.join(x[:1], values if len(values) == 1 else ())

    def by_equation(
        self, equation: Equation, call: Call, given: Mapping[str, Axes], own: Axes
    ) -> None:
        """Join axes that carry the same label."""
        if equation.output == ("I-dim",):
            axes = next(iter(given.values()))
            dims = reduced_dims(call)
            keep = flag(call, "keepdim")
            left = [("" if k in dims else a) for k, a in enumerate(axes) if keep or k not in dims]
            self.join(tuple(left), own)
            return
        labels: dict[str, str] = {}
        self.labelled(equation.output, own, labels)
        for name, reads in equation.reads.items():
            for read in reads:
                if name in given:
                    self.labelled(read, given[name], labels)

    def labelled(self, read: tuple[str, ...], axes: Axes, labels: dict[str, str]) -> None:
        """Join axes with those that had their labels before."""
        for back, axis in aligned(read, len(axes)):
            place = axes[axis]
            if not place:
                continue
            if back in labels:
                self.unite(labels[back], place)
            labels.setdefault(back, place)

    def number(self, axis: str) -> int:
        """Return a symbol's size today."""
        return self.numbers[axis]

    def ties(self) -> dict[str, str]:
        """Return the axis that each scalar of the program counts, where a line shows it.

        `n = x.shape[0]` says it; `x[range(n), y]` shows it; `1/n * x.sum(0)` does where no other
        axis that goes into `x` has as many entries, and no other scalar is the same number.
        """
        calls = [n for line in self.trace.lines for n in walk(line.expr) if isinstance(n, Call)]
        strong: dict[str, set[str]] = {}
        weak: dict[str, set[str]] = {}
        scalars = self.trace.program.scalars
        for call in calls:
            for name, axis in self.counts(call):
                strong.setdefault(name, set()).add(axis)
            for name, axis, summed_up in self.divides(call):
                near = {a for a in self.around(summed_up) if self.numbers[a] == scalars[name]}
                weak.setdefault(name, set()).update({axis, *near})
        for name in weak.keys() - strong.keys():
            if list(scalars.values()).count(scalars[name]) == 1:
                strong[name] = weak[name]
        told = {
            name: self.shaped(Static(None, text)) for name, text in self.trace.program.sizes.items()
        }
        found = {name: axes.pop() for name, axes in strong.items() if len(axes) == 1}
        return found | {name: self.find(axis) for name, axis in told.items() if axis}

    def around(self, expr: Expr) -> set[str]:
        """Return the axes of everything that goes into an expression."""
        made = {line.target: line.expr for line in self.trace.lines}
        wanted, seen = list(names(expr)), set[str]()
        while wanted:
            name = wanted.pop()
            if name not in seen:
                seen.add(name)
                wanted += names(made[name]) if name in made else ()
        return {self.find(a) for name in seen for a in self.named.get(name, ()) if a}

    def divides(self, call: Call) -> Iterator[tuple[str, str, Expr]]:
        """Yield scalars beside a sum, an axis of it, and what it sums: `1/n * x.sum(0)`."""
        statics = [arg for arg in call.args.values() if isinstance(arg, Static)]
        scalars = {n for s in statics for n in names_in(s.text)} & set(self.trace.program.scalars)
        if scalars and call.op.index in ("y[I] = a[I] * b[I]", "y[I] = a[I] / b[I]"):
            for node in walk(call):
                if isinstance(node, Call) and summed(node):
                    first = next(operands(tuple(node.args.values())))
                    axes = self.axes(first)
                    for name, axis in self.counted(scalars, [axes[k] for k in reduced_dims(node)]):
                        yield name, axis, first

    def counts(self, call: Call) -> Iterator[tuple[str, str]]:
        """Yield the scalars that say how many entries an axis has: `x[range(n), y]`, one-hots."""
        classes = call.args.get("num_classes")
        if isinstance(classes, Static) and classes.text in self.trace.program.scalars:
            yield from self.counted({classes.text}, self.axes(call)[-1:])
        index = call.args.get("index")
        parts = index if isinstance(index, tuple) else (index,)
        for k, part in enumerate(parts):
            if isinstance(part, Static) and isinstance(part.value, range):
                axes = self.axes(next(operands(tuple(call.args.values()))))
                scalar = part.text.removeprefix("range(").removesuffix(")")
                yield from self.counted({scalar}, axes[k : k + 1])

    def counted(self, scalars: Iterable[str], axes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield pairs of a scalar and an axis that has as many entries."""
        for scalar in scalars:
            value = self.trace.program.scalars.get(scalar)
            for axis in filter(None, axes):
                if type(value) is int and value == self.numbers[axis]:
                    yield scalar, self.find(axis)


def is_size(symbol: str) -> bool:
    """Tell whether a symbol is the size of an axis, so that it is not 0."""
    return re.fullmatch(r"[\w^]+\.shape\[\d+\]", symbol) is not None


def is_nonzero(c: Coefficient) -> bool:
    """Tell whether a coefficient is a number other than 0, with sizes of axes, over anything."""
    symbols = {s for powers, _ in c.terms for s, power in powers if power > 0}
    return len(c.terms) == 1 and all(map(is_size, symbols))


def is_expr(arg: Arg | None) -> bool:
    """Tell whether an argument is a tensor."""
    return isinstance(arg, Name | Call | Item)


def summed(call: Call) -> bool:
    """Tell whether a call sums over axes."""
    return call.op.index is not None and "sum[dim]" in call.op.index


def names_in(text: str) -> set[str]:
    """Return the names in an expression's text."""
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def aligned(read: tuple[str, ...], ndim: int) -> Iterator[tuple[str, int]]:
    """Yield each label that a tensor is read at, with its axis; `I` gives labels of its own."""
    small = [k for k, label in enumerate(read) if not label[:1].isupper()]
    wide = ndim - len(small)
    axis = 0
    for label in read:
        if not label[:1].isupper():
            yield label, axis
            axis += 1
            continue
        for k in range(wide):
            yield f"{label}{wide - k}", axis + k
        axis += wide


def reduced_dims(call: Call) -> tuple[int, ...]:
    """Return the axes that a reduction goes over, counted from the left."""
    ndim = next(operands(tuple(call.args.values()))).ndim
    arg = call.args.get("dim")
    dim: Any = arg.value if isinstance(arg, Static) else None
    if dim is None or dim == ():
        return tuple(range(ndim))
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    return tuple(sorted(int(d) % ndim for d in dims)) if ndim else ()


def flag(call: Call, name: str) -> bool:
    """Return a switch among a call's arguments."""
    arg = call.args.get(name)
    return isinstance(arg, Static) and bool(arg.value)
