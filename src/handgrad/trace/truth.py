"""The truth is the user's own graph: its gradients, and each line proved against them."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.autograd.graph import GradientEdge

from handgrad.errors import BadInput
from handgrad.ir import Line, Program, names
from handgrad.trace.calls import NoDerivative
from handgrad.trace.gradients import largest, sent_back
from handgrad.trace.hooks import hooked
from handgrad.trace.replay import run_line, scope_of
from handgrad.trace.source import Place
from handgrad.trace.values import Note, Value

TOLERANCE = 2000  # in units of the dtype's eps, of the largest part that adds up
SMALL = 1e-3  # of the largest gradient there is: what is smaller may be what cancelled

Grads = dict[str, torch.Tensor]
Told = Callable[[str, torch.Tensor | None], None]


class Graph(Protocol):
    """What was recorded, as far as the graph is concerned."""

    values: list[Value]
    makes_leaves: bool
    writes: list[Place]


def graph_gradients(
    output: Value, values: Mapping[str, Value], upstream: torch.Tensor, recorded: Graph, told: Told
) -> None:
    """Run the user's own backward pass, and tell each named value's gradient when it arrives.

    Of a tensor that was written in place later on the graph keeps the last version only.

    Raises:
        NoDerivative: PyTorch itself cannot take the gradients.
        BadInput: a leaf has a gradient, and the program does not know the leaf.
    """
    total = (output.tensor * upstream.to(output.tensor.dtype)).sum()
    known = {n: v.edge for n, v in values.items() if v.edge is not None and v.comparable}
    mine = {id(value) for value in values.values()}
    lost = [v for v in recorded.values if v.leaf and v.edge is not None and id(v) not in mine]
    reached = nodes_behind(total)
    waiting = {n: edge for n, edge in known.items() if edge.node in reached}
    ends = {node: GradientEdge(node, 0) for node in reached if hasattr(node, "variable")}
    leaves = {n: edge for n, edge in waiting.items() if edge.node in ends}
    for name in known.keys() - waiting.keys():
        told(name, None)
    try:
        with listening(waiting, told):
            found = torch.autograd.grad(
                total, list(ends.values()), allow_unused=True, retain_graph=recorded.makes_leaves
            )
    except RuntimeError as error:
        if recorded.makes_leaves:
            raise no_gradient(error, recorded.writes) from error
        given = tuple(v for v in recorded.values if v.leaf and v.requires)
        raise NoDerivative(given, error) from error
    grads = dict(zip(ends, found, strict=True))
    for value in lost:
        grad = grads.get(value.edge.node) if value.edge is not None else None
        if grad is not None and largest(grad) > 0:
            raise BadInput(
                f"{value.hint or 'a leaf'} has a gradient that no line accounts for",
                hint="write that part in plain torch, a line a step, nothing through .data",
            )
    for name, edge in leaves.items():
        told(name, grads[edge.node])


def nodes_behind(tensor: torch.Tensor) -> set[Any]:
    """Return the nodes of the graph that a tensor was made by."""
    seen: set[Any] = set()
    stack: list[Any] = [tensor.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            stack += [before for before, _ in node.next_functions]
    return seen


@contextmanager
def listening(edges: Mapping[str, GradientEdge], told: Told) -> Iterator[None]:
    """Tell what arrives at each edge in a backward pass."""
    by_node: dict[Any, list[tuple[str, int]]] = {}
    for name, edge in edges.items():
        by_node.setdefault(edge.node, []).append((name, edge.output_nr))

    def listener(named: list[tuple[str, int]]) -> Callable[[Any], None]:
        def listen(arrived: Any) -> None:
            for name, place in named:
                told(name, arrived[place])

        return listen

    handles = [node.register_prehook(listener(named)) for node, named in by_node.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def no_gradient(error: RuntimeError, writes: list[Place]) -> BadInput:
    """Say that PyTorch itself cannot take the gradients, and which write may be the reason."""
    place = writes[-1] if writes and "inplace" in str(error) else None
    return BadInput(
        f"PyTorch cannot take the gradient: {str(error).partition(': [')[0].partition('. ')[0]}",
        where=str(place.span) if place else "",
        why=place.text if place else "",
        hint="write to a copy (`.clone()`), or build the result without writing in place"
        if place
        else "detach what needs no gradient",
    )


class Proof:
    """Each line run again, from the last to the first, from what was recorded.

    A line must give the recorded values; and what it sends back, from the true gradients of what
    it makes, must add up to the true gradients of what it reads. A line runs as soon as the
    gradients of what it makes have arrived, so that few of them are there at a time.

    Attributes:
        lines: the lines, spelled anew where the user's text does not run by itself.
        found: the names that have a gradient; where the graph does not know it, what adds up.
        grads: the gradients, of all if they are kept, else of what is still to be used.
        reach: the largest magnitude among them.
    """

    def __init__(
        self, program: Program, values: Mapping[str, Value], notes: list[Note], keeps: bool
    ) -> None:
        self.program, self.values, self.notes, self.keeps = program, values, notes, keeps
        self.parts: dict[str, list[torch.Tensor]] = {}
        self.readers: dict[str, list[Line]] = {}
        self.lines: list[Line] = []
        self.found: list[str] = []
        self.grads: Grads = {}
        self.truth: dict[str, torch.Tensor | None] = {}
        self.apart: dict[str, tuple[float, float]] = {}
        self.reach = 0.0
        self.left = list(program.lines)
        self.failure: Exception | None = None
        self.writes: list[Place] = []
        self.scope = scope_of(program) | {name: value.data for name, value in values.items()}

    def run(self, output: Value, upstream: torch.Tensor, recorded: Graph) -> Proof:
        """Run the user's own backward pass, and the lines beside it.

        Raises:
            BadInput: a line gives another value, or another gradient, than the user's did.
        """
        self.grads[self.program.output] = upstream
        self.writes = recorded.writes
        self.found.append(self.program.output)
        with warnings.catch_warnings(action="ignore"):  # the person's own run has told them
            graph_gradients(output, self.values, upstream, recorded, self.told)
            self.truth = dict.fromkeys(self.values) | self.truth
            self.advance()
        for name in self.program.inputs:
            self.settle(name.name)
        if self.failure is not None:
            raise self.failure
        for name, (off, bound) in self.apart.items():
            if off > bound * SMALL * self.reach:
                raise self.differs(name)
        self.lines.reverse()
        return self

    def told(self, name: str, grad: torch.Tensor | None) -> None:
        """Take a gradient of the user's own graph, and run the lines that waited for it."""
        if self.failure is None:
            self.truth[name] = grad
            if grad is not None:
                self.reach = max(self.reach, largest(grad))
            self.advance()

    def advance(self) -> None:
        """Run the lines whose results' gradients are there."""
        try:
            while (
                self.left and self.failure is None and all(map(self.ready, self.left[-1].targets))
            ):
                line = self.left.pop()
                for target in line.targets:
                    self.settle(target)
                self.lines.append(self.line(line))
        except Exception as error:  # inside of a backward pass: told when that has ended
            self.failure = error

    def ready(self, name: str) -> bool:
        """Tell whether a name's gradient is there, or will not come from the user's graph."""
        return name in self.truth or not self.values[name].comparable

    def line(self, line: Line) -> Line:
        """Run one line, and send back the gradients of what it makes."""
        live = [n for n in names(line.expr) if line.differentiable and self.values[n].requires]
        self.scope.update({name: self.values[name].data.requires_grad_() for name in live})
        line = run_line(line, self.scope, self.values)
        for name, grad in sent_back(line, self.scope, live, self.grads).items():
            self.parts.setdefault(name, []).append(grad)
            self.readers.setdefault(name, []).append(line)
        for name in (*live, *line.targets):
            self.scope[name] = self.values[name].data
        if not self.keeps:
            for target in line.targets:
                self.grads.pop(target, None)
        return line

    def settle(self, name: str) -> None:
        """Compare what adds up at a name, all whose readers have run, with the truth."""
        parts = self.parts.pop(name, [])
        value, truth = self.values[name], self.truth.pop(name, None)
        if name == self.program.output and not parts:
            return
        total = sum(parts[1:], parts[0]) if parts else None
        if not value.comparable:
            if total is not None and value.requires:
                self.take(name, total)
            return
        if truth is not None and (parts or value.leaf):
            self.take(name, truth)
        off = distance(total, truth)
        if off == 0:
            return
        bound = tolerance(total if truth is None else truth)
        if off > bound * max(map(largest, parts), default=0.0):
            self.apart[name] = off, bound

    def take(self, name: str, grad: torch.Tensor) -> None:
        """Note a name's gradient."""
        self.grads[name] = grad
        if name != self.program.output:
            self.found.append(name)

    def differs(self, name: str) -> BadInput:
        """Say where the user's own graph has another gradient than its lines say."""
        value, readers = self.values[name], self.readers.get(name, [])
        line = readers[0] if readers else None
        hook = next((note for note in self.notes if note.kind == "hook"), None)
        before = hooked(name, value) if hook is None else None
        if before is not None:
            return before
        writes = [w for w in self.writes if ".data" in w.text] or self.writes[-1:]
        writes = writes if line is None else []  # `x.data.add_(1)` leaves no line
        places = [hook.place if hook else None, line, *writes, value.place]
        span = next((place.span for place in places if place is not None and place.span), None)
        text = next((place.text for place in places if place is not None), "")
        why = f"PyTorch's own gradient of {name} is not the one that the lines that read it give"
        return BadInput(
            f"the gradient of {name} passes something that is no line",
            where=str(span or ""),
            why=f"{text}\n{why}" if text else why,
            hint="leave out the hook" if hook else "write that part in plain torch, a line a step",
        )


def tolerance(grad: torch.Tensor | None) -> float:
    """Return how far apart rounding may put two gradients, in units of the largest part."""
    return min(TOLERANCE * torch.finfo(grad.dtype).eps, 0.05) if grad is not None else 0.0


def distance(mine: torch.Tensor | None, truth: torch.Tensor | None) -> float:
    """Return how far apart two gradients are where both are numbers; None is zero."""
    if mine is None or truth is None:
        some = mine if mine is not None else truth
        return 0.0 if some is None else largest(some)
    if mine.shape != truth.shape:
        return math.inf
    if torch.equal(mine, truth):
        return 0.0
    number = ~truth.isnan() & ~mine.isnan() & (mine != truth)
    apart = (mine - truth)[number].abs()
    return float(apart.max()) if apart.numel() else 0.0


def respelled(program: Program, proof: Proof) -> Program:
    """Return a program with its lines as they had to be spelled."""
    return dataclasses.replace(program, lines=tuple(proof.lines))
