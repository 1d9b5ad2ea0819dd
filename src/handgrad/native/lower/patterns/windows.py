"""Convolutions, pooling and sliding blocks: windows laid out side by side, then reduced."""

from __future__ import annotations

import math
from typing import Any

from handgrad.errors import BadInput
from handgrad.native.lower.array import KEPT, Array
from handgrad.native.lower.expr import (
    Entry,
    Index,
    apply,
    both,
    cast,
    const,
    floordiv,
    mod,
    select,
    summed,
    unravel,
    var,
    whole,
    within,
)
from handgrad.native.lower.patterns.given import Given
from handgrad.native.lower.patterns.layout import guarded
from handgrad.ops.conv import pads, wide


def at_window(out: Index, tap: Index, stride: Any, pad: Any, dilation: Any) -> list[Entry]:
    """Return where each tap of a window meets the input."""
    return [
        summed((o, s), (k, d), (whole(p), -1))
        for o, k, s, p, d in zip(out, tap, stride, pad, dilation, strict=True)
    ]


def contracted(given: Given, columns: Array, weight: Any, outputs: int, groups: int) -> Array:
    """Return the product of kernels with the windows that stand in the columns.

    Args:
        given: the call.
        columns: [n, groups, taps, places].
        weight: from group, output channel in it and tap to the kernel's entry.
        outputs: how many output channels a group has.
        groups: how many groups there are.
    """
    n, _, taps, places = columns.shape
    k = var("q0", taps)
    indices = tuple(var(f"i{p}", s) for p, s in enumerate((n, groups, outputs, places)))
    sample, group, channel, place = indices
    body = apply("mul", weight(group, channel, k), columns.at((sample, group, k, place)))
    free = [i for i in indices if i.op == "var"]
    whole_sum = given.graph.reduce("sum", body, free, [k]) if k.op == "var" else body
    flat = given.graph.map((n, groups, outputs, places), given.ctype, lambda _: whole_sum)
    bias, shape = given["bias"], given.shape

    def entry(index: Index) -> Entry:
        position = summed(*zip(index[2:], strides(shape[2:]), strict=True))
        found = flat.at((index[0], floordiv(index[1], outputs), mod(index[1], outputs), position))
        return found if bias is None else apply("add", found, bias.at((index[1],)))

    return given.map(entry)


def strides(shape: tuple[int, ...]) -> list[int]:
    """Return how far apart neighbours along each axis are in row-major order."""
    return [math.prod(shape[k + 1 :]) for k in range(len(shape))]


def convolved(given: Given) -> Array:
    """Lower conv1d and conv2d."""
    x, weight, groups = given["x"], given["weight"], given["groups"]
    stride, dilation = wide(given["stride"], x.ndim), wide(given["dilation"], x.ndim)
    pad = pads(given["padding"], weight, dilation)
    kernel, out, inputs = weight.shape[2:], given.shape[2:], weight.shape[1]
    shape = (x.shape[0], groups, inputs * math.prod(kernel), math.prod(out))

    rows = padded(given, x, kernel, stride, pad, dilation)

    def window(index: Index) -> Entry:
        channel, *tap = unravel(index[2], (inputs, *kernel))
        place = at_window(unravel(index[3], out), tuple(tap), stride, [0] * len(tap), dilation)
        source = summed((index[1], inputs), (channel, 1))
        return rows.at((index[0], source, *place))

    columns = given.graph.map(shape, x.ctype, window, how=KEPT)
    outputs = weight.shape[0] // groups

    def kernel_at(group: Entry, channel: Entry, k: Entry) -> Entry:
        return weight.at((summed((group, outputs), (channel, 1)), *unravel(k, (inputs, *kernel))))

    return contracted(given, columns, kernel_at, outputs, groups)


def padded(given: Given, x: Array, kernel: Any, stride: Any, pad: Any, dilation: Any) -> Array:
    """Return an input with zeros around it, as far as windows reach."""
    ends = [
        (o - 1) * s + (k - 1) * d + 1
        for o, k, s, d in zip(given.shape[2:], kernel, stride, dilation, strict=True)
    ]
    if not any(pad) and all(end <= n for end, n in zip(ends, x.shape[2:], strict=True)):
        return x

    def entry(index: Index) -> Entry:
        place = [summed((i, 1), (whole(p), -1)) for i, p in zip(index[2:], pad, strict=True)]
        return guarded(x, [*index[:2], *place], const(0, x.ctype))

    return given.graph.map((*x.shape[:2], *ends), x.ctype, entry, how=KEPT)


def spread(given: Given, x: Array, reach: Any, stride: Any, pad: Any) -> Array:
    """Return an input with zeros between its entries and around it, as far as windows reach.

    Args:
        given: the call.
        x: the input.
        reach: how far a window's last tap is from its first, along each axis.
        stride: how far apart entries come to stand.
        pad: how many places are left out at each end.
    """
    zero = const(0, x.ctype)
    ends = [o + r for o, r in zip(given.shape[2:], reach, strict=True)]

    def entry(index: Index) -> Entry:
        met = [
            summed((i, 1), (whole(p - r), 1)) for i, p, r in zip(index[2:], pad, reach, strict=True)
        ]
        hits = [apply("eq", mod(m, s), whole(0)) for m, s in zip(met, stride, strict=True)]
        place = [floordiv(m, s) for m, s in zip(met, stride, strict=True)]
        return select(both(*hits), guarded(x, [*index[:2], *place], zero), zero)

    return given.graph.map((*x.shape[:2], *ends), x.ctype, entry, how=KEPT)


