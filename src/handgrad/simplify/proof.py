"""A last look at every line before it is kept: run it beside what it stands for, at two sizes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive import BackwardLine
from handgrad.derive.verify import Rounding
from handgrad.simplify.program import Reading
from handgrad.simplify.sized import elsewhere
from handgrad.threads import threads_for

TOLERANCE = 4000  # in units of the dtype's eps, of the largest magnitude involved


class Proof:
    """The values of a backward pass, its own and some at other sizes, to compare lines with."""

    def __init__(self, reading: Reading) -> None:
        backward, trace = reading.backward, reading.backward.trace
        self.scope: dict[str, Any] = {"torch": torch, "F": F, **trace.program.scalars}
        self.scope |= trace.values
        self.scope[backward.start] = trace.upstream
        with torch.no_grad(), threads_for(trace.values.values()):
            exec(compile(backward.source, "<backward>", "exec"), self.scope)
        values = (self.scope[each.name] for each in backward.lines if each.primal)
        self.reach = max((float(v.abs().max()) for v in values if v.numel()), default=0.0)
        self.rounding = Rounding(backward)
        self.other = elsewhere(reading)

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
        return all(self.other.same(scope[name], self.other.scope[name]) for name in names)

    def same(self, name: str, mine: torch.Tensor) -> bool:
        """Tell whether a value is right but for rounding; where the truth is NaN, all is."""
        truth = self.scope[name]
        if mine.shape != truth.shape or mine.dtype != truth.dtype:
            return False
        known = truth.isfinite()
        if not bool(known.any()):
            return True
        mine, truth = mine[known], truth[known]
        scale = max(float(truth.abs().max()), 1e-3 * self.reach)
        off = float((mine - truth).abs().max())
        close = off <= TOLERANCE * torch.finfo(truth.dtype).eps * scale
        return close or off <= self.rounding.reach.get(name, 0.0)
