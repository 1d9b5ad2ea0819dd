"""A whole step as arrays: forward pass, backward pass, and the update of every parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from handgrad.derive import Backward
from handgrad.derive.backward import names_by_value
from handgrad.ir import Call, Line
from handgrad.native.lower.array import CTYPES, KEPT, Array, Graph
from handgrad.native.lower.calls import CannotLower, Lowering, types
from handgrad.native.lower.expr import axes_of, cast, const

Update = Callable[[Graph, Mapping[str, Array], Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Step:
    """What a step computes.

    Attributes:
        inputs: the program's inputs, the optimizer's state, and tables of numbers, by name.
        constants: the values of the tables.
        output: the result of the forward pass.
        gradients: by the leaf's name.
        updates: what is written back into inputs, by name.
        values: every forward name that was lowered, by name.
    """

    graph: Graph
    inputs: Mapping[str, Array]
    constants: Mapping[str, torch.Tensor]
    output: Array
    gradients: Mapping[str, Array]
    updates: Mapping[str, Array]


def lower_step(backward: Backward, leaves: tuple[str, ...], update: Update | None = None) -> Step:
    """Lower a derived backward pass together with its forward pass and an update.

    Args:
        backward: the gradients' lines.
        leaves: the inputs whose gradients are wanted.
        update: makes of the inputs and gradients what is written back into inputs.

    Raises:
        CannotLower: a line has no native code.
    """
    trace = backward.trace
    graph = Graph()
    lowering = Lowering(graph)
    for name, (shape, ctype) in types(
        {n.name: trace.values[n.name] for n in trace.program.inputs}
    ).items():
        lowering.names[name] = graph.input(name, shape, ctype)
    lowering.names[backward.start] = upstream(graph, trace.upstream)
    lines = [*trace.lines, *(each.line for each in backward.lines)]
    changed = trace.updates.values()
    wanted = [trace.output, *("d" + name for name in leaves)]
    wanted += [name for line in changed for name in names_by_value(line.expr)]
    for line in needed(lines, wanted):
        lower_line(lowering, line)
    gradients = {name: lowering.names["d" + name] for name in leaves}
    updates: dict[str, Array] = {}
    if update is not None:
        updates = {line.target: changed_state(lowering, line) for line in changed}
        graph.line = "the update"
        updates |= update(graph, lowering.names, gradients)
    inputs = {a.name: a for a in graph.made.values() if a.kind == "input"}
    return Step(graph, inputs, graph.constants, lowering.names[trace.output], gradients, updates)


def changed_state(lowering: Lowering, line: Line) -> Array:
    """Lower what an input becomes: an array of its own, even where others become the same.

    Raises:
        CannotLower: an op in it has no native code.
    """
    before = lowering.names[line.target]
    lower_line(lowering, line)
    after, lowering.names[line.target] = lowering.names[line.target], before
    body = cast(after.at(axes_of(before.shape)), before.ctype)
    return Array(before.shape, before.ctype, "map", body, how=KEPT, line=line.text)


def upstream(graph: Graph, tensor: torch.Tensor) -> Array:
    """Return the gradient that the backward pass starts from."""
    if tensor.numel() == 1:
        value, ctype = float(tensor), CTYPES[tensor.dtype]
        return graph.map(tuple(tensor.shape), ctype, lambda _: const(value, ctype))
    return graph.constant(tensor)


def needed(lines: list[Line], wanted: list[str]) -> list[Line]:
    """Return the lines that names depend on, in order."""
    names, found = set(wanted), []
    for line in reversed(lines):
        if names & set(line.targets):
            found.append(line)
            names |= set(names_by_value(line.expr))
    return found[::-1]


def lower_line(lowering: Lowering, line: Line) -> None:
    """Lower one line.

    Raises:
        CannotLower: an op in it has no native code; the message names the line.
    """
    lowering.graph.line = line.text
    try:
        if len(line.targets) > 1:
            assert isinstance(line.expr, Call)
            found: Any = lowering.call(line.expr)
        else:
            found = (lowering.lower(line.expr),)
    except CannotLower as error:
        where = str(line.span or "")
        raise CannotLower(error.what, where=where, why=line.text) from error
    for target, array in zip(line.targets, found, strict=True):
        lowering.names[target] = array
