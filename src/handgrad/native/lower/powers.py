"""Powers and remainders of entries, spelled in cheaper operations where they are exact enough."""

from __future__ import annotations

from handgrad.native.lower.expr import Entry, apply, call, cast, const, is_float, join, make

SMALL = 8  # whole powers up to this are products


def power(x: Entry, exponent: Entry) -> Entry:
    """Return a power."""
    if exponent.op == "const" and (is_float(x.ctype) or exponent.args[0] >= 0):
        found = by_products(x, float(exponent.args[0]))
        if found is not None:
            return found
    ctype = join(x.ctype, exponent.ctype)
    ctype = ctype if is_float(ctype) else "double"
    return make("pow", (cast(x, ctype), cast(exponent, ctype)), ctype)


def by_products(x: Entry, exponent: float) -> Entry | None:
    """Return a power by products, quotients and roots, if it is one of the common ones."""
    one = const(1, x.ctype)
    if exponent < 0 and is_float(x.ctype):
        positive = by_products(x, -exponent)
        return None if positive is None else apply("div", one, positive)
    if exponent == int(exponent) and exponent <= SMALL:
        return product(x, int(exponent))
    if exponent in (0.5, 1.5, 2.5) and is_float(x.ctype):
        root = call("sqrt", x)
        return root if exponent == 0.5 else apply("mul", product(x, int(exponent)), root)
    return None


def product(x: Entry, times: int) -> Entry:
    """Return x multiplied with itself."""
    if times == 0:
        return const(1, x.ctype)
    if times == 1:
        return x
    half = product(x, times // 2)
    square = apply("mul", half, half)
    return apply("mul", square, x) if times % 2 else square


def remainder(x: Entry, by: Entry) -> Entry:
    """Return the remainder with the sign of the divisor, as Python has it."""
    ctype = join(x.ctype, by.ctype)
    return make("remainder", (cast(x, ctype), cast(by, ctype)), ctype)