def spread_back(given: Given) -> Array:
    """Lower conv_transpose1d and conv_transpose2d."""
    x, weight, groups = given["x"], given["weight"], given["groups"]
    stride, dilation = wide(given["stride"], x.ndim), wide(given["dilation"], x.ndim)
    pad = wide(given["padding"], x.ndim)
    kernel, out = weight.shape[2:], given.shape[2:]
    inputs, outputs = x.shape[1] // groups, weight.shape[1]
    shape = (x.shape[0], groups, inputs * math.prod(kernel), math.prod(out))
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    rows = spread(given, x, reach, stride, pad)

    def window(index: Index) -> Entry:
        channel, *tap = unravel(index[2], (inputs, *kernel))
        place = [
            summed((o, 1), (k, -d), (whole(r), 1))
            for o, k, d, r in zip(unravel(index[3], out), tap, dilation, reach, strict=True)
        ]
        source = summed((index[1], inputs), (channel, 1))
        return rows.at((index[0], source, *place))

    columns = given.graph.map(shape, x.ctype, window, how=KEPT)

    def entry(index: Index) -> Entry:
        own, *tap = unravel(index[2], (inputs, *kernel))
        return weight.at((summed((index[0], inputs), (own, 1)), index[1], *tap))

    # in the order that they are summed in
    kernels = given.graph.map((groups, outputs, shape[2]), weight.ctype, entry, how=KEPT)

    def kernel_at(group: Entry, channel: Entry, k: Entry) -> Entry:
        return kernels.at((group, channel, k))

    return contracted(given, columns, kernel_at, outputs, groups)


def pool_options(given: Given) -> tuple[Any, Any, Any, Any]:
    """Return kernel, stride, padding and dilation for each axis in space."""
    rank = given["x"].ndim
    kernel = wide(given["kernel_size"], rank)
    stride = kernel if given["stride"] in (None, ()) else wide(given["stride"], rank)
    return kernel, stride, wide(given["padding"], rank), wide(given.values.get("dilation", 1), rank)


def greatest(given: Given) -> Any:
    """Lower max_pool: the greatest entry of each window, and where it stands in its plane."""
    x = given["x"]
    kernel, stride, pad, dilation = pool_options(given)
    tap = var("q0", math.prod(kernel))
    index = tuple(var(f"i{k}", size) for k, size in enumerate(given.shape))
    free = [i for i in index if i.op == "var"]

    def place(at: Index, k: Entry) -> list[Entry]:
        return at_window(at[2:], unravel(k, kernel), stride, pad, dilation)

    body = guarded(x, [*index[:2], *place(index, tap)], const(-math.inf, x.ctype))
    if tap.op != "var":
        values, best = body, whole(0)
    else:
        values = given.graph.reduce("max", body, free, [tap])
        best = given.graph.reduce("argmax", body, free, [tap])
    y = given.map(lambda _: values)
    if len(given.outputs) == 1:
        return y
    picked = given.graph.map(given.shape, "int64_t", lambda _: best)
    plane = x.shape[2:]

    def position(at: Index) -> Entry:
        return summed(*zip(place(at, picked.at(at)), strides(plane), strict=True))

    return y, given.graph.map(given.outputs[1][0], "int64_t", position)


def averaged(given: Given) -> Array:
    """Lower avg_pool."""
    x = given["x"]
    kernel, stride, pad, _ = pool_options(given)
    taps = tuple(var(f"q{k}", size) for k, size in enumerate(kernel))
    index = tuple(var(f"i{k}", size) for k, size in enumerate(given.shape))
    place = at_window(index[2:], taps, stride, pad, [1] * len(kernel))
    body = guarded(x, [*index[:2], *place], const(0, x.ctype))
    free, over = [i for i in index if i.op == "var"], [t for t in taps if t.op == "var"]
    total = given.graph.reduce("sum", body, free, over) if over else body
    divisor = given.values.get("divisor_override") or math.prod(kernel)
    if given.values.get("divisor_override") is None and not given["count_include_pad"]:
        counts = [
            summed(
                (apply("min", summed((o, s), (whole(k - p), 1)), whole(size)), 1),
                (apply("max", summed((o, s), (whole(p), -1)), whole(0)), -1),
            )
            for o, s, k, p, size in zip(index[2:], stride, kernel, pad, x.shape[2:], strict=True)
        ]
        over_count = counts[0]
        for count in counts[1:]:
            over_count = apply("mul", over_count, count)
        return given.map(lambda _: apply("div", total, cast(over_count, x.ctype)))
    return given.map(lambda _: apply("div", total, const(divisor, x.ctype)))


