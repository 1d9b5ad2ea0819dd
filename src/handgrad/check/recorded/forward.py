"""The forward pass in a recorded file: which value is the loss, what it is made from, its trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.check.handover import name_of
from handgrad.check.recorded.recording import Recording
from handgrad.errors import BadInput
from handgrad.ir import Line, Program, names
from handgrad.trace import Trace
from handgrad.trace.replay import gradients


def closure(program: Program, name: str) -> set[str]:
    """Return the names that a name is made from, itself too."""
    makers = {target: line for line in program.lines for target in line.targets}
    found, waiting = set[str](), [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            if each in makers:
                waiting += [*names(makers[each].expr), *makers[each].targets]
    return found


class NoGradient(BadInput):
    """Nothing is a gradient of what was taken for the loss."""


def forward_trace(recording: Recording, loss: str) -> Trace:
    """Return the trace of what makes the loss; every float tensor with a name is a leaf.

    Raises:
        BadInput: the loss depends on no float tensor.
    """
    inside = closure(recording.program, loss)
    every = [line for line in recording.program.lines if line.target in inside]
    inputs = [name for name in recording.program.inputs if name.name in inside]
    found = constants(
        every, {n.name for n in inputs if recording.values[n.name].is_floating_point()}
    )
    fixed = found if loss not in found else starts(every, found)
    lines = [line for line in every if line.target not in fixed]
    read = {name for line in lines for name in names(line.expr)}
    made = fixed if loss in found else {}
    given = [*(n.name for n in inputs), *(n for n in made if recording.values[n].ndim)]
    floating = [n for n in given if recording.values[n].is_floating_point()]
    called = [n for n in floating if recording.labels[n]]  # `torch.FloatTensor([0])` is none
    leaves = tuple(called or floating)
    values = dict(recording.values)
    inputs += [name_of(n, values) for n in fixed if n in read]
    program = Program(tuple(lines), tuple(inputs), recording.program.scalars, loss)
    floats = (n.name for n in inputs if recording.values[n.name].is_floating_point())
    still = recording.still if loss not in recording.still else frozenset[str]()
    tensors = run_with_gradients(program, recording.values, tuple(floats), still)
    if loss not in tensors or not tensors[loss].requires_grad:
        raise NoGradient(f"{loss} depends on no float tensor, so it has no gradient")
    program = dataclasses.replace(program, lines=tuple(flowing(program.lines, tensors, still)))
    upstream = torch.ones_like(tensors[loss].detach())
    return Trace(
        program=program,
        values={name: tensor.detach() for name, tensor in tensors.items()},
        grads=gradients(tensors[loss], tensors, upstream),
        leaves=leaves,
        upstream=upstream,
    )


def starts(lines: list[Line], fixed: Mapping[str, None]) -> dict[str, None]:
    """Return those of what is fixed that are made of nothing: `np.arange(6.0)`."""
    return dict.fromkeys(
        t for line in lines if not names(line.expr) for t in line.targets if t in fixed
    )


def constants(lines: list[Line], floats: set[str]) -> dict[str, None]:
    """Return what is made of no float tensor from outside: `torch.zeros(3)` has a gradient too."""
    moving = set(floats)
    for line in lines:
        if not moving.isdisjoint(names(line.expr)):
            moving |= set(line.targets)
    return dict.fromkeys(t for line in lines for t in line.targets if t not in moving)


def flowing(
    lines: Iterable[Line], tensors: Mapping[str, torch.Tensor], still: Collection[str]
) -> Iterator[Line]:
    """Yield the lines, each telling whether it is another one where leaves are others.

    So are conditions and indices, and floats that are made of them alone, `1.0 * (x > 0)`: no
    gradient flows through them, and they are made anew.
    """
    picked: set[str] = set()
    for line in lines:
        floats = any(tensors[target].is_floating_point() for target in line.targets)
        flows = any(tensors[target].requires_grad for target in line.targets)
        of_picks = not picked.isdisjoint(names(line.expr)) and not any(
            t in still for t in line.targets
        )
        if not flows and (of_picks or not floats):
            picked |= set(line.targets)
        yield dataclasses.replace(line, differentiable=flows or of_picks or not floats)


def run_with_gradients(
    program: Program,
    values: Mapping[str, torch.Tensor],
    leaves: tuple[str, ...],
    still: frozenset[str],
) -> dict[str, torch.Tensor]:
    """Run the lines on copies of the leaves; return every tensor, connected by autograd.

    Args:
        program: the lines.
        values: every tensor.
        leaves: the inputs that have a gradient.
        still: what is a constant, for it was made without gradients.
    """
    scope: dict[str, Any] = {"torch": torch, "F": F, **program.scalars}
    for name in program.inputs:
        scope[name.name] = values[name.name].detach().clone()
        if name.name in leaves:
            scope[name.name].requires_grad_()
    with torch.enable_grad():
        for line in program.lines:
            exec(compile(line.text, "<forward>", "exec"), scope)
            scope |= {t: scope[t].detach() for t in line.targets if t in still}
    made = [target for line in program.lines for target in line.targets]
    return {name: scope[name] for name in [*(n.name for n in program.inputs), *made]}
