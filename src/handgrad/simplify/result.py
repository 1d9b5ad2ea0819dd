"""Simplify a backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from handgrad.derive import Backward
from handgrad.derive.backward import verify
from handgrad.simplify.program import Reading
from handgrad.simplify.writing import Writing
from handgrad.threads import threads_for


@dataclass(frozen=True)
class Step:
    """One step of a derivation."""

    name: str
    before: str
    after: str
    because: str


@dataclass(frozen=True, repr=False)
class Simplified(Backward):
    """A backward pass in few lines."""

    steps: tuple[Step, ...] = ()
    facts: tuple[str, ...] = ()


def simplify(backward: Backward, *, without: Iterable[str] = (), form: str = "") -> Simplified:
    """Shorten a backward pass."""
    trace = backward.trace
    reading = Reading(backward, frozenset(without))
    reading.read()
    unit = not trace.given and trace.upstream.ndim == 0
    lines = Writing(reading, unit, form == "textbook").write()
    result = Simplified(trace, lines, backward.opaque, backward.start, facts=tuple(reading.facts.texts))
    with threads_for(trace.values.values()):
        verify_leaves(result)
    return result


def verify_leaves(result: Backward) -> None:
    got = result.run()
    for name, g in got.items():
        t = result.trace.grads[name[1:]]
        assert got[name].shape == t.shape, (name, got[name].shape)
        off = (got[name]-t).abs().max() if t.numel() else 0
        assert off <= 1e-4*max(1, float(t.abs().max())), (name, off)
