"""`torch.autograd.grad` inside a forward pass: its result by the op table's own rules, recorded."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import torch

from handgrad.ops.declare import needs
from handgrad.trace.calls import Again, Called, Tape
from handgrad.trace.draws import equal
from handgrad.trace.source import Scalar
from handgrad.trace.values import Value, values_in

SIGNATURE = inspect.signature(torch.autograd.grad)


def take_inner_gradient(tape: Tape, called: Called) -> Any:
    """Take a gradient for the user, and record how the rules of the op table make the same one.

    Raises:
        BadInput: it goes through an op that has no rule.
    """
    given = SIGNATURE.bind(*called.args, **called.kwargs).arguments
    found = torch.autograd.grad(**{**given, "retain_graph": True})
    inputs = sequence(given["inputs"])
    outputs = sequence(given["outputs"])
    starts = sequence(given.get("grad_outputs")) or [None] * len(outputs)
    create = bool(given.get("create_graph"))
    sweep = Sweep(tape, called)
    with Again(tape, apart=True), nullcontext() if create else torch.no_grad():
        mine = sweep.run(outputs, starts, inputs)
    known: dict[int, Value] = {}
    for tensor, value in zip(found, mine, strict=True):
        if tensor is None or value is None:
            continue  # unused, or zeros that were asked for: a constant
        if (same := known.get(id(value))) is not None:  # one tensor asked for twice
            tape.current[id(tensor)] = same
            continue
        known[id(value)] = tape.current[id(value)]
        if not equal(value, tensor):
            raise called.refused(
                "torch.autograd.grad does not give what the rules of the op table give",
                hint="does a hook or a custom Function change the gradient on the way?",
            )
        tape.adopt(value, tensor)
    return found


def sequence(given: Any) -> list[Any]:
    """Return one tensor or several as a list."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


class Sweep:
    """A reverse sweep over recorded values, by running the rules on tensors."""

    def __init__(self, tape: Tape, called: Called) -> None:
        self.tape, self.called = tape, called
        self.found: dict[int, torch.Tensor] = {}
        self.tensors: dict[int, torch.Tensor] = {}

    def run(
        self, outputs: list[torch.Tensor], starts: list[Any], inputs: list[torch.Tensor]
    ) -> list[torch.Tensor | None]:
        """Return the gradient of each input, None where nothing reads it."""
        ends = [self.tape.resolve(tensor) for tensor in inputs]
        tops = [self.tape.resolve(tensor) for tensor in outputs]
        reach = {id(value) for value in ends}
        for value in self.tape.values:
            if any(id(arg) in reach for arg in values_in(value.args.values())):
                reach.add(id(value))
        for top, tensor, start in zip(tops, outputs, starts, strict=True):
            self.arrive(top, torch.ones_like(tensor) if start is None else start)
        done: set[int] = set()
        for value in list(reversed(self.tape.values)):
            first = value.group[0] if value.group else value
            if value is first and id(value) in reach and id(value) not in done:
                done.add(id(value))
                if any(id(v) in self.found for v in value.group):
                    self.through(value, reach)
        return [self.found.get(id(value)) for value in ends]

    def arrive(self, value: Value, cotangent: torch.Tensor) -> None:
        """Add a cotangent to what has arrived at a value."""
        before = self.found.get(id(value))
        self.found[id(value)] = cotangent if before is None else before + cotangent

    def through(self, value: Value, reach: set[int]) -> None:
        """Send the cotangents of a call's results to its operands."""
        op = value.op
        if op is None or not value.group[0].depends or value.cut:
            return
        for param, arg in value.args.items():
            if not any(id(each) in reach for each in values_in([arg])):
                continue
            rule = op.rules.get(param)
            if rule is None:
                if op.rules or not value.requires:
                    continue
                raise self.called.refused(
                    f"torch.autograd.grad goes through {op.name}, which has no rule",
                    hint="write that part in ops that the table knows",
                )
            available = {name: self.plain(each) for name, each in value.args.items()}
            available |= self.results(value)
            given = rule(**{name: available[name] for name in needs(rule)})
            parts = given if isinstance(arg, tuple) else [given]
            for each, cotangent in zip(values_in([arg]), parts, strict=False):
                if id(each) in reach and cotangent is not None:
                    self.arrive(each, summed(cotangent, each.tensor))

    def results(self, value: Value) -> dict[str, Any]:
        """Return a call's results and their cotangents by the names that rules know them under."""
        op = value.op
        assert op is not None
        made = [self.tensor(each) for each in value.group]
        arrived = [
            self.found[id(each)] if id(each) in self.found else torch.zeros_like(mine)
            for each, mine in zip(value.group, made, strict=True)
        ]
        if op.variadic:
            name = op.outputs[0][1:]
            return {name: made, "d" + name: arrived}
        names: Iterable[str] = op.outputs
        both = list(zip(names, made, arrived, strict=False))
        return {n: m for n, m, _ in both} | {"d" + n: a for n, _, a in both}

    def plain(self, arg: Any) -> Any:
        """Return an argument as the rules take it."""
        if isinstance(arg, Value):
            return self.tensor(arg)
        if isinstance(arg, tuple):
            return tuple(self.plain(part) for part in arg)
        return arg.value if isinstance(arg, Scalar) else arg

    def tensor(self, value: Value) -> torch.Tensor:
        """Return the tensor that a value was when it was made."""
        if value.snapshot is None and self.tape.current.get(id(value.tensor)) is value:
            return value.tensor
        if id(value) not in self.tensors:
            start = value.data.requires_grad_(value.requires)
            self.tensors[id(value)] = start.view_as(start)
            self.tape.current[id(self.tensors[id(value)])] = value
        return self.tensors[id(value)]


def summed(cotangent: torch.Tensor, operand: torch.Tensor) -> torch.Tensor:
    """Sum a cotangent over the axes along which its operand was stretched, in its dtype."""
    extra = cotangent.ndim - operand.ndim
    if extra > 0:
        cotangent = cotangent.sum(dim=tuple(range(extra)))
    kept = tuple(k for k, size in enumerate(operand.shape) if size == 1 and cotangent.shape[k] != 1)
    if kept:
        cotangent = cotangent.sum(dim=kept, keepdim=True)
    return cotangent if cotangent.dtype == operand.dtype else cotangent.to(operand.dtype)
