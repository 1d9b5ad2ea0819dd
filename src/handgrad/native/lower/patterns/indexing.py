"""Reading and writing at places that arrays of indices give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from handgrad.errors import BadInput
from handgrad.native.lower.array import Array, Graph, operands
from handgrad.native.lower.expr import (
    INT,
    Entry,
    Index,
    apply,
    axes_of,
    both,
    cast,
    const,
    select,
    summed,
    terms,
    var,
    whole,
    within,
)
from handgrad.native.lower.notation import wrapped
from handgrad.native.lower.patterns.given import Given, stretched
from handgrad.native.lower.tree import substitute, walk


@dataclass(frozen=True)
class Picked:
    """What an index picks.

    Attributes:
        shape: of what is picked.
        at: from a place in what is picked to the place in the tensor.
    """

    shape: tuple[int, ...]
    at: Callable[[Index], Index]


def picked(graph: Graph, shape: tuple[int, ...], index: Any) -> Picked:
    """Return what `x[index]` picks of a tensor of a shape.

    Raises:
        BadInput: a mask, whose count of entries is known only from the data.
    """
    parts = spread(shape, index)
    arrays = [array_of(graph, p) for p in parts]
    wide = broadcast([a.shape for a in arrays if a is not None])
    layout, where = arranged(parts, arrays, wide, shape)

    def at(place: Index) -> Index:
        own = place[where : where + len(wide)]
        rest = iter((*place[:where], *place[where + len(wide) :]))
        found: list[Entry] = []
        axis = 0
        for part, array in zip(parts, arrays, strict=True):
            if part is None:
                next(rest)
                continue
            size = shape[axis]
            axis += 1
            if array is not None:
                found.append(wrapped(array.at(fit(array.shape, own)), size))
            elif isinstance(part, slice):
                start, _, step = part.indices(size)
                found.append(summed((whole(start), 1), (next(rest), step)))
            else:
                found.append(whole(int(part) % size))
        return tuple(found)

    return Picked(layout, at)


def fit(shape: tuple[int, ...], place: Index) -> Index:
    """Return where an array that is stretched is read."""
    own = place[len(place) - len(shape) :]
    return tuple(whole(0) if n == 1 else i for n, i in zip(shape, own, strict=True))


def spread(shape: tuple[int, ...], index: Any) -> list[Any]:
    """Return the parts of an index with `...` written out."""
    parts = list(index) if isinstance(index, tuple) else [index]
    taken = sum(1 for p in parts if p is not None and p is not ...)
    rest = [slice(None)] * (len(shape) - taken)
    if not any(p is ... for p in parts):
        return parts + rest
    at = next(k for k, p in enumerate(parts) if p is ...)
    return parts[:at] + rest + parts[at + 1 :]


def array_of(graph: Graph, part: Any) -> Array | None:
    """Return part of an index as an array of positions, None for a number or a slice."""
    if isinstance(part, Array):
        if part.ctype == "bool":
            raise BadInput("a mask picks as many entries as it has set")
        return part
    if isinstance(part, range):
        n = len(part)
        return graph.map((n,), INT, lambda i: summed((whole(part.start), 1), (i[0], part.step)))
    if isinstance(part, list | tuple):
        return graph.constant(torch.tensor(part))
    return None


def broadcast(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape that several stretch to."""
    rank = max(map(len, shapes), default=0)
    whole = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*whole, strict=True))


def arranged(
    parts: list[Any], arrays: list[Array | None], wide: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[int, ...], int]:
    """Return the shape of what an index picks, and where the arrays' axes stand in it.

    They stand where the arrays do if these are neighbours once numbers are left out, else in front.
    An array without axes counts as a number.
    """
    arrays = [a if a is not None and a.shape else None for a in arrays]
    pairs = list(zip(parts, arrays, strict=True))
    rest = [(p, a) for p, a in pairs if a is not None or p is None or isinstance(p, slice)]
    places = [k for k, (_, a) in enumerate(rest) if a is not None]
    together = not places or places == list(range(places[0], places[-1] + 1))
    found: list[int] = []
    where, axis = 0, 0
    for part, array in zip(parts, arrays, strict=True):
        if array is not None and together and array is rest[places[0]][1] and not where:
            where = len(found)
        if part is None:
            found.append(1)
            continue
        if isinstance(part, slice):
            found.append(len(range(*part.indices(shape[axis]))))
        axis += 1
    return (*found[:where], *wide, *found[where:]), where


