"""Which value of a backward pass is the gradient of which value of the forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from handgrad.check.recorded.forward import closure
from handgrad.check.recorded.naming import (
    HOMES,
    Label,
    calls_itself,
    meant,
    nearness,
    says_gradient,
)
from handgrad.check.recorded.recording import Recording
from handgrad.check.recorded.updates import clipped_from, unnamed_gradients
from handgrad.check.reference import Point
from handgrad.check.runner import widened
from handgrad.check.wide import wide_code
from handgrad.ir import Call, Line, names
from handgrad.trace import Trace

ADDING = {
    "add",
    "add_alpha",
    "sub",
    "index_add",
    "index_put",
    "index_put_accumulate",
    "scatter_add",
}
EXACT = 1e-7  # of the largest entry: how near a float64 gradient is to be
NEAR = 1e-3  # and one as it ran
MOST_TRIED = 24  # forward values that are tried for one gradient whose name says nothing


@dataclass
class Settlement:
    """What was settled.

    Attributes:
        trace: the forward pass.
        recording: the whole file.
        body: the other lines, those up to the next round.
        of: for each gradient, the forward value.
        right: whether that gradient is what it should be, given those it is made from.
        cuts: the forward values whose gradients a backward value is made from.
        parts: gradients that others read as mere sums, with their forward values: no more than a
            name for part of what those are made of.
        guessed: gradients that are called `grad`, and are of what has their shape.
        also: forward values whose gradient is equal to another one, and called so too.
    """

    trace: Trace
    recording: Recording
    body: list[Line]
    of: dict[str, str] = field(default_factory=dict[str, str])
    right: dict[str, bool] = field(default_factory=dict[str, bool])
    cuts: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    parts: dict[str, str] = field(default_factory=dict[str, str])
    guessed: set[str] = field(default_factory=set[str])
    also: set[str] = field(default_factory=set[str])

    @property
    def covered(self) -> set[str]:
        """Return the forward values whose gradients are there, as parts of what others share."""
        return {*self.of.values(), *self.parts.values(), *self.also}

    @cached_property
    def unseen(self) -> dict[str, int]:
        """Return the forward values of which entries went, before the loss, where none follows.

        With each the line at which they went: how the loss depends on them is not all known.
        """
        recording, found = self.recording, dict[str, int]()
        for name, order, line in recording.leaving:
            before = order < recording.orders[self.trace.output]
            for each in closure(recording.program, name) if before else ():
                if each in self.trace.grads:
                    found.setdefault(each, line)
        return found

    def numbers_in(self, target: str) -> int:
        """Return the line at which numbers were taken that may be in a gradient, 0 for none."""
        recording, loss = self.recording, self.trace.output
        made = recording.orders[target]
        lines = [line for n, at, line in recording.leaving if n != loss and at < made]
        return lines[-1] if lines else 0

    @property
    def outside(self) -> list[str]:
        """Return what is called a gradient and was made where nothing is recorded."""
        recording, loss = self.recording, self.trace.output
        keys = {label.key for name in self.trace.grads for label in recording.labels[name]}
        return [
            name.name
            for name in recording.program.inputs
            if recording.orders[name.name] > recording.orders[loss]
            and name.name not in recording.supplied
            and any(
                says_gradient(label) or not keys.isdisjoint(meant(label))
                for label in recording.labels[name.name]
            )
        ]

    @property
    def lost(self) -> list[str]:
        """Return what is called a gradient for good, and is settled as none."""
        keys = {label.key for labels in self.recording.labels.values() for label in labels}
        last: dict[tuple[int, str], tuple[str, Label]] = {}
        for line in self.body:
            for target in line.targets:
                for label in self.recording.labels[target]:
                    last[label.home, label.key] = target, label
        found: dict[str, None] = {}
        read = {name for line in self.body for name in names(line.expr)}
        leading = self.leading
        for target, label in last.values():
            named = says_gradient(label) or any(key in keys for key in meant(label))
            used = target in (leading if HOMES.match(label.key) else read)
            used = used and (HOMES.match(label.key) or not says_gradient(label))
            known = target in self.of or target in self.parts
            known = known or clipped_from(target, self.body) in self.of
            if named and not used and not known and not self.stands_elsewhere(target):
                found[target] = None
        return [*found, *self.outside]

    def stands_elsewhere(self, target: str) -> bool:
        """Tell whether a gradient that is settled holds the same."""
        value = self.recording.values[target]
        return any(torch.equal(self.recording.values[other], value) for other in self.of)

    @property
    def leading(self) -> set[str]:
        """Return the values that some other value's gradient is made of."""
        found = set[str]()
        for line in reversed(self.body):
            if any(target in found or target in self.of for target in line.targets):
                found |= set(names(line.expr))
        return found

    @property
    def wrong(self) -> list[str]:
        """Return the gradients that are not what they should be."""
        return [target for target, right in self.right.items() if not right]

    @property
    def cost(self) -> tuple[int, int]:
        """Return how many lines are wrong, and how late the first one of them is."""
        order = {target: k for k, line in enumerate(self.body) for target in line.targets}
        lines = {self.recording.steps[target].line for target in self.wrong}
        return len(lines), min((order[target] for target in self.wrong), default=0)


