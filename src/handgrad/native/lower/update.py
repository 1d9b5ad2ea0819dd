"""An optimiser's arithmetic as arrays: what each parameter becomes, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handgrad.native.forms import slot
from handgrad.native.lower.array import Array, Graph
from handgrad.native.lower.expr import Entry, apply, axes_of, call, cast, const, hyper, var
from handgrad.native.lower.powers import power
from handgrad.native.lower.tree import rebuild
from handgrad.nn.optimisers import Optimiser

SMALL = 1e-6  # what torch.nn.utils.clip_grad_norm_ adds to the norm


@dataclass(frozen=True)
class Number:
    """An entry with Python's operators."""

    entry: Entry

    def __add__(self, other: Any) -> Number:
        return Number(apply("add", self.entry, self.like(other)))

    def __radd__(self, other: Any) -> Number:
        return Number(apply("add", self.like(other), self.entry))

    def __sub__(self, other: Any) -> Number:
        return Number(apply("sub", self.entry, self.like(other)))

    def __rsub__(self, other: Any) -> Number:
        return Number(apply("sub", self.like(other), self.entry))

    def __mul__(self, other: Any) -> Number:
        return Number(apply("mul", self.entry, self.like(other)))

    def __rmul__(self, other: Any) -> Number:
        return Number(apply("mul", self.like(other), self.entry))

    def __truediv__(self, other: Any) -> Number:
        return Number(apply("div", self.entry, self.like(other)))

    def __pow__(self, exponent: float) -> Number:
        return Number(power(self.entry, const(exponent, self.entry.ctype)))

    def like(self, other: Any) -> Entry:
        """Return another operand in this one's type."""
        if isinstance(other, Number):
            return cast(other.entry, self.entry.ctype)
        return const(other, self.entry.ctype)


@dataclass(frozen=True)
class Rule:
    """An optimiser with a limit on the gradients' norm.

    Attributes:
        clip: the greatest norm that all gradients together may have; None is any.
    """

    optimiser: Optimiser
    clip: float | None = None

    def __call__(
        self, graph: Graph, names: Mapping[str, Array], gradients: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Return what each parameter, and what is kept of it, becomes."""
        scale = None if self.clip is None else self.factor(graph, gradients)
        found: dict[str, Array] = {}
        for name, gradient in gradients.items():
            found |= self.one(graph, name, names[name], gradient, scale)
        return found

    def one(
        self, graph: Graph, name: str, p: Array, gradient: Array, scale: Array | None
    ) -> dict[str, Array]:
        """Return what one parameter, and what is kept of it, becomes."""
        index, memory = axes_of(p.shape), self.optimiser.memory
        kept = {k: graph.input(slot(name, k), p.shape, p.ctype) for k in memory}
        names = self.optimiser.numbers(1, self.optimiser.lr)
        g = Number(gradient.at(index))
        if scale is not None:
            g = g * Number(scale.at(()))
        p_next, kept_next = self.optimiser.update(
            Number(p.at(index)),
            g,
            {k: Number(array.at(index)) for k, array in kept.items()},
            {k: Number(hyper(k, p.ctype)) for k in names},
        )
        # what is kept is stored first, and the rest made of what was stored
        stored: dict[Entry, Entry] = {}
        fresh: dict[str, Array] = {}
        for k, number in kept_next.items():
            body = rebuild(number.entry, stored.get)
            fresh[slot(name, k)] = array = graph.map(p.shape, p.ctype, lambda _, e=body: e)
            stored[number.entry] = array.at(index)
        entry = rebuild(p_next.entry, stored.get)
        return {**fresh, name: graph.map(p.shape, p.ctype, lambda _: entry)}

    def factor(self, graph: Graph, gradients: Mapping[str, Array]) -> Array:
        """Return what gradients are multiplied with so that their norm is at most the limit."""
        total: Entry | None = None
        for gradient in gradients.values():
            index = tuple(var(f"q{k}", size) for k, size in enumerate(gradient.shape))
            entry = gradient.at(index)
            over = [i for i in index if i.op == "var"]
            square = apply("mul", entry, entry)
            part = graph.reduce("sum", square, [], over) if over else square
            total = part if total is None else apply("add", total, part)
        assert total is not None
        assert self.clip is not None
        ctype = total.ctype
        below = apply("add", call("sqrt", total), const(SMALL, ctype))
        factor = apply("div", const(self.clip, ctype), below)
        return graph.map((), ctype, lambda _: apply("min", factor, const(1, ctype)))
