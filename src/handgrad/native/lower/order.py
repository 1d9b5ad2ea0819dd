"""The order of stages: what reads an input comes before what overwrites it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from handgrad.native.lower.array import KEPT, Array
from handgrad.native.lower.budget import spend
from handgrad.native.lower.expr import axes_of, make
from handgrad.native.lower.stages import Stage

Before = Mapping[Stage, set[Stage]]


def dependencies(stages: list[Stage], loss: Array) -> dict[Stage, set[Stage]]:
    """Return for each stage those that come before it.

    What overwrites an input comes after all that read it, and after the loss is known.
    """
    maker = {stage.array: stage for stage in stages}
    before = {s: {maker[a] for a in s.sources if a in maker and maker[a] is not s} for s in stages}
    readers: dict[str, set[Stage]] = {}
    for stage in stages:
        for array in stage.sources:
            if array.kind == "input":
                readers.setdefault(array.name, set()).add(stage)
    for stage in stages:
        if stage.into:
            before[stage] |= readers.get(stage.into, set()) - {stage}
            if loss in maker:
                before[stage].add(maker[loss])
    return before


def in_order(stages: list[Stage], loss: Array) -> tuple[list[Stage], Before]:
    """Return stages in an order that also lets what is overwritten be read first.

    Updates that read each other's inputs cannot all be made in place: one of them is made apart,
    and copied when the others are done. Nothing reads a copy, and what stages read of each other
    has no circle; so with all updates made apart none is left, and every round either places a
    stage or makes one more update apart.

    Args:
        stages: in an order that respects what reads what.
        loss: what must be known before anything is overwritten.
    """
    for stage in [s for s in stages if reads_elsewhere(s)]:
        stages = made_apart(stages, stage)
    while True:
        spend()
        before = dependencies(stages, loss)
        found, left = placed(stages, before)
        if not left:
            return found, before
        stages = made_apart(stages, first_in_circle(left, before))


def placed(stages: list[Stage], before: Before) -> tuple[list[Stage], list[Stage]]:
    """Return the stages that have an order, in it, and those that wait for each other."""
    found: dict[Stage, None] = {}
    left = list(stages)
    while True:
        for stage in left:
            if before[stage] <= found.keys():
                found[stage] = None
        rest = [s for s in left if s not in found]
        if len(rest) == len(left):
            return list(found), rest
        left = rest


def first_in_circle(left: list[Stage], before: Before) -> Stage:
    """Return the smallest update in place that waits for itself."""
    waiting = [s for s in left if s.into and s in all_before(s, before)]
    return min(waiting, key=lambda stage: stage.array.numel)


def all_before(stage: Stage, before: Before) -> set[Stage]:
    """Return all stages that one waits for, directly or not."""
    found: set[Stage] = set()
    stack = [stage]
    while stack:
        fresh = before[stack.pop()] - found
        found |= fresh
        stack.extend(fresh)
    return found


def reads_elsewhere(stage: Stage) -> bool:
    """Tell whether a stage overwrites an input that it reads at other places than its own."""
    own = axes_of(stage.array.shape)
    return bool(stage.into) and any(
        read.args[0].name == stage.into and read.args[1] != own for read in stage.reads
    )


def made_apart(stages: list[Stage], stage: Stage) -> list[Stage]:
    """Return stages with an update that is made in memory of its own, and copied at the end."""
    array = stage.array
    body = make("read", (array, axes_of(array.shape)), array.ctype)
    copy = Array(array.shape, array.ctype, "map", body, how=KEPT, line=array.line)
    fresh = [replace(stage, into="") if each is stage else each for each in stages]
    return [*fresh, Stage(copy, body, into=stage.into)]