def indexed(given: Given) -> Array:
    """Lower `x[index]` with arrays of positions."""
    x = given["x"]
    found = picked(given.graph, x.shape, given["index"])
    return given.map(lambda index: x.at(found.at(index)))


def put(given: Given) -> Array:
    """Lower `x.index_put(indices, values)`."""
    x, values = given["x"], given["values"]
    indices = given["indices"]
    found = picked(given.graph, x.shape, tuple(indices))
    space = tuple(var(f"s{k}", size) for k, size in enumerate(found.shape))
    value = cast(values.at(fit(values.shape, space)), x.ctype)
    how = "sum" if given["accumulate"] else "set"
    return written(given.graph, x, how, found.at(space), value, space)


def written(
    graph: Graph, base: Array, how: str, places: Index, value: Entry, space: Index
) -> Array:
    """Return an array with values written into it: read from where they come, where that is known.

    Where a place is `s0 + c`, the writer of an entry is known: `s0` is the entry's place less c. If
    all writers are known, each entry reads its own, and nothing is scattered.
    """
    sizes = tuple(s.args[1] if s.op == "var" else 1 for s in space)
    if 0 in sizes:
        return base
    shape, index = base.shape, axes_of(base.shape)
    known: dict[Entry, Entry] = {}
    holds: list[Entry] = []
    for place, own in zip(places, index, strict=True):
        constant, parts = terms(place)
        ((part, times),) = parts.items() if len(parts) == 1 else ((place, 0),)
        if times == 1 and part.op == "var" and part not in known:
            known[part] = summed((own, 1), (whole(constant), -1))
            holds.append(within(known[part], 0, part.args[1]))
    if any(s.op == "var" and s not in known for s in space):
        return graph.scatter(base, how, places, value, sizes)
    for place, own in zip(places, index, strict=True):
        holds.append(apply("eq", substitute(place, known), own))
    here = substitute(value, known)
    before = base.at(index)
    inside = both(*holds)
    if how == "sum":
        return graph.map(
            shape,
            base.ctype,
            lambda _: apply("add", before, select(inside, here, const(0, here.ctype))),
        )
    return graph.map(shape, base.ctype, lambda _: select(inside, here, before))


def along(index: Index, dim: int, entry: Entry) -> Index:
    """Return an index with another place along one axis."""
    return (*index[:dim], entry, *index[dim + 1 :])


def axis_of(given: Given) -> int:
    """Return the axis that an op works along.

    Raises:
        BadInput: there is none.
    """
    rank = given["x"].ndim
    if rank == 0 or given["dim"] is None:
        raise BadInput("no axis to work along")
    return int(given["dim"]) % rank


def gathered(given: Given) -> Array:
    """Lower `x.gather(dim, index)`."""
    x = given["x"]
    positions = given.values.get("index", given.values.get("indices"))
    dim = axis_of(given)

    def entry(index: Index) -> Entry:
        at = positions.at(fit(positions.shape, index))
        return x.at(along(fit_other(x, index, dim), dim, wrapped(at, x.shape[dim])))

    return given.map(entry)


def fit_other(x: Array, index: Index, dim: int) -> Index:
    """Return where x is read on the axes that are not gathered along."""
    return tuple(
        whole(0) if n == 1 and k != dim else i
        for k, (n, i) in enumerate(zip(x.shape, index, strict=True))
    )


def scattered(given: Given) -> Array:
    """Lower scatter_add and scatter."""
    x, positions = given["x"], given["index"]
    dim = axis_of(given)
    space = tuple(var(f"s{k}", size) for k, size in enumerate(positions.shape))
    at = along(space, dim, wrapped(positions.at(space), x.shape[dim]))
    src = given.values.get("src")
    value = src.at(space) if src is not None else const(given["value"], x.ctype)
    how = "sum" if given.op.name == "scatter_add" else "set"
    return written(given.graph, x, how, at, cast(value, x.ctype), space)


def selected(given: Given) -> Array:
    """Lower `x.index_select(dim, index)`."""
    x, positions = given["x"], given["index"]
    dim = axis_of(given)
    flat = positions.at if positions.shape else (lambda _: positions.at(()))
    return given.map(
        lambda index: x.at(along(index, dim, wrapped(flat((index[dim],)), x.shape[dim])))
    )


