"""Numbers that follow the size of an argument: found by running the forward pass at other sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from handgrad.emit.parameters import Definition, Signature

Numbers = Mapping[str, Any]
Axis = tuple[str, int]


def followed(
    signature: Signature, given: Mapping[str, Any], numbers: Callable[[dict[str, Any]], Numbers]
) -> Signature:
    """Return a signature whose numbers are sizes of arguments wherever they change with them.

    The number of a helper's own line, `B, T, C = x.shape`, is known by its value alone; that it is
    5 because an axis of an argument is, is seen by making that axis longer.

    Args:
        signature: with lines such as `T = 5`.
        given: the arguments by the words of the call.
        numbers: the numbers of the forward pass, by name, for other arguments.
    """
    words = dict(zip(given, signature.names, strict=False))
    found: list[Definition] = []
    for made in signature.definitions:
        value = number_in(made)
        axes = axes_of(given, value)
        axis = follows(made.targets[0], value, axes, given, numbers) if axes else None
        if axis is None:
            found.append(made)
        else:
            name = words[axis[0]]
            text = f"{made.targets[0]} = {name}.shape[{axis[1]}]"
            found.append(Definition(made.targets, (name,), text))
    return replace(signature, definitions=tuple(found))


def number_in(made: Definition) -> int:
    """Return the whole number that a line sets a name to, -1 if that is not all it does."""
    name, _, text = made.text.partition(" = ")
    return int(text) if made.targets == (name,) and text.isdigit() else -1


def axes_of(given: Mapping[str, Any], size: int) -> list[Axis]:
    """Return the axes of the arguments that have a size."""
    return [
        (word, axis)
        for word, value in given.items()
        if isinstance(value, torch.Tensor)
        for axis, length in enumerate(value.shape)
        if length == size
    ]


def follows(
    name: str,
    value: int,
    axes: list[Axis],
    given: Mapping[str, Any],
    numbers: Callable[[dict[str, Any]], Numbers],
) -> Axis | None:
    """Return the axis whose length a number is, None if it is no axis'."""
    left = list(axes)
    for axis in axes if len(axes) > 1 else ():
        now = numbers(longer(given, [axis])).get(name)
        if now == value + 1:
            return axis
        if now == value:
            left.remove(axis)
    return left[0] if left and numbers(longer(given, left)).get(name) == value + 1 else None


def longer(given: Mapping[str, Any], axes: list[Axis]) -> dict[str, Any]:
    """Return the arguments with some axes one entry longer, the first entry repeated at the end."""
    made = dict(given)
    for word, axis in axes:
        made[word] = torch.cat([made[word], made[word].narrow(axis, 0, 1)], axis)
    return made