class Settling:
    """Settle gradients one after the other, each computed from random ones of those before.

    A gradient is settled by what it is called and by its value, and where neither says it, by
    being the VJP of what it is made from.
    """

    def __init__(
        self,
        trace: Trace,
        recording: Recording,
        body: list[Line],
        at: tuple[Point, ...],
        forced: Mapping[str, str | None],
        near: dict[tuple[str, str], bool],
    ) -> None:
        self.found = Settlement(trace, recording, body)
        self.trace, self.recording, self.body = trace, recording, body
        self.points, self.forced, self.near = at, forced, near
        self.scopes = [self.scope_at(point) for point in self.points]
        self.by_key = self.forward_keys()
        self.by_shape: dict[tuple[int, ...], list[str]] = {}
        for name, grad in trace.grads.items():
            self.by_shape.setdefault(tuple(grad.shape), []).append(name)
        self.last = self.last_of_labels()
        self.summands = self.summed_on()
        self.rebound = self.bound_again()
        self.unnamed = unnamed_gradients(trace, recording, body)
        self.taken: set[str] = set()
        for name, primal in recording.supplied.items():
            self.found.cuts[name] = frozenset({primal})
            for point, scope in zip(at, self.scopes, strict=True):
                scope[name] = point.cotangents[primal].clone()

    def scope_at(self, point: Point) -> dict[str, Any]:
        """Return what backward lines may read at a point."""
        made = {target for line in self.body for target in line.targets}
        own = {n: widened(v) for n, v in self.recording.values.items() if n not in made}
        return {**own, **self.recording.program.scalars, **point.values}

    def forward_keys(self) -> dict[str, list[tuple[Label, str]]]:
        """Return the forward values that have a gradient, by what they are called."""
        found: dict[str, list[tuple[Label, str]]] = {}
        for name in self.trace.grads:
            for label in self.recording.labels[name]:
                for key in calls_itself(label):
                    found.setdefault(key, []).append((label, name))
        return found

    def last_of_labels(self) -> set[str]:
        """Return the values that are the last ones of some label's."""
        last: dict[tuple[int, str], str] = {}
        for line in self.body:
            for target in line.targets:
                for label in self.recording.labels[target]:
                    last[label.home, label.key] = target
        return set(last.values())

    def bound_again(self) -> set[str]:
        """Return the values whose label was a value's before that they are made from."""
        first: set[tuple[int, str]] = set()
        found: set[str] = set()
        for line in self.body:
            for target in line.targets:
                mine = {(label.home, label.key) for label in self.recording.labels[target]}
                found |= {target} if mine & first else set()
                first |= mine
        return found

    def summed_on(self) -> set[str]:
        """Return the values to which more is added under the same label."""
        found: set[str] = set()
        for line in self.body:
            if isinstance(line.expr, Call) and line.expr.op.name in ADDING:
                mine = {(label.home, label.key) for label in self.recording.labels[line.target]}
                for name in names(line.expr):
                    theirs = self.recording.labels.get(name, ())
                    if any((label.home, label.key) in mine for label in theirs):
                        found.add(name)
        return found

    def settle(self) -> Settlement:
        """Settle every gradient."""
        for line in self.body:
            codes = wide_code(line.text, "<backward>")
            with torch.no_grad(), in_double():
                for scope in self.scopes:
                    exec(codes, scope)
            cuts = self.cuts_of(line)
            for target in line.targets:
                self.found.cuts[target] = cuts
                if target in self.forced:
                    primal = self.forced[target]
                else:
                    primal = self.primal_of(target, cuts)
                if primal is not None:
                    self.take(target, primal, cuts)
        return self.found

    def take(self, target: str, primal: str, cuts: frozenset[str]) -> None:
        """Note a gradient; what reads it is given a random one."""
        self.found.right[target] = self.is_vjp(target, primal, cuts)
        self.found.of[target] = primal
        value = self.recording.values[target]
        named = self.called(self.recording.labels[target])
        self.found.also |= {n for n in named if self.as_it_ran(value, n)}
        self.found.cuts[target] = frozenset({primal})
        self.taken.add(primal)
        for point, scope in zip(self.points, self.scopes, strict=True):
            if bare(scope[target]) == bare(point.cotangents[primal]):
                given = point.cotangents[primal].clone()
                scope[target] = given.reshape(scope[target].shape)

    def cuts_of(self, line: Line) -> frozenset[str]:
        """Return the forward values whose gradients a line's results are made from."""
        expr = line.expr
        if isinstance(expr, Call) and expr.op.name.endswith("_like"):
            return frozenset()
        read = [self.found.cuts.get(name, frozenset()) for name in names(expr)]
        return frozenset().union(*read)

    def primal_of(self, target: str, cuts: frozenset[str]) -> str | None:
        """Return what a value is the gradient of, None if it is none, or that is not known."""
        value = self.recording.values[target]
        labels = self.recording.labels[target]
        if not labels and target in self.unnamed:
            return self.unnamed[target]
        if not value.is_floating_point() or not labels or target in self.summands:
            return None
        same = [n for n in self.by_shape.get(tuple(value.shape), ()) if n not in cuts]
        called = list(dict.fromkeys(self.called(labels)))
        loose = [n for n in called if n not in same and bare(self.trace.grads[n]) == bare(value)]
        same += [n for n in loose if n not in cuts]
        equal = [name for name in reversed(same) if self.is_near(target, name)]
        tried = [*(n for n in called if n in equal), *(n for n in equal if n not in called)]
        tried += [n for n in [*called, *reversed(same)] if n not in tried and n in same]
        owner = self.leaf_called(target, labels)
        if owner is not None and owner not in equal:
            return owner
        for name in tried[:MOST_TRIED]:
            if self.is_vjp(target, name, cuts):
                return name
        says = any(map(says_gradient, labels))
        if says and not called:  # by its shape alone
            leaves = [n for n in self.trace.leaves if n in self.trace.grads]
            called = [n for n in leaves if n in same and n not in self.taken]
            self.found.guessed.add(target)
        if target not in self.last or not called:
            return None
        return self.by_name_alone(value, called, equal)

    def leaf_called(self, target: str, labels: tuple[Label, ...]) -> str | None:
        """Return the leaf that a value is called as the gradient of, beside it, for good."""
        for label in labels if target in self.last else ():
            for key in meant(label):
                for other, name in self.by_key.get(key, []):
                    leaf = name in self.trace.leaves and not label.held
                    if leaf and other.home == label.home and self.last_called(other) == name:
                        return name
        return None

    def last_called(self, label: Label) -> str:
        """Return the last forward value that is called so."""
        both = [n for o, n in self.by_key[label.key] if (o.home, o.key) == (label.home, label.key)]
        return both[-1]

    def by_name_alone(self, value: torch.Tensor, called: list[str], equal: list[str]) -> str | None:
        """Return what a value that is no such gradient is called as the gradient of."""
        fitting = [n for n in called if bare(self.trace.grads[n]) == bare(value)]
        free = [n for n in fitting or called if n not in self.taken] or fitting or called
        best = [n for n in free if n in equal]
        if best:
            return best[0]
        return min(free, key=lambda n: distance(value, self.trace.grads[n]))

    def called(self, labels: tuple[Label, ...]) -> Iterator[str]:
        """Yield the forward values that labels are called as the gradients of, nearest first."""
        for label in labels:
            for key in meant(label):
                found = self.by_key.get(key, [])
                near = sorted(
                    enumerate(found), key=lambda each: (nearness(label, each[1][0]), -each[0])
                )
                yield from (name for _, (_, name) in near)

    def is_near(self, target: str, name: str) -> bool:
        """Tell the same of a recorded value, once for all ways to settle."""
        if (target, name) not in self.near:
            self.near[target, name] = self.as_it_ran(self.recording.values[target], name)
        return self.near[target, name]

    def as_it_ran(self, value: torch.Tensor, name: str) -> bool:
        """Tell whether a value is about autograd's gradient, as both ran."""
        truth = self.trace.grads[name]
        size = float(truth.abs().max()) if truth.numel() else 0.0
        return size > 0 and distance(value, truth) <= NEAR * size

    def is_vjp(self, target: str, name: str, cuts: frozenset[str]) -> bool:
        """Tell whether a value is the gradient of a name, given those that it is made from."""
        through = cuts | {self.trace.output}
        for point, scope in zip(self.points, self.scopes, strict=True):
            value = scope.get(target)
            if not isinstance(value, torch.Tensor):
                return False
            truth = point.expected(name, through)
            if bare(value) != bare(truth):
                return False
            value = value.reshape(truth.shape)
            size = float(truth.abs().max()) if truth.numel() else 0.0
            if not bool((value.double() - truth).abs().max() <= EXACT * size + 1e-300):
                return False
        return True


def bare(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return a tensor's shape without the axes of length 1."""
    return tuple(size for size in tensor.shape if size != 1)


@contextmanager
def in_double() -> Iterator[None]:
    """Let what lines make of nothing, `torch.ones(5)`, be float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """Return how far apart two tensors are; those of different shapes infinitely."""
    if one.shape != two.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    far = float((one.double() - two.double()).abs().max())
    return far if far == far else float("inf")
