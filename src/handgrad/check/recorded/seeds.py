"""A backward pass without a loss that it starts from: its first value stands for a cotangent.

Much code never computes the loss whose gradient it goes down, or prints one in passing:
`error = y - out; delta = error * out * (1 - out); W += h.T @ delta`. What follows from `error` can
be judged all the same, if `error` is taken for the cotangent of `out`, whatever constant it leaves
out, and whatever sign it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from handgrad.check.recorded.forward import closure
from handgrad.check.recorded.naming import is_called_one
from handgrad.check.recorded.recording import Recording
from handgrad.check.recorded.rounds import DIFFERENCES
from handgrad.ir import Call, Line, Name, Program, names
from handgrad.ops import TABLE
from handgrad.ops.term import Term, building
from handgrad.spell import spell

MOST_SEEDS = 4  # values that are tried as the first cotangent
MOST_OUTPUTS = 3  # and what of
LOSS = "stands_for_loss"


def comes_late(recording: Recording) -> bool:
    """Tell whether the loss is of another forward pass: gradients went into what it is made of."""
    loss = recording.losses[0] if recording.losses else ""
    above = closure(recording.program, loss) if loss else set[str]()
    return any(is_called_one(label) for n in above if n != loss for label in recording.labels[n])


def seeded(recording: Recording) -> Iterator[tuple[Recording, str, str]]:
    """Yield recordings whose loss starts from a cotangent in them, that, and what it stands for."""
    tried = 0
    for line in recording.program.lines:
        outputs = list(outputs_of(recording, line))
        if outputs and recording.values[line.target].ndim:
            tried += 1
            for output in outputs:
                words = told(recording, line.target, output)
                yield started(recording, line, output), line.target, words
        if tried == MOST_SEEDS:
            return


def outputs_of(recording: Recording, line: Line) -> Iterator[str]:
    """Yield the forward values of which a line's value may be the cotangent.

    Of a difference from what comes from outside, the other operand; of what is called `delta`,
    what comes before and has its shape.
    """
    program, value = recording.program, recording.values[line.target]
    if not value.is_floating_point() or len(line.targets) > 1 or claims(recording, line.target):
        return
    given = {name.name for name in program.inputs}
    makers = {target: each for each in program.lines for target in each.targets}
    if isinstance(line.expr, Call) and line.expr.op.name in DIFFERENCES:
        read = [n for n in names(line.expr) if recording.values[n].shape == value.shape]
        fixed = [n for n in read if is_outside(n, given, makers)]
        if len(read) == 2 and len(fixed) == 1:
            yield next(n for n in read if n not in fixed)
        return
    if any(map(is_called_one, recording.labels[line.target])):
        above = closure(program, line.target)
        same = [n for n in above if n in makers and recording.values[n].shape == value.shape]
        same = [n for n in same if n != line.target and recording.values[n].is_floating_point()]
        same.sort(key=lambda n: recording.orders[n])
        yield from same[:MOST_OUTPUTS]


def claims(recording: Recording, name: str) -> bool:
    """Tell whether a value says of what it is the gradient: then it is to be so to the factor."""
    values = recording.values
    return name[:1] == "d" and name[1:] in values


def is_outside(name: str, given: set[str], makers: dict[str, Line]) -> bool:
    """Tell whether a value is from outside, or a part or a copy of what is."""
    while name in makers and name not in given:
        read = [*names(makers[name].expr)]
        if len(read) != 1:
            return not read
        name = read[0]
    return name in given or name in makers


def started(recording: Recording, line: Line, output: str) -> Recording:
    """Return a recording in which a line's value is from outside, and makes the loss."""
    values, target = recording.values, line.target
    seed = Name(target, tuple(values[target].shape), values[target].dtype)
    out = Name(output, tuple(values[output].shape), values[output].dtype)
    with building(TABLE):
        product: Any = torch.mul(Term(out), Term(seed))  # pyright: ignore[reportArgumentType, reportCallIssue]
        loss: Any = torch.sum(product)
    first = Line((LOSS,), loss.expr, f"{LOSS} = {spell(loss.expr)}")
    lines = [first if each is line else each for each in recording.program.lines]
    old = recording.program
    program = Program(tuple(lines), (*old.inputs, seed), old.scalars, LOSS, {}, old.externals)
    made = (values[output].double() * values[target].double()).sum().to(values[target].dtype)
    return replace(
        recording,
        program=program,
        values={**values, LOSS: made},
        labels={**recording.labels, LOSS: ()},
        steps={**recording.steps, LOSS: recording.steps[target]},
        orders={**recording.orders, LOSS: recording.orders[target]},
        own={},
        losses=(LOSS,),
    )


def told(recording: Recording, seed: str, output: str) -> str:
    """Say what is taken for what."""
    names = [
        labels[0].text
        if (labels := recording.labels[n])
        else f"what line {recording.steps[n].line} makes"
        for n in (seed, output)
    ]
    return f"{names[0]} is taken for the gradient of {names[1]}, but for a constant factor"
