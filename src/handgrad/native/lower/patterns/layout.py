"""Ops that give the same entries other places: found by running them on positions."""

from __future__ import annotations

import math
from typing import Any

import torch

from handgrad.errors import BadInput
from handgrad.native.lower.array import Array
from handgrad.native.lower.expr import (
    Entry,
    Index,
    apply,
    cast,
    const,
    select,
    summed,
    unravel,
    whole,
    within,
)
from handgrad.native.lower.patterns.given import Given


def moved(given: Given) -> Any:
    """Lower any op that only moves the entries of its first operand."""
    name, x = next((n, v) for n, v in given.values.items() if isinstance(v, Array))
    positions = torch.arange(max(math.prod(x.shape), 1))[: math.prod(x.shape)].reshape(x.shape)
    values = {n: v if n != name else positions for n, v in given.values.items()}
    with torch._C.DisableTorchFunction():
        found = given.op.spellings[0].run(**values)
    if isinstance(found, tuple | list):
        return tuple(read_at(given, x, part) for part in found)
    return read_at(given, x, found)


def same(given: Given) -> Array:
    """Lower what gives its only operand as it is."""
    (x,) = given.values.values()
    return given.map(x.at)


def read_at(given: Given, x: Array, positions: torch.Tensor) -> Array:
    """Return the array of x's entries at these positions in row-major order."""
    shape = tuple(positions.shape)
    steps = steps_of(positions)
    if steps is None:
        table = given.graph.constant(positions)
        where = lambda index: table.at(index)  # noqa: E731
    else:
        start = int(positions.reshape(-1)[0]) if positions.numel() else 0
        where = lambda index: summed((whole(start), 1), *zip(index, steps, strict=True))  # noqa: E731
    return given.graph.map(shape, x.ctype, lambda index: x.at(unravel(where(index), x.shape)))


def steps_of(positions: torch.Tensor) -> list[int] | None:
    """Return how far apart neighbours along each axis are, if that is the same everywhere."""
    steps = []
    for axis, size in enumerate(positions.shape):
        if size < 2 or positions.numel() == 0:
            steps.append(0)
            continue
        gaps = positions.diff(dim=axis)
        if bool((gaps != gaps.reshape(-1)[0]).any()):
            return None
        steps.append(int(gaps.reshape(-1)[0]))
    return steps


def joined(given: Given) -> Array:
    """Lower torch.cat."""
    xs: tuple[Array, ...] = tuple(x for x in given["xs"] if x.shape != (0,))
    dim = int(given["dim"]) % len(given.shape)

    def entry(index: Index) -> Entry:
        found: Entry | None = None
        start = sum(x.shape[dim] for x in xs)
        for x in reversed(xs):
            start -= x.shape[dim]
            if x.shape[dim] == 0:
                continue
            at = summed((index[dim], 1), (whole(start), -1))
            own = cast(x.at((*index[:dim], at, *index[dim + 1 :])), given.ctype)
            before = apply("lt", index[dim], whole(start + x.shape[dim]))
            found = own if found is None else select(before, own, found)
        return found if found is not None else const(0, given.ctype)

    return given.map(entry)


def stacked(given: Given) -> Array:
    """Lower torch.stack."""
    xs, dim = given["xs"], int(given["dim"]) % len(given.shape)

    def entry(index: Index) -> Entry:
        rest = (*index[:dim], *index[dim + 1 :])
        found = cast(xs[-1].at(rest), given.ctype)
        for place in range(len(xs) - 2, -1, -1):
            own = cast(xs[place].at(rest), given.ctype)
            found = select(apply("eq", index[dim], whole(place)), own, found)
        return found

    return given.map(entry)


