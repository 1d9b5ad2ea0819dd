"""Which value is the loss, and where another round of training begins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from handgrad.check.recorded.naming import Label, is_called_one
from handgrad.trace.values import Value, values_in

DIFFERENCES = ("sub", "subtract", "rsub")
LOSSES = ("loss", "l", "cost", "j", "error", "err", "objective", "nll", "mse", "ce", "energy")


def is_loss(key: str) -> bool:
    """Tell whether something is called as a loss is."""
    bare = key.lower().strip("_")
    return bare in LOSSES or bare.endswith("loss") or bare.startswith("loss")


class Rounds:
    """The rounds of a run that goes on: a loss is made again at the same line."""

    def __init__(self) -> None:
        self.seen = 0
        self.last: dict[tuple[Any, ...], Value] = {}  # the losses by the lines that made them

    def second(self, values: list[Value]) -> bool:
        """Tell whether a second round has begun among values of which some were seen before."""
        fresh, self.seen = values[self.seen :], len(values)
        for value in fresh:
            called = any(is_loss(name) for _, name, *_ in value.names) and is_number(value)
            if called or is_difference(value):
                before = self.last.get(where(value))
                self.last[where(value)] = value
                if before is not None and next_round(before, value, values):
                    return True
        return False


def losses_among(
    values: Iterable[Value], labels: Mapping[int, Mapping[Any, Any]]
) -> tuple[list[Value], int]:
    """Return the losses, and when that of the next round was made, 0 if there is none.

    What goes into another one is none of its own.

    Where nothing is called as a loss is, it is the last number that was made.

    Args:
        values: all that were recorded.
        labels: what those are called, by their ids, that something else than a name holds.
    """
    every = sorted(values, key=lambda value: value.order)
    numbers = [value for value in every if is_number(value)]
    called = [
        value
        for value in numbers
        if any(is_loss(key) for _, key in labels.get(id(value), {}))
        or any(is_loss(name) for _, name, *_ in value.names)
    ]
    without_axes = [value for value in called if not value.tensor.ndim]
    found: list[Value] = []
    until = 0
    for value in without_axes or called:  # `error` of one output is a gradient beside `err`
        again = [other for other in found if where(other) == where(value)]
        if again and next_round(again[-1], value, every):
            until = value.order
            break
        found.append(value)
    named = [value for value in numbers if value.names or id(value) in labels]
    if not found:
        until = again_at([value for value in every if is_difference(value)], every)
    return before_gradients(found, every) or named[-1:] or numbers[-1:], until


def before_gradients(losses: list[Value], every: list[Value]) -> list[Value]:
    """Return the losses, those first that were there when the first gradient was made.

    `smooth_loss = 0.999 * smooth_loss + 0.001 * loss` comes after the backward pass.
    """
    first = losses[0].order if losses else 0
    grads = [
        v.order for v in every if v.order > first and any(is_one(name) for _, name, *_ in v.names)
    ]
    early = own([loss for loss in losses if not grads or loss.order < grads[0]])
    return [*early, *(loss for loss in own(losses) if not any(loss is each for each in early))]


def is_one(name: str) -> bool:
    """Tell whether a name can be nothing but a gradient's."""
    return is_called_one(Label(0, 0, "", name, name))


def again_at(values: list[Value], every: list[Value]) -> int:
    """Return when the first of some values is of another round, 0 if none is."""
    last: dict[tuple[Any, ...], Value] = {}
    for value in values:
        before = last.get(where(value))
        last[where(value)] = value
        if before is not None and next_round(before, value, every):
            return value.order
    return 0


def own(losses: list[Value]) -> list[Value]:
    """Return the losses that are no part of another one."""
    return [
        loss
        for k, loss in enumerate(losses)
        if not any(id(loss) in above(loss, other) for other in losses[k + 1 :])
    ]


def above(before: Value, value: Value) -> dict[int, Value]:
    """Return what a value is made from, back to a value before."""
    found, waiting = dict[int, Value](), [value]
    while waiting:
        each = waiting.pop()
        if id(each) not in found and each.order >= before.order:
            found[id(each)] = each
            waiting += values_in(each.args.values()) if each is not before else ()
    return found


def is_difference(value: Value) -> bool:
    """Tell whether a value is `y - out`: with it a backward pass without a loss begins."""
    if value.op is None or value.op.name not in DIFFERENCES or not value.tensor.ndim:
        return False
    read = [*values_in(value.args.values())]
    fixed = [each for each in read if is_outside(each)]
    same = all(each.tensor.shape == value.tensor.shape for each in fixed)
    return len(read) == 2 and len(fixed) == 1 and same


def is_outside(value: Value) -> bool:
    """Tell whether a value is from outside, or a part or a copy of what is."""
    while value.op is not None:
        read = [*values_in(value.args.values())]
        if len(read) != 1:
            return not read
        value = read[0]
    return True


def is_number(value: Value) -> bool:
    """Tell whether a value is one float that something made."""
    tensor = value.tensor
    alone = value.op is not None and len(value.group) <= 1
    return alone and tensor.numel() == 1 and tensor.is_floating_point()


def next_round(before: Value, value: Value, values: list[Value]) -> bool:
    """Tell whether a loss is of another round than one before that was made at the same line.

    It is no sum that goes on from that; or it is one, or a difference, and is made of what lines
    below made in between that had never run before: an update of what both are made from.
    """
    found = above(before, value)
    if id(before) not in found and is_number(value):
        return True
    known = {where(each) for each in values if each.order <= before.order}
    new = (each for each in found.values() if each.op is not None and where(each) not in known)
    return any(is_below(each, before) for each in new)


def is_below(value: Value, loss: Value) -> bool:
    """Tell whether a value was made further down in the text than a loss."""
    for mine, theirs in zip(where(value), where(loss), strict=False):
        if mine != theirs:
            return mine[0] == theirs[0] and mine[1] > theirs[1]
    return False


def where(value: Value) -> tuple[tuple[str, int], ...]:
    """Return the lines at which a value was made, the innermost last."""
    return tuple((place.span.file, place.span.line) for _, place in value.frames)
