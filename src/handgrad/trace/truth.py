"""The truth is the user's own graph: its gradients, and each line proved against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from handgrad.errors import BadInput
from handgrad.ir import Line, Program, names
from handgrad.trace.calls import NoDerivative
from handgrad.trace.replay import run_line, scope_of
from handgrad.trace.source import Place
from handgrad.trace.values import Note, Value

TOLERANCE = 2000  # in units of the dtype's eps, of the largest part that adds up
SMALL = 1e-3  # of the largest gradient there is: what is smaller may be what cancelled

Grads = dict[str, torch.Tensor]


class Graph(Protocol):
    """What was recorded, as far as the graph is concerned."""

    values: list[Value]
    makes_leaves: bool
    writes: list[Place]


def graph_gradients(
    output: Value, values: Mapping[str, Value], upstream: torch.Tensor, recorded: Graph
) -> Grads:
    """Return the user's own graph's gradient of every named value that it knows.

    Of a tensor that was written in place later on the graph keeps the last version only.

    Raises:
        NoDerivative: PyTorch itself cannot take the gradients.
        BadInput: a leaf has a gradient, and the program does not know the leaf.
    """
    known = {n: v.edge for n, v in values.items() if v.edge is not None and v.comparable}
    mine = {id(value) for value in values.values()}
    lost = [v for v in recorded.values if v.leaf and v.edge is not None and id(v) not in mine]
    total = (output.tensor * upstream.to(output.tensor.dtype)).sum()
    edges = [*known.values(), *(v.edge for v in lost if v.edge is not None)]
    try:
        found = torch.autograd.grad(total, edges, allow_unused=True, retain_graph=True)
    except RuntimeError as error:
        if recorded.makes_leaves:
            raise no_gradient(error, recorded.writes) from error
        leaves = tuple(v for v in recorded.values if v.leaf and v.requires)
        raise NoDerivative(leaves, error) from error
    for value, grad in zip(lost, found[len(known) :], strict=True):
        if grad is not None and largest(grad) > 0:
            raise BadInput(
                f"{value.hint or 'a leaf'} has a gradient that no line accounts for",
                hint="write that part in plain torch, a line a step, nothing through .data",
            )
    return {name: grad for name, grad in zip(known, found, strict=False) if grad is not None}


def no_gradient(error: RuntimeError, writes: list[Place]) -> BadInput:
    """Say that PyTorch itself cannot take the gradients, and which write may be the reason."""
    place = writes[-1] if writes else None
    return BadInput(
        f"PyTorch cannot take the gradient: {str(error).partition(': [')[0].partition('. ')[0]}",
        where=str(place.span) if place else "",
        why=place.text if place else "",
        hint="write to a copy (`.clone()`), or build the result without writing in place",
    )


class Proof:
    """Each line run again, from the last to the first, from what was recorded.

    A line must give the recorded values; and what it sends back, from the true gradients of what
    it makes, must add up to the true gradients of what it reads.

    Attributes:
        lines: the lines, spelled anew where the user's text does not run by itself.
        grads: the gradient of every name; where the graph does not know it, what adds up.
    """

    def __init__(
        self, program: Program, values: Mapping[str, Value], truth: Grads, notes: list[Note]
    ) -> None:
        self.program, self.values, self.truth, self.notes = program, values, truth, notes
        self.parts: dict[str, list[torch.Tensor]] = {}
        self.readers: dict[str, list[Line]] = {}
        self.lines: list[Line] = []
        self.grads: Grads = {}
        self.reach = max((largest(grad) for grad in truth.values()), default=0.0)

    def run(self, upstream: torch.Tensor) -> Proof:
        """Run the lines.

        Raises:
            BadInput: a line gives another value, or another gradient, than the user's did.
        """
        scope = scope_of(self.program)
        scope |= {name: value.data for name, value in self.values.items()}
        self.grads[self.program.output] = upstream
        for line in reversed(self.program.lines):
            for target in line.targets:
                self.settle(target)
            self.lines.append(self.line(line, scope))
        for name in self.program.inputs:
            self.settle(name.name)
        self.lines.reverse()
        return self

    def line(self, line: Line, scope: dict[str, Any]) -> Line:
        """Run one line, and send back the gradients of what it makes."""
        live = [n for n in names(line.expr) if line.differentiable and self.values[n].requires]
        tensors = [self.values[name].data.requires_grad_() for name in live]
        scope.update(zip(live, tensors, strict=True))
        line = run_line(line, scope, self.values)
        ends = [(scope[t], self.grads[t]) for t in line.targets if t in self.grads]
        ends = [(y, dy) for y, dy in ends if y.requires_grad]
        if ends and live:
            total = torch.stack([(y * dy.to(y.dtype)).sum().double() for y, dy in ends]).sum()
            found = torch.autograd.grad(total, tensors, allow_unused=True)
            for name, grad in zip(live, found, strict=True):
                if grad is not None:
                    self.parts.setdefault(name, []).append(grad)
                    self.readers.setdefault(name, []).append(line)
        for name in (*live, *line.targets):
            scope[name] = self.values[name].data
        return line

    def settle(self, name: str) -> None:
        """Compare what adds up at a name, all whose readers have run, with the truth."""
        parts = self.parts.pop(name, [])
        value, truth = self.values[name], self.truth.get(name)
        if name == self.program.output and not parts:
            return
        total = sum(parts[1:], parts[0]) if parts else None
        if not value.comparable:
            if total is not None and value.requires:
                self.grads[name] = total
            return
        if truth is not None and (parts or value.leaf):
            self.grads[name] = truth
        scale = max([largest(part) for part in parts] or [0.0])
        if not close(total, truth, scale, self.reach):
            raise self.differs(name)

    def differs(self, name: str) -> BadInput:
        """Say where the user's own graph has another gradient than its lines say."""
        value, readers = self.values[name], self.readers.get(name, [])
        line = readers[0] if readers else None
        hook = next((note for note in self.notes if note.kind == "hook"), None)
        span = hook.place.span if hook and hook.place else (line.span if line else None)
        if span is None and value.place is not None:
            span = value.place.span
        why = f"PyTorch's own gradient of {name} is not the one that the lines that read it give"
        text = hook.place.text if hook and hook.place else (line.text if line else "")
        return BadInput(
            f"the gradient of {name} passes something that is no line",
            where=str(span or ""),
            why=f"{text}\n{why}" if text else why,
            hint="leave out the hook" if hook else "write that part in plain torch, a line a step",
        )


def largest(tensor: torch.Tensor) -> float:
    """Return the largest magnitude among the finite entries."""
    if not tensor.numel():
        return 0.0
    top = float(tensor.abs().max())
    if top < float("inf"):
        return top
    finite = tensor[tensor.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0


def close(
    mine: torch.Tensor | None, truth: torch.Tensor | None, scale: float, reach: float
) -> bool:
    """Tell whether two gradients are the same but for rounding; None is zero."""
    some = mine if mine is not None else truth
    if some is None or not some.numel():
        return True
    eps = torch.finfo(some.dtype).eps
    tolerance = min(TOLERANCE * eps, 0.05) * max(scale, SMALL * reach)
    if mine is None or truth is None:
        return largest(some) <= tolerance
    if mine.shape != truth.shape:
        return False
    if torch.equal(mine, truth):
        return True
    number = ~truth.isnan() & ~mine.isnan() & (mine != truth)
    apart = (mine - truth)[number].abs()
    return not apart.numel() or float(apart.max()) <= tolerance


def respelled(program: Program, proof: Proof) -> Program:
    """Return a program with its lines as they had to be spelled."""
    return dataclasses.replace(program, lines=tuple(proof.lines))
