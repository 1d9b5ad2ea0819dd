"""Facts in words: what a name is the sum of, and over which dimension."""

from __future__ import annotations

from handgrad.simplify.coefficient import ONE, Coefficient, symbol
from handgrad.simplify.normal import Key, Poly, bound_count
from handgrad.simplify.ring import Ring
from handgrad.simplify.text import fraction_text

LONGEST = 40  # characters; a line of the program says more than a longer product in a sentence


def definition(ring: Ring, name: str, meaning: Poly) -> str:
    """Return `counts_sum is the sum of counts over dim 1`; empty where that is not what it is."""
    only = meaning.single
    if only is None:
        return ""
    found = reduced(ring, *only)
    if not found or len(found[1]) > LONGEST:
        return ""
    how, what, dim = found
    if name[0] == "^":
        return f"the forward pass has the {how} of {what} over dim {dim} itself"
    return f"{shown(ring, name)} is the {how} of {what} over dim {dim}"


def reduced(ring: Ring, key: Key, c: Coefficient) -> tuple[str, str, str] | None:
    """Return `sum` or `mean`, of what, over which dim; None for a product with more in it."""
    sizes = [(name[1:], at[0]) for (name, at), _ in key if name[0] == "#"]
    inside = tuple(f for f in key if f[0][0][0] != "#")
    if not sizes or any(max(at, default=-1) < 0 for (_, at), _ in inside):
        return None
    whole = c
    for size, _ in sizes:
        whole = whole * symbol(size)
    what = product(ring, inside)
    dims = [dim_of(inside, label) for _, label in sizes]
    if what is None or None in dims or ONE not in (c, whole):
        return None
    return "sum" if c == ONE else "mean", what, " and ".join(sorted(map(str, dims)))


def dim_of(key: Key, label: int) -> int | None:
    """Return the axis at which the factors have a label, None where they differ."""
    found = {at.index(label) for (_, at), _ in key if label in at}
    return found.pop() if len(found) == 1 else None


def product(ring: Ring, key: Key) -> str | None:
    """Return the factors of a monomial as text, None if one has none."""
    over, under = list[str](), list[str]()
    for (name, _), power in sorted(key, key=lambda f: f[0][0]):
        text = shown(ring, name)
        if not text:
            return None
        size = abs(power)
        if size != 1:
            text += f"**{fraction_text(size)}"  # type: ignore[arg-type]
        (over if power > 0 else under).append(text)
    return " / ".join([" * ".join(over) or "1", *under])


def shown(ring: Ring, name: str) -> str:
    """Return an atom's text, empty where it has none that is short."""
    if name.startswith("[one_hot "):
        return f"F.one_hot({ring.texts[name]})"
    if name in ring.texts:
        text = ring.texts[name]
        return text if text.isidentifier() else f"({text})"
    made = ring.made.get(name)
    if made is None or name in ring.called:
        return ring.called.get(name, name)
    inner = total(ring, made.of)
    if not inner:
        return ""
    if made.how == "sum":
        return inner if made.of.single else f"({inner})"
    plain = inner if inner.isidentifier() else f"({inner})"
    return f"{plain}.{made.how}()" if made.how in ("exp", "log") else made.how.format(inner)


def total(ring: Ring, poly: Poly) -> str:
    """Return a short sum as text, empty where that is not possible."""
    parts = ""
    for key, c in sorted(poly.terms.items(), key=lambda t: (t[1].negative, len(t[0]), t[0])):
        text = term(ring, key, -c if c.negative else c)
        if not text:
            return ""
        sign = "-" if c.negative else "+"
        parts += f" {sign} {text}" if parts else text if sign == "+" else "-" + text
    return parts


def term(ring: Ring, key: Key, c: Coefficient) -> str:
    """Return one term as text, empty where that is not possible."""
    if bound_count(key):
        found = reduced(ring, key, c)
        if not found:
            return ""
        how, what, dim = found
        return f"{what if what.isidentifier() else f'({what})'}.{how}({dim})"
    if c.number is None:
        return ""
    size = fraction_text(c.number)
    text = product(ring, key) if key else size
    return f"{size} * {text}" if text and key and c != ONE else text or ""
