"""Entries as expressions: what one entry of an array is, in terms of loop variables and reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

INT, BOOL = "int64_t", "bool"
RANKS = {BOOL: 0, "uint8_t": 1, "int8_t": 1, "int16_t": 2, "int32_t": 3, INT: 4}
RANKS |= {"float": 5, "double": 6}
COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
FOLDS: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
}

_made: WeakValueDictionary[Any, Entry] = WeakValueDictionary()
_count = 0


class Entry:
    """One node; equal nodes are one object, so that comparing them is comparing identities.

    Attributes:
        op: const, var, hyper, read, lin (a whole number's sum of multiples), or an operation.
        args: its operands; for const, var, hyper and read what they name.
        ctype: the C type of its value.
        order: a number that grows, to list operands in an order that is the same on every run.
    """

    __slots__ = ("__weakref__", "args", "ctype", "op", "order")
    op: str
    args: tuple[Any, ...]
    ctype: str
    order: int

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self.args))
        return f"{self.op}({inside})"


Index: TypeAlias = "tuple[Entry, ...]"


def make(op: str, args: tuple[Any, ...], ctype: str) -> Entry:
    """Return the node with these parts, the same object each time."""
    global _count
    key = (op, ctype, *((type(a), a, math.copysign(1, a)) if op == "const" else a for a in args))
    found = _made.get(key)
    if found is None:
        found = Entry()
        found.op, found.args, found.ctype = op, args, ctype
        _count += 1
        found.order = _count
        _made[key] = found
    return found


def is_float(ctype: str) -> bool:
    """Tell whether a C type is a floating-point type."""
    return ctype in ("float", "double")


def const(value: float, ctype: str) -> Entry:
    """Return a number; as text in C it has the precision of its type."""
    plain = float(value) if is_float(ctype) else int(value)
    return make("const", (plain,), ctype)


def whole(value: int) -> Entry:
    """Return a whole number."""
    return const(value, INT)


def var(name: str, size: int) -> Entry:
    """Return a loop variable, which runs from 0 to size - 1; of one entry it is 0."""
    return make("var", (name, size), INT) if size != 1 else whole(0)


def axis(place: int, size: int) -> Entry:
    """Return the variable of an array's axis."""
    return var(f"i{place}", size)


def axes_of(shape: tuple[int, ...]) -> tuple[Entry, ...]:
    """Return the variables of all axes of a shape."""
    return tuple(axis(place, size) for place, size in enumerate(shape))


def is_const(entry: Entry, value: float | None = None) -> bool:
    """Tell whether an entry is a number, or this number."""
    return entry.op == "const" and (value is None or entry.args[0] == value)


# whole numbers: sums of multiples, so that positions simplify by themselves


def terms(entry: Entry) -> tuple[int, dict[Entry, int]]:
    """Return a whole number as a constant and multiples of what is no sum."""
    if entry.op == "const":
        return int(entry.args[0]), {}
    if entry.op == "lin":
        return entry.args[0], dict(entry.args[1])
    return 0, {entry: 1}


def lin(constant: int, parts: Mapping[Entry, int]) -> Entry:
    """Return a sum of multiples in its one form."""
    kept = recombined({part: times for part, times in parts.items() if times})
    if not kept:
        return whole(constant)
    if constant == 0 and len(kept) == 1:
        ((part, times),) = kept.items()
        if times == 1:
            return part
    ordered = tuple(sorted(kept.items(), key=lambda pair: pair[0].order))
    return make("lin", (constant, ordered), INT)


def recombined(parts: dict[Entry, int]) -> dict[Entry, int]:
    """Join `x // d * d + x % d` to `x`, and what is like it inside a larger remainder."""
    for part, times in list(parts.items()):
        if part.op != "mod":
            continue
        x, d = part.args
        quotient = floordiv(x, d)
        if quotient in parts and parts[quotient] == times * d:
            rest = {p: t for p, t in parts.items() if p not in (part, quotient)}
            return recombined(plus(rest, x, times))
        for other, there in parts.items():
            if other.op == "mod" and other.args[0] is quotient and there == times * d:
                rest = {p: t for p, t in parts.items() if p not in (part, other)}
                return recombined(plus(rest, mod(x, d * other.args[1]), times))
    return parts


def plus(parts: dict[Entry, int], entry: Entry, times: int) -> dict[Entry, int]:
    """Return multiples with those of an entry added; it has no constant."""
    constant, more = terms(entry)
    if constant:
        more = {entry: 1}
    found = dict(parts)
    for part, count in more.items():
        found[part] = found.get(part, 0) + times * count
    return {p: t for p, t in found.items() if t}


def summed(*pairs: tuple[Entry, int]) -> Entry:
    """Return the sum of multiples of whole numbers."""
    constant, parts = 0, {}
    for entry, times in pairs:
        if entry.ctype != INT:
            entry = cast(entry, INT)
        own, more = terms(entry)
        constant += times * own
        for part, count in more.items():
            parts[part] = parts.get(part, 0) + times * count
    return lin(constant, parts)


def bounds(entry: Entry) -> tuple[float, float]:
    """Return the least and greatest value that a whole number can have."""
    if entry.op == "const":
        return entry.args[0], entry.args[0]
    if entry.op == "var":
        return 0, entry.args[1] - 1
    if entry.op == "mod":
        return 0, entry.args[1] - 1
    if entry.op == "floordiv":
        low, high = bounds(entry.args[0])
        return low // entry.args[1], high // entry.args[1]
    if entry.op == "select":
        (a, b), (c, d) = bounds(entry.args[1]), bounds(entry.args[2])
        return min(a, c), max(b, d)
    if entry.op == "wrap":
        return 0, entry.args[1] - 1
    if entry.op == "lin":
        low = high = entry.args[0]
        for part, times in entry.args[1]:
            ends = [times * end for end in bounds(part)]
            low, high = low + min(ends), high + max(ends)
        return low, high
    return -math.inf, math.inf


def floordiv(entry: Entry, by: int) -> Entry:
    """Return the quotient, rounded down, by a positive number."""
    if by == 1:
        return entry
    constant, parts = terms(entry)
    whole_part = {part: times // by for part, times in parts.items() if times % by == 0}
    rest = {part: times for part, times in parts.items() if times % by}
    inner = lin(constant % by, rest)
    low, high = bounds(inner)
    if low >= 0 and high < by:
        return lin(constant // by, whole_part)
    if (found := coarse(inner, by)) is not None:
        times, large, _ = found
        return lin(constant // by, plus(whole_part, floordiv(large, by // times), 1))
    if inner.op == "floordiv":
        x, inside = inner.args
        return lin(constant // by, plus(whole_part, make("floordiv", (x, inside * by), INT), 1))
    return lin(constant // by, plus(whole_part, make("floordiv", (inner, by), INT), 1))


def coarse(entry: Entry, by: int) -> tuple[int, Entry, Entry] | None:
    """Return g, A and c where an entry is g * A + c with 0 <= c < g, and g divides `by`."""
    constant, parts = terms(entry)
    for times in sorted({math.gcd(t, by) for t in parts.values()}, reverse=True):
        if times in (1, by):
            continue
        large = {p: t // times for p, t in parts.items() if t % times == 0}
        small = lin(constant % times, {p: t for p, t in parts.items() if t % times})
        low, high = bounds(small)
        if large and low >= 0 and high < times:
            return times, lin(constant // times, large), small
    return None


def mod(entry: Entry, by: int) -> Entry:
    """Return the remainder, never negative, of a division by a positive number."""
    if by == 1:
        return whole(0)
    constant, parts = terms(entry)
    inner = lin(constant % by, {p: t % by for p, t in parts.items()})
    low, high = bounds(inner)
    if low < 0 or high >= by:  # the multiples may be smaller as they were
        inner = lin(constant % by, {p: t for p, t in parts.items() if t % by})
        low, high = bounds(inner)
    if low >= 0 and high < by:
        return inner
    if inner.op == "mod" and inner.args[1] % by == 0:
        return mod(inner.args[0], by)
    if (found := coarse(inner, by)) is not None:
        times, large, small = found
        return summed((mod(large, by // times), times), (small, 1))
    return make("mod", (inner, by), INT)


def ravel(index: Index, shape: tuple[int, ...]) -> Entry:
    """Return the position in row-major order of an index into a shape."""
    step, pairs = 1, []
    for entry, size in zip(reversed(index), reversed(shape), strict=True):
        pairs.append((entry, step))
        step *= size
    return summed(*pairs)


def unravel(position: Entry, shape: tuple[int, ...]) -> Index:
    """Return the index into a shape that stands at a position in row-major order."""
    step = math.prod(shape)
    if step == 0:
        return tuple(whole(0) for _ in shape)  # there is no entry, so no place is read
    found: list[Entry] = []
    for place, size in enumerate(shape):
        step //= size
        part = floordiv(position, step)
        found.append(part if place == 0 else mod(part, size))
    if shape and shape[0] == 1:
        found[0] = whole(0)
    return tuple(found)


# values


def join(a: str, b: str) -> str:
    """Return the type that two types are computed in."""
    return a if RANKS[a] >= RANKS[b] else b


def cast(entry: Entry, ctype: str) -> Entry:
    """Return an entry in another type."""
    if entry.ctype == ctype:
        return entry
    if entry.op == "const":
        value = entry.args[0]
        if ctype == BOOL:
            return const(value != 0, BOOL)
        if is_float(ctype) or math.isfinite(value):
            return const(value, ctype)
    return make("cast", (entry,), ctype)


def apply(op: str, *operands: Entry) -> Entry:
    """Return an operation on entries of any types: they are brought to one type first."""
    ctype = operands[0].ctype
    for operand in operands[1:]:
        ctype = join(ctype, operand.ctype)
    if ctype == BOOL and op in ("add", "sub", "mul", "neg", "max", "min"):
        ctype = INT
    same = tuple(cast(operand, ctype) for operand in operands)
    if op in COMPARES:
        if all(e.op == "const" for e in same):
            return const(COMPARES[op](*(e.args[0] for e in same)), BOOL)
        return decided(op, same) or make(op, same, BOOL)
    if op in FOLDS and all(e.op == "const" for e in same):
        return const(FOLDS[op](*(e.args[0] for e in same)), ctype)
    if ctype == INT and op in ("add", "sub", "neg", "mul"):
        return whole_operation(op, same)
    return simplified(op, same, ctype)


def decided(op: str, same: tuple[Entry, ...]) -> Entry | None:
    """Return what a comparison of whole numbers always is, if that is known."""
    if same[0].ctype != INT or op not in ("lt", "ge", "eq"):
        return None
    low, high = bounds(summed((same[0], 1), (same[1], -1)))
    if op in ("lt", "ge") and (high < 0 or low >= 0):
        return const((high < 0) == (op == "lt"), BOOL)
    if op == "eq" and (low > 0 or high < 0 or low == high == 0):
        return const(low == high == 0, BOOL)
    return None


def whole_operation(op: str, same: tuple[Entry, ...]) -> Entry:
    """Return a sum, difference or product of whole numbers."""
    if op == "neg":
        return summed((same[0], -1))
    if op == "add":
        return summed((same[0], 1), (same[1], 1))
    if op == "sub":
        return summed((same[0], 1), (same[1], -1))
    for a, b in (same, same[::-1]):
        if a.op == "const":
            return summed((b, int(a.args[0])))
    return make("mul", same, INT)


def simplified(op: str, same: tuple[Entry, ...], ctype: str) -> Entry:
    """Return an operation without what changes nothing."""
    if op == "add" and is_const(same[0], 0):
        return same[1]
    if op in ("add", "sub") and is_const(same[1], 0):
        return same[0]
    if op == "mul" and is_const(same[0], 1):
        return same[1]
    if op in ("mul", "div") and is_const(same[1], 1):
        return same[0]
    if op == "div" and same[0].op == "mul" and same[1].op == "const" and is_float(ctype):
        divisor = same[1].args[0]  # products are rounded anyway, and division is slow
        if 1e-30 < abs(divisor) < 1e30:
            return make("mul", (same[0], const(1 / divisor, ctype)), ctype)
    if op == "neg" and same[0].op == "neg":
        return same[0].args[0]
    if op == "div" and all(e.op == "const" for e in same) and same[1].args[0] != 0:
        return const(same[0].args[0] / same[1].args[0], ctype)
    if op == "and" and ctype == BOOL:
        for a, b in (same, same[::-1]):
            if a.op == "const":
                return b if a.args[0] else a
    return make(op, same, ctype)


def select(condition: Entry, a: Entry, b: Entry) -> Entry:
    """Return one of two entries."""
    ctype = join(a.ctype, b.ctype)
    a, b = cast(a, ctype), cast(b, ctype)
    condition = condition if condition.ctype == BOOL else apply("ne", condition, whole(0))
    if condition.op == "const":
        return a if condition.args[0] else b
    return a if a is b else make("select", (condition, a, b), ctype)


def both(*conditions: Entry) -> Entry:
    """Return whether all conditions hold."""
    found = const(True, BOOL)
    for condition in conditions:
        found = apply("and", found, condition)
    return found


def within(entry: Entry, low: int, high: int) -> Entry:
    """Return whether a whole number is at least low and less than high."""
    return both(apply("ge", entry, whole(low)), apply("lt", entry, whole(high)))


def call(function: str, *operands: Entry) -> Entry:
    """Return a function of one type, such as exp."""
    return make(function, operands, operands[0].ctype)


def hyper(name: str, ctype: str) -> Entry:
    """Return a number that each step is given anew, such as the learning rate."""
    return make("hyper", (name,), ctype)