def padded(given: Given) -> Array:
    """Lower F.pad with a constant.

    Raises:
        BadInput: another mode is asked for.
    """
    if given["mode"] != "constant":
        raise BadInput(f"mode {given['mode']!r}")
    x, value = given["x"], const(given["value"] or 0, given.ctype)
    pads = [0] * (2 * len(x.shape) - len(given["pad"])) + [
        p for k in range(len(given["pad"]) - 2, -1, -2) for p in given["pad"][k : k + 2]
    ]
    return given.map(
        lambda index: guarded(
            x, [summed((i, 1), (whole(pads[2 * k]), -1)) for k, i in enumerate(index)], value
        )
    )


def guarded(x: Array, index: list[Entry], outside: Entry) -> Entry:
    """Return x's entry at an index, and a number where the index is outside."""
    inside = const(True, "bool")
    for entry, size in zip(index, x.shape, strict=True):
        inside = apply("and", inside, within(entry, 0, size))
    return select(inside, x.at(tuple(index)), outside)


def triangle(given: Given) -> Array:
    """Lower tril and triu."""
    x, diagonal, lower = given["x"], given["diagonal"], given.op.name == "tril"

    def entry(index: Index) -> Entry:
        past = summed((index[-1], 1), (index[-2], -1))
        keep = apply("le" if lower else "ge", past, whole(diagonal))
        return select(keep, x.at(index), const(0, x.ctype))

    return given.map(entry)


def filled(value: float | None) -> Any:
    """Return the pattern of an array of one number."""

    def pattern(given: Given) -> Array:
        number = given.values.get("fill_value", 0) if value is None else value
        return given.map(lambda _: const(number, given.ctype))

    return pattern


def counted(given: Given) -> Array:
    """Lower torch.arange."""
    values = given.values
    start, step = values.get("start", 0), values.get("step", 1)
    if isinstance(start, int) and isinstance(step, int):
        return given.map(lambda index: summed((whole(start), 1), (index[0], step)))
    raise BadInput("steps that are not whole numbers")


def identity(given: Given) -> Array:
    """Lower torch.eye."""
    return given.map(lambda index: cast(apply("eq", index[0], index[1]), given.ctype))


def diagonal_matrix(given: Given) -> Array:
    """Lower x.diag() of a vector."""
    x, offset = given["x"], given["diagonal"]

    def entry(index: Index) -> Entry:
        on = apply("eq", summed((index[1], 1), (index[0], -1)), whole(offset))
        at = summed((index[0], 1), (whole(min(offset, 0)), 1))
        at = select(within(at, 0, x.shape[0]), at, whole(0))
        return select(on, x.at((at,)), const(0, x.ctype))

    return given.map(entry)


def trace_of(given: Given) -> Array:
    """Lower x.trace()."""
    from handgrad.native.lower.expr import var

    x = given["x"]
    k = var("q0", min(x.shape))
    if k.op != "var":
        return given.map(lambda _: x.at((k, k)))
    body = x.at((k, k))
    return given.map(lambda _: given.graph.reduce("sum", body, [], [k]))


MOVING_TEXT = (
    "reshape flatten unflatten unsqueeze squeeze_dim squeeze_dims squeeze transpose permute "
    "movedim flip roll repeat tile repeat_interleave split chunk unbind select_index "
    "slice_index new_axis parts_index select narrow diagonal diag_vector T mT t whole_index "
    "contiguous clone detach reshape_as expand expand_as"
)
MOVING = MOVING_TEXT.split()
LAYOUT = dict.fromkeys(MOVING, moved) | {
    "torch.Tensor.detach": same,  # it has no row: no gradient passes
    "cat": joined,
    "stack": stacked,
    "pad": padded,
    "tril": triangle,
    "triu": triangle,
    "zeros_like": filled(0),
    "ones_like": filled(1),
    "full_like": filled(None),
    "zeros": filled(0),
    "ones": filled(1),
    "new_zeros": filled(0),
    "new_ones": filled(1),
    "new_full": filled(None),
    "full": filled(None),
    "eye": identity,
    "eye_wide": identity,
    "arange": counted,
    "arange_from": counted,
    "diag_matrix": diagonal_matrix,
    "trace": trace_of,
}
