"""A last look at every line before it is kept: run it beside what it stands for, at two sizes."""

from __future__ import annotations

import torch

from handgrad.derive import BackwardLine
from handgrad.derive.verify import Rounding, values_of
from handgrad.simplify.program import Reading
from handgrad.simplify.sized import elsewhere
from handgrad.threads import threads_for

TOLERANCE = 200  # in units of the dtype's eps: a tenth of what `verify` allows a whole pass


class Proof:
    """The values of a backward pass, its own and some at other sizes, to compare lines with."""

    def __init__(self, reading: Reading) -> None:
        backward, trace = reading.backward, reading.backward.trace
        self.scope = values_of(backward)
        self.rounding = Rounding(backward, dict(self.scope))
        with torch.no_grad(), threads_for(trace.values.values()):
            exec(compile(backward.source, "<backward>", "exec"), self.scope)
        values = (self.scope[each.name] for each in backward.lines if each.primal)
        self.reach = max((float(v.abs().max()) for v in values if v.numel()), default=0.0)
        self.other = elsewhere(reading)
        if self.other is not None:
            self.rounding_elsewhere = Rounding(backward, self.other.scope)

    def holds(self, lines: list[BackwardLine]) -> bool:
        """Tell whether lines give what the backward pass has by these names."""
        scope = dict(self.scope)
        source = "\n".join(each.line.text for each in lines)
        try:
            with torch.no_grad():
                exec(compile(source, "<lines>", "exec"), scope)
        except RuntimeError:
            return False
        return all(
            self.same(each.name, scope[each.name]) for each in lines
        ) and self.holds_elsewhere(source, [each.name for each in lines])

    def holds_elsewhere(self, source: str, names: list[str]) -> bool:
        """Tell whether lines hold at other sizes too, if the program runs at any."""
        if self.other is None:
            return True
        scope = dict(self.other.scope)
        try:
            with torch.no_grad():
                exec(compile(source, "<lines>", "exec"), scope)
        except (RuntimeError, IndexError):  # a size of today stands in them
            return False
        return all(self.same_elsewhere(name, scope[name]) for name in names)

    def same(self, name: str, mine: torch.Tensor) -> bool:
        """Tell whether a value is right but for rounding; where the truth is NaN, all is."""
        truth = self.scope[name]
        if mine.shape != truth.shape or mine.dtype != truth.dtype:
            return False
        off = apart(mine, truth)
        scale = max(largest(truth), 1e-3 * self.reach)
        close = off <= TOLERANCE * torch.finfo(truth.dtype).eps * scale
        return close or off <= self.rounding.reach.get(name, 0.0)

    def same_elsewhere(self, name: str, mine: torch.Tensor) -> bool:
        """Tell the same at other sizes."""
        assert self.other is not None
        truth = self.other.scope[name]
        if self.other.same(mine, truth):
            return True
        far = self.rounding_elsewhere.reach.get(name, 0.0)
        return mine.shape == truth.shape and apart(mine, truth) <= far


def apart(mine: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the largest difference where the truth is finite."""
    known = truth.isfinite()
    return largest((mine - truth)[known]) if bool(known.any()) else 0.0


def largest(value: torch.Tensor) -> float:
    """Return the largest magnitude among what is finite, NaN if there is one."""
    found = value[~value.isinf()].abs()
    return float(found.max()) if found.numel() else 0.0
