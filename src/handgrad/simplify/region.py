"""A part of a forward pass, from one name to another, as a trace of its own."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from handgrad.derive import Backward, derive
from handgrad.errors import BadInput
from handgrad.ir import Line, names
from handgrad.threads import threads_for
from handgrad.trace import Trace
from handgrad.trace.replay import gradients


def within(backward: Backward, start: str | None, to: str | None) -> Backward:
    """Return the backward pass of the lines from one name to another.

    Args:
        backward: the whole.
        start: the name whose cotangent is wanted; by default all leaves.
        to: the name whose cotangent is given; by default the output.

    Raises:
        BadInput: a name is unknown, or the one does not depend on the other.
    """
    trace = backward.trace
    if start is None and to is None:
        return backward
    to = trace.output if to is None else to
    for name in (start, to):
        if name is not None and name not in trace.values:
            raise BadInput(
                f"{name} is no name of this forward pass",
                hint=f"its names are {', '.join(trace.values)}",
            )
    found = part(trace, trace.leaves if start is None else (start,), to)
    return derive(found, strict=False)


def part(trace: Trace, leaves: tuple[str, ...], to: str) -> Trace:
    """Return the lines that lead from some names to another, what else they read as inputs.

    Raises:
        BadInput: no line leads there.
    """
    lines = kept(trace, leaves, to)
    if not lines:
        raise BadInput(
            f"{to} does not depend on {', '.join(leaves)}",
            hint="name the earlier of the two in --from, the later one in --to",
        )
    made = {target for line in lines for target in line.targets}
    read = {name for line in lines for name in names(line.expr)} - made
    inputs = tuple(name for n, name in trace.names.items() if n in read)
    program = dataclasses.replace(trace.program, lines=lines, inputs=inputs, output=to)
    return recorded(trace, program, tuple(n for n in leaves if n in read))


def kept(trace: Trace, leaves: tuple[str, ...], to: str) -> tuple[Line, ...]:
    """Return the lines between: those that the leaves reach and that the end needs."""
    reached = set(leaves)
    for line in trace.lines:
        if reached & set(names(line.expr)) and not set(line.targets) & set(leaves):
            reached |= set(line.targets)
    wanted, found = {to}, list[Line]()
    for line in reversed(trace.lines):
        if wanted & set(line.targets) and reached & set(line.targets) - set(leaves):
            found.append(line)
            wanted |= set(names(line.expr))
    return tuple(reversed(found))


def recorded(trace: Trace, program: object, leaves: tuple[str, ...]) -> Trace:
    """Run the lines of a part and take autograd's gradients of it."""
    part_of = dataclasses.replace(trace, program=program)  # type: ignore[arg-type]
    scope = {"torch": torch, "F": F, **trace.program.scalars}
    for name in part_of.program.inputs:
        value = trace.values[name.name].clone()
        scope[name.name] = value.requires_grad_(name.name in leaves)
    with torch.enable_grad(), threads_for(trace.values.values()):
        for line in part_of.program.lines:
            exec(compile(line.text, "<forward>", "exec"), scope)
        tensors = {n: scope[n] for n in trace.values if n in scope}
        output = tensors[part_of.output]
        whole = part_of.output == trace.output
        upstream = trace.upstream if whole else drawn(trace, output)
        grads = gradients(output, tensors, upstream)
    return dataclasses.replace(
        part_of,
        values={n: t.detach() for n, t in tensors.items()},
        grads=grads,
        leaves=leaves,
        upstream=upstream,
        given=trace.given or not whole,
    )


def drawn(trace: Trace, output: torch.Tensor) -> torch.Tensor:
    """Return the gradient that arrives at an inner name, or a drawn one where none does."""
    found = trace.grads.get(trace.output)
    generator = torch.Generator().manual_seed(1)
    fresh = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    return fresh.to(output.dtype) if found is None or output.ndim else torch.ones_like(output)
