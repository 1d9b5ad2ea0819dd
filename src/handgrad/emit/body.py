"""The lines of an emitted Function: its forward pass, what it saves, its backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from handgrad.derive import Backward, BackwardLine
from handgrad.derive.backward import names_in_text
from handgrad.emit.graph import Graph, Node
from handgrad.emit.parameters import Definition, Signature
from handgrad.emit.residuals import Residuals
from handgrad.emit.shapes import Alike, by_names, of_shape, renamed
from handgrad.errors import BadInput
from handgrad.ir import Line, Name
from handgrad.spell import spell


@dataclass(frozen=True)
class Row:
    """One line of the text.

    Attributes:
        targets: the names that it assigns.
        text: the assignment.
        forward: the forward line that it belongs to.
        needs: places of the inputs whose gradients it is needed for.
    """

    targets: tuple[str, ...]
    text: str
    forward: int = -1
    needs: frozenset[int] = frozenset()

    @property
    def reads(self) -> set[str]:
        """Return the names that the line reads."""
        return set(names_in_text(self.text))


@dataclass(frozen=True)
class Body:
    """What an emitted Function consists of.

    Attributes:
        forward: lines of the forward pass.
        saved: names of the tensors to save.
        numbers: names of what `ctx` keeps beside them, each with the text that makes it.
        backward: lines of the backward pass, each with the inputs that it is needed for.
        returned: for each parameter, the name of its gradient; empty where there is none.
    """

    forward: tuple[Row, ...]
    saved: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]
    backward: tuple[Row, ...]
    returned: tuple[str, ...]


class Assembly:
    """Put the lines together from what is saved and what is made again."""

    def __init__(self, graph: Graph, residuals: Residuals, signature: Signature) -> None:
        self.graph, self.residuals, self.signature = graph, residuals, signature
        self.backward: Backward = graph.backward
        self.trace = graph.trace
        self.alike = Alike(self.backward)
        split = {node.name for node in residuals.split}
        self.parts = dict(residuals.names)
        self.parts |= {k: n for k, n in graph.hoisted.items() if n.name in split}
        self.saved = tuple(node.name or residuals.names[node.key].name for node in residuals.saved)
        self.shapes: dict[str, str] = {}
        self.standins: dict[str, str] = {}

    def body(self) -> Body:
        """Return the lines."""
        made = {each.name for each in self.backward.lines}
        returned = tuple(
            f"d{name}" if name in self.trace.leaves and f"d{name}" in made else ""
            for name in self.signature.names
        )
        backward = with_needs(self.backward_rows(), returned)
        read = {name for row in backward for name in row.reads}
        scalars = [name for name in self.trace.program.scalars if name in read]
        numbers = [(name, name) for name in scalars]
        numbers += [(word, f"{name}.shape") for name, word in self.shapes.items()]
        changes = list(self.update_rows())
        wanted = {self.trace.output, *self.saved, *scalars, *self.shapes}
        wanted = wanted.union(*(row.reads for row in changes))
        forward = (*self.with_numbers(self.forward_rows(wanted), wanted), *changes)
        return Body(forward, self.saved, tuple(numbers), backward, returned)

    def update_rows(self) -> Iterator[Row]:
        """Yield the lines that change buffers as the forward pass does.

        Raises:
            BadInput: one is read after it was changed.
        """
        changed: set[str] = set()
        for name, line in self.trace.updates.items():
            row = Row((), f"{name}.copy_({spell(line.expr)})")
            if name in self.saved or not changed.isdisjoint(row.reads - {name}):
                raise BadInput(
                    f"the forward pass changes {name}, and it is read after that",
                    where=str(line.span or ""),
                    why=line.source,
                    hint=f"read a copy of {name}, made before it changes",
                )
            changed.add(name)
            yield row

    def forward_rows(self, wanted: set[str]) -> list[Row]:
        """Return the forward lines that are needed, with parts that are saved as their own."""
        placed = [((k, 0), self.forward_row(k, self.parts)) for k in range(len(self.trace.lines))]
        placed += [(node.place, self.part_row(node)) for node in self.residuals.split]
        rows = [row for _, row in sorted(placed, key=lambda pair: pair[0])]
        needed, kept = set(wanted), list[Row]()
        for row in reversed(rows):
            if needed.intersection(row.targets):
                needed |= row.reads
                kept.append(row)
        return kept[::-1]

    def forward_row(self, place: int, named: Mapping[Any, Name]) -> Row:
        """Return a forward line, as written where nothing in it is exchanged."""
        line: Line = self.trace.lines[place]
        text, expr = line.text, line.expr
        if named:
            new = self.graph.exchanged(expr, named, whole=False)
            if spell(new) != spell(expr):
                text = f"{', '.join(line.targets)} = {spell(new)}"
        return Row(line.targets, text, place)

    def part_row(self, node: Node) -> Row:
        """Return the line of a part that is saved under a name of its own."""
        name = self.residuals.names[node.key].name
        expr = self.graph.exchanged(node.expr, self.parts, whole=False)
        return Row((name,), f"{name} = {spell(expr)}", node.place[0])

    def with_numbers(self, rows: list[Row], wanted: set[str]) -> Iterator[Row]:
        """Yield rows with the lines of the numbers that they read, each before its first use."""
        waiting = list(self.signature.definitions)
        for row in rows:
            yield from taken(waiting, row.reads)
            yield row
        yield from taken(waiting, wanted)

    def backward_rows(self) -> list[Row]:
        """Return the lines of the backward pass, first what is made again."""
        gradients = self.graph.gradients
        rows = list(dict.fromkeys(self.again_row(node) for node in self.residuals.again))
        known = self.graph.names
        named = {k: n for k, n in self.graph.aliases.items() if n.name not in gradients}
        named |= self.parts | self.residuals.shared
        made = (each for each in self.backward.lines if each.name in gradients)
        rows += [self.gradient_row(each, named) for each in made]
        there = {*self.saved, self.backward.start}
        found: list[Row] = []
        for row in rows:
            found.append(self.with_shapes(row, there, known))
            there.update(row.targets)
        stands = [self.standin(name, word) for name, word in self.standins.items()]
        return [*stands, *found]

    def again_row(self, node: Node) -> Row:
        """Return the line that makes a tensor again."""
        parts = {k: n for k, n in self.graph.hoisted.items() if n.name != node.name} | self.parts
        parts |= self.residuals.shared
        own = any(line.target == node.name for line in self.graph.own)
        if node.name and not own:
            return self.forward_row(node.place[0], parts)
        name = node.name or self.residuals.shared[node.key].name
        expr = self.graph.exchanged(node.expr, self.graph.aliases | parts, whole=False)
        return Row((name,), f"{name} = {spell(expr)}")

    def gradient_row(self, each: BackwardLine, named: Mapping[Any, Name]) -> Row:
        """Return the line of a gradient, its parts by their names."""
        expr = by_names(self.graph.exchanged(each.line.expr, named))
        same = spell(expr) == spell(each.line.expr)
        text = each.line.text if same else f"{each.name} = {spell(expr)}"
        return Row((each.name,), text, each.forward)

    def with_shapes(self, row: Row, there: set[str], known: set[str]) -> Row:
        """Return a row that reads nothing but what is there: shapes come from other tensors."""
        missing = [n for n in names_in_text(row.text) if n in known and n not in there]
        if not missing:
            return row
        near = [n for n in names_in_text(row.text) if n in there]
        swaps, others = dict[str, str](), dict[str, str]()
        for name in missing:
            other = self.alike.pick(name, [*near, *self.saved, self.backward.start])
            if other is None:
                others[name] = self.shapes.get(name) or f"{name}_shape"
            else:
                swaps[name] = other
        text, left = of_shape(renamed(row.text, swaps), others)
        for name, word in others.items():
            self.shapes[name] = word
            if name in left:
                self.standins[name] = word
        return replace(row, text=text)

    def standin(self, name: str, word: str) -> Row:
        """Return the line for a tensor whose shape alone is read: one entry, stretched."""
        return Row((name,), f"{name} = {self.backward.start}.new_empty(()).expand({word})")


def taken(waiting: list[Definition], read: Iterable[str]) -> Iterator[Row]:
    """Yield the lines of the numbers that are read, and take them from those that wait."""
    for name in sorted(read):
        made = next((d for d in waiting if name in d.targets), None)
        if made is not None:
            waiting.remove(made)
            yield from taken(waiting, made.reads)
            yield Row(made.targets, made.text)


def with_needs(rows: list[Row], returned: tuple[str, ...]) -> tuple[Row, ...]:
    """Return the rows, each with the inputs whose gradients it is needed for, less useless ones."""
    needs: dict[str, set[int]] = {name: {k} for k, name in enumerate(returned) if name}
    found: list[Row] = []
    for row in reversed(rows):
        mine = set[int]().union(*(needs.get(target, set()) for target in row.targets))
        if not mine:
            continue
        for name in row.reads:
            needs.setdefault(name, set()).update(mine)
        found.append(replace(row, needs=frozenset(mine)))
    return grouped(found[::-1])


def grouped(rows: list[Row]) -> tuple[Row, ...]:
    """Return rows in an order that keeps together what is needed for the same inputs."""
    made_in = {name: row for row in rows for name in row.targets}
    waiting = list(rows)
    found: list[Row] = []
    there: set[str] = set()
    needs: frozenset[int] = frozenset()
    while waiting:
        ready = [row for row in waiting if all(n in there or n not in made_in for n in row.reads)]
        row = next((row for row in ready if row.needs == needs), ready[0])
        needs = row.needs
        there.update(row.targets)
        found.append(row)
        waiting.remove(row)
    return tuple(found)