def unfolded(given: Given) -> Array:
    """Lower F.unfold."""
    x = given["x"]
    kernel, stride = wide(given["kernel_size"], 4), wide(given["stride"], 4)
    pad, dilation = wide(given["padding"], 4), wide(given["dilation"], 4)
    out = blocks_of(x.shape[2:], kernel, stride, pad, dilation)

    def entry(index: Index) -> Entry:
        channel, *tap = unravel(index[1], (x.shape[1], *kernel))
        place = at_window(unravel(index[2], out), tuple(tap), stride, pad, dilation)
        return guarded(x, [index[0], channel, *place], const(0, x.ctype))

    return given.map(entry)


def blocks_of(plane: Any, kernel: Any, stride: Any, pad: Any, dilation: Any) -> tuple[int, ...]:
    """Return how many blocks there are along each axis."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(plane, kernel, stride, pad, dilation, strict=True)
    )


def folded(given: Given) -> Array:
    """Lower F.fold: every entry sums the blocks that it stands in."""
    x = given["x"]
    kernel, stride = wide(given["kernel_size"], 4), wide(given["stride"], 4)
    pad, dilation = wide(given["padding"], 4), wide(given["dilation"], 4)
    blocks = blocks_of(wide(given["output_size"], 4), kernel, stride, pad, dilation)
    index = tuple(var(f"i{k}", size) for k, size in enumerate(given.shape))
    taps = tuple(var(f"q{k}", size) for k, size in enumerate(kernel))
    met = [
        summed((i, 1), (whole(p), 1), (k, -d))
        for i, p, k, d in zip(index[2:], pad, taps, dilation, strict=True)
    ]
    place = [floordiv(m, s) for m, s in zip(met, stride, strict=True)]
    hits = [apply("eq", mod(m, s), whole(0)) for m, s in zip(met, stride, strict=True)]
    hits += [within(p, 0, n) for p, n in zip(place, blocks, strict=True)]
    row = summed((index[1], math.prod(kernel)), *zip(taps, strides(kernel), strict=True))
    body = select(
        both(*hits),
        x.at((index[0], row, summed(*zip(place, strides(blocks), strict=True)))),
        const(0, x.ctype),
    )
    free, over = [i for i in index if i.op == "var"], [t for t in taps if t.op == "var"]
    total = given.graph.reduce("sum", body, free, over) if over else body
    return given.map(lambda _: total)


def enlarged(given: Given) -> Array:
    """Lower F.interpolate of the nearest entry, by a whole number of times."""
    x = given["x"]
    times = [n // old for n, old in zip(given.shape[2:], x.shape[2:], strict=True)]
    if any(n % old for n, old in zip(given.shape[2:], x.shape[2:], strict=True)):
        raise BadInput("a size that is no multiple of the old one")
    return given.map(
        lambda i: x.at((*i[:2], *(floordiv(p, t) for p, t in zip(i[2:], times, strict=True))))
    )


def einsum(given: Given) -> Array:
    """Lower torch.einsum: a sum of products."""
    from handgrad.ops.einsum import sides

    terms, result = sides(given["equation"])
    xs: tuple[Array, ...] = given["operands"]
    wide_rank = max(
        (x.ndim - len(t) + 1 for x, t in zip(xs, terms, strict=True) if "..." in t), default=0
    )

    def named(labels: list[str]) -> list[str]:
        dots = [f".{k}" for k in range(wide_rank)]
        return [name for label in labels for name in (dots if label == "..." else [label])]

    sizes: dict[str, int] = {}
    reads: list[list[str]] = []
    for x, labels in zip(xs, terms, strict=True):
        full = named(labels)
        short = wide_rank - (x.ndim - len(labels) + 1) if "..." in labels else 0
        own = [n for n in full if not (n[0] == "." and int(n[1:]) < short)]
        reads.append(own)
        for name, size in zip(own, x.shape, strict=True):
            sizes[name] = max(sizes.get(name, 1), size)
    outer = named(result)
    env = {name: var(f"i{k}", sizes[name]) for k, name in enumerate(outer)}
    inner = [name for name in sizes if name not in env]
    env |= {name: var(f"q{k}", sizes[name]) for k, name in enumerate(inner)}
    body: Entry | None = None
    for x, own in zip(xs, reads, strict=True):
        entry = x.at(tuple(env[n] for n in own))
        body = entry if body is None else apply("mul", body, entry)
    assert body is not None
    free = [env[n] for n in outer if env[n].op == "var"]
    over = [env[n] for n in inner if env[n].op == "var"]
    total = given.graph.reduce("sum", body, free, over) if over else body
    return given.map(lambda _: total)


WINDOWS = {
    "conv1d": convolved,
    "conv2d": convolved,
    "conv_transpose1d": spread_back,
    "conv_transpose2d": spread_back,
    "max_pool1d": greatest,
    "max_pool2d": greatest,
    "max_pool1d_with_indices": greatest,
    "max_pool2d_with_indices": greatest,
    "avg_pool1d": averaged,
    "avg_pool2d": averaged,
    "avg_pool1d_tiles": averaged,
    "avg_pool2d_tiles": averaged,
    "unfold": unfolded,
    "fold": folded,
    "interpolate": enlarged,
    "einsum": einsum,
}