def added(given: Given) -> Array:
    """Lower index_add, index_copy and index_fill."""
    x, positions = given["x"], given["index"]
    dim = axis_of(given)
    count = positions.shape[0] if positions.shape else 1
    sizes = along_sizes(x.shape, dim, count)
    space = tuple(var(f"s{k}", size) for k, size in enumerate(sizes))
    at = along(
        space, dim, wrapped(positions.at((space[dim],) if positions.shape else ()), x.shape[dim])
    )
    if "source" in given.values:
        value = cast(given["source"].at(space), x.ctype)
        value = apply("mul", value, const(given.values.get("alpha", 1), x.ctype))
    else:
        value = const(given["value"], x.ctype)
    how = "sum" if given.op.name == "index_add" else "set"
    return written(given.graph, x, how, at, value, space)


def along_sizes(shape: tuple[int, ...], dim: int, size: int) -> tuple[int, ...]:
    """Return a shape with another size along one axis."""
    return (*shape[:dim], size, *shape[dim + 1 :])


def looked_up(given: Given) -> Array:
    """Lower F.embedding."""
    weight, positions = given["weight"], given["index"]

    def entry(index: Index) -> Entry:
        return weight.at((wrapped(positions.at(index[:-1]), weight.shape[0]), index[-1]))

    return given.map(entry)


def taken(given: Given) -> Array:
    """Lower x.take(index)."""
    from handgrad.native.lower.expr import unravel

    x, positions = given["x"], given["index"]
    return given.map(lambda index: x.at(unravel(wrapped(positions.at(index), x.numel), x.shape)))


def part_written(given: Given) -> Array:
    """Lower slice_scatter and select_scatter."""
    x, src = given["x"], given["src"]
    dim = int(given["dim"]) % len(x.shape)
    size = x.shape[dim]
    if given.op.name == "select_scatter":
        part: Any = int(given["index"]) % size
    else:
        part = slice(given["start"], given["end"], given["step"])
    found = picked(given.graph, x.shape, (*[slice(None)] * dim, part))
    space = tuple(var(f"s{k}", n) for k, n in enumerate(src.shape))
    return written(given.graph, x, "set", found.at(space), cast(src.at(space), x.ctype), space)


def diagonal_written(given: Given) -> Array:
    """Lower diagonal_scatter."""
    x, src = given["x"], given["src"]
    rank = len(x.shape)
    first, second, offset = given["dim1"] % rank, given["dim2"] % rank, given["offset"]

    def entry(index: Index) -> Entry:
        at, inside = on_diagonal(index[first], index[second], offset, src.shape[-1])
        rest = tuple(i for k, i in enumerate(index) if k not in (first, second))
        return select(inside, cast(src.at((*rest, at)), x.ctype), x.at(index))

    return given.map(entry)


def embedded(given: Given) -> Array:
    """Lower diag_embed."""
    x, rank = given["x"], len(given.shape)
    first, second, offset = given["dim1"] % rank, given["dim2"] % rank, given["offset"]

    def entry(index: Index) -> Entry:
        at, on = on_diagonal(index[first], index[second], offset, x.shape[-1])
        rest = tuple(i for k, i in enumerate(index) if k not in (first, second))
        return select(on, x.at((*rest, at)), const(0, x.ctype))

    return given.map(entry)


def on_diagonal(row: Entry, column: Entry, offset: int, length: int) -> tuple[Entry, Entry]:
    """Return where on a diagonal a place of a matrix is, and whether it is on it."""
    at = summed((row, 1), (whole(min(offset, 0)), 1))
    on = apply("eq", summed((column, 1), (row, -1)), whole(offset))
    return at, both(on, within(at, 0, length))


def none_masked(given: Given) -> Array:
    """Refuse a mask as an index."""
    raise BadInput("a mask picks as many entries as it has set")


INDEXING = {
    "index": indexed,
    "index_add_put": put,
    "index_put": put,
    "gather": gathered,
    "take_along_dim": gathered,
    "scatter_add": scattered,
    "scatter": scattered,
    "scatter_value": scattered,
    "index_select": selected,
    "index_add": added,
    "index_copy": added,
    "index_fill": added,
    "embedding": looked_up,
    "embedding_padded": looked_up,
    "take": taken,
    "slice_scatter": part_written,
    "select_scatter": part_written,
    "diagonal_scatter": diagonal_written,
    "diag_embed": embedded,
    "mask_index": none_masked,
    "masked_select": none_masked,
}
__all__ = ["INDEXING", "operands", "stretched", "walk"]
