"""Greatest, smallest, first of them, running sums, and other reductions without an equation."""

from __future__ import annotations

from typing import Any

from handgrad.errors import BadInput
from handgrad.native.lower.array import Array
from handgrad.native.lower.expr import (
    INT,
    Entry,
    Index,
    apply,
    axes_of,
    call,
    cast,
    const,
    is_float,
    make,
    select,
    unravel,
    var,
    whole,
)
from handgrad.native.lower.patterns.given import Given
from handgrad.ops.words import axes


def over_axes(given: Given, x: Array, dim: Any) -> tuple[Index, list[Entry], list[Entry]]:
    """Return where x is read, the variables that stay and those that go, for axes to reduce."""
    taken = axes(dim, len(x.shape))
    keep = given.values.get("keepdim", False)
    shape = given.outputs[0][0]
    own = iter(axes_of(shape))
    index: list[Entry] = []
    over: list[Entry] = []
    for place, size in enumerate(x.shape):
        if place in taken:
            index.append(var(f"q{place}", size))
            over.append(index[-1])
            if keep:
                next(own)
        else:
            index.append(next(own))
    free = [i for i in axes_of(shape) if i.op == "var"]
    return tuple(index), free, [v for v in over if v.op == "var"]


def reduced(given: Given, how: str, x: Array, body: Any, dim: Any) -> Array:
    """Return a reduction of the entries that `body` makes of x's."""
    index, free, over = over_axes(given, x, dim)
    entry = body(x.at(index))
    found = given.graph.reduce(how, entry, free, over) if over else entry
    if how.startswith("arg") and not over:
        found = whole(0)
    shape = given.outputs[0][0]
    if found.op == "read" and found.args[0].shape == shape and found.args[1] == axes_of(shape):
        return found.args[0]
    return given.graph.map(shape, found.ctype, lambda _: found)


def extreme(given: Given) -> tuple[Array, Array]:
    """Lower x.max(dim) and x.min(dim): values and indices."""
    x, how = given["x"], given.op.name[:3]
    values = reduced(given, how, x, lambda e: e, given["dim"])
    indices = reduced(given, f"arg{how}", x, lambda e: e, given["dim"])
    return values, indices


def place_of(given: Given) -> Array:
    """Lower argmax and argmin."""
    x, how = given["x"], given.op.name
    if given["dim"] is not None or len(x.shape) < 2:
        return reduced(given, how, x, lambda e: e, given["dim"])
    flat = given.graph.map((x.numel,), x.ctype, lambda i: x.at(unravel(i[0], x.shape)))
    return reduced(given, how, flat, lambda e: e, 0)


def held(given: Given) -> Array:
    """Lower any, all and count_nonzero."""
    name = given.op.name

    def flag(entry: Entry) -> Entry:
        off = name == "all"
        return cast(apply("eq" if off else "ne", entry, const(0, entry.ctype)), INT)

    total = reduced(given, "sum", given["x"], flag, given["dim"])
    if name == "count_nonzero":
        return given.map(total.at)
    test = "eq" if name == "all" else "ne"
    return given.map(lambda index: apply(test, total.at(index), whole(0)))


def running(given: Given) -> Array:
    """Lower cumsum and cumprod."""
    x = given["x"]
    if not x.shape:
        return given.map(lambda _: x.at(()))
    return given.graph.array(
        shape=given.shape,
        ctype=given.ctype,
        kind="scan",
        body=cast(x.at(axes_of(x.shape)), given.ctype),
        how=given.op.name.removeprefix("cum"),
        over=(int(given["dim"]) % len(x.shape),),
    )


def without_nan(given: Given) -> Array:
    """Lower nan_to_num."""
    x = given["x"]
    most = {"float": 3.4028234663852886e38, "double": 1.7976931348623157e308}
    if not is_float(x.ctype):
        return given.map(x.at)
    high = most[x.ctype] if given["posinf"] is None else given["posinf"]
    low = -most[x.ctype] if given["neginf"] is None else given["neginf"]

    def entry(index: Index) -> Entry:
        e = x.at(index)
        ends = select(apply("gt", e, const(0, x.ctype)), const(high, x.ctype), const(low, x.ctype))
        finite = select(make("isinf", (e,), "bool"), ends, e)
        return select(make("isnan", (e,), "bool"), const(given["nan"], x.ctype), finite)

    return given.map(entry)


def whole_of(given: Given) -> Array:
    """Lower x.to(a whole type)."""
    x = given["x"]
    return given.map(lambda index: cast(x.at(index), given.ctype))


def times_log(given: Given) -> Array:
    """Lower xlogy: 0 where the factor is 0, whatever the logarithm is."""
    a, b = given["a"], given["b"]

    def read(operand: Any, index: Index) -> Entry:
        if not isinstance(operand, Array):
            return const(operand, given.ctype)
        own = index[len(index) - len(operand.shape) :]
        return cast(operand.at(own), given.ctype)

    def entry(index: Index) -> Entry:
        left, right = read(a, index), read(b, index)
        product = apply("mul", left, call("log", right))
        none = select(make("isnan", (right,), "bool"), right, const(0, given.ctype))
        return select(apply("eq", left, const(0, given.ctype)), none, product)

    return given.map(entry)


def one_hot(given: Given) -> Array:
    """Lower F.one_hot.

    Raises:
        BadInput: the number of classes is left to the data.
    """
    x = given["x"]
    if given["num_classes"] < 0:
        raise BadInput("the number of classes is left to the data")
    return given.map(lambda index: cast(apply("eq", x.at(index[:-1]), index[-1]), given.ctype))


def rounded(given: Given) -> Array:
    """Lower round to whole numbers or decimals."""
    x, places = given["x"], given["decimals"]
    if not is_float(x.ctype):
        return given.map(x.at)
    scale = const(10.0 ** abs(places), x.ctype)
    there, back = ("mul", "div") if places >= 0 else ("div", "mul")
    return given.map(
        lambda index: apply(back, call("rint", apply(there, x.at(index), scale)), scale)
    )


CHOICE = {
    "max_dim": extreme,
    "min_dim": extreme,
    "argmax": place_of,
    "argmin": place_of,
    "any": held,
    "all": held,
    "count_nonzero": held,
    "cumsum": running,
    "cumprod": running,
    "nan_to_num": without_nan,
    "to_whole": whole_of,
    "xlogy": times_log,
    "xlogy_number": times_log,
    "one_hot": one_hot,
    "round": rounded,
}
