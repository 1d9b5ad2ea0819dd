"""Whether lines give autograd's gradients, and how far apart rounding may put equal ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from types import CodeType
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive.backward import Backward, BackwardLine, names_in_text
from handgrad.errors import Mismatch
from handgrad.ir import Call, Expr, Item, names, walk
from handgrad.trace.gradients import Gradients, InTurn, largest, pieces, reach_of

TOLERANCE = 2000  # in units of the dtype's eps, of the largest magnitude involved
DRAWS = 4
ROOM = 100  # how much further than a move of the last digits rounding may carry a value


class Rounding:
    """How far rounding may carry each cotangent: as a move of the last digit of all that flows in.

    Where summands cancel, what is left is rounding alone: no part of its own magnitude bounds it.
    """

    def __init__(self, backward: Backward, scope: Mapping[str, Any] | None = None) -> None:
        self.backward = backward
        self.scope = values_of(backward) if scope is None else scope
        self.eps = torch.finfo(self.scope[backward.start].dtype).eps

    @cached_property
    def reach(self) -> dict[str, float]:
        """Return by name how far a cotangent of these lines may be from an equal one."""
        return self.apart(self.run)

    @cached_property
    def of_autograd(self) -> dict[str, float]:
        """Return by name how far autograd's own may be, which cancels in other places."""
        return self.apart(self.run_autograd)

    def apart(self, run: Callable[..., dict[str, torch.Tensor]]) -> dict[str, float]:
        """Return by name how far results are moved when the last digits are."""
        back = (each.line.expr for each in self.backward.lines)
        still = exact([*back, *(line.expr for line in self.backward.trace.lines)])
        base = run(None, still)
        found = dict.fromkeys(base, 0.0)
        for seed in range(DRAWS):
            moved = run(torch.Generator().manual_seed(seed), still)
            for name, value in base.items():
                found[name] = max(found[name], largest(moved[name] - value))
        return {name: ROOM * far for name, far in found.items()}

    @cached_property
    def compiled(self) -> list[tuple[BackwardLine, CodeType]]:
        """Return the lines with their code: they run several times."""
        lines = self.backward.lines
        return [(each, compile(each.line.text, "<backward>", "exec")) for each in lines]

    def run(self, generator: torch.Generator | None, still: set[str]) -> dict[str, torch.Tensor]:
        """Run the lines, the last digits of every value moved unless there is no generator."""
        scope = self.moved(self.scope, generator, still)
        with torch.no_grad():
            for each, code in self.compiled:
                exec(code, scope)
                made = {each.name: scope[each.name]}
                scope |= self.moved(made, generator, still)
        return {each.name: scope[each.name] for each in self.backward.lines if each.primal}

    def run_autograd(
        self, generator: torch.Generator | None, still: set[str]
    ) -> dict[str, torch.Tensor]:
        """Let autograd run the forward lines, the last digits of what each reads moved."""
        trace = self.backward.trace
        values = self.moved(trace.values, generator, still)
        grads = Gradients(trace.program, values, trace.upstream, tuple(trace.grads), 0.0)
        return {"d" + name: grad for name, grad in grads.in_turn()}

    def moved(
        self, values: Mapping[str, Any], generator: torch.Generator | None, still: set[str]
    ) -> dict[str, Any]:
        """Return values with their last digits moved, unless there is no generator."""
        found = dict(values)
        for name, value in values.items() if generator is not None else ():
            if isinstance(value, torch.Tensor) and name not in still and value.is_floating_point():
                by = torch.randn(value.shape, generator=generator, dtype=torch.float64)
                found[name] = (value * (1 + 2 * self.eps * by)).to(value)
        return found


def values_of(backward: Backward) -> dict[str, Any]:
    """Return what the lines of a backward pass may read."""
    trace = backward.trace
    program = trace.program
    found = {"torch": torch, "F": F, **program.scalars, **program.externals, **trace.values}
    return {**found, backward.start: trace.upstream}


def exact(exprs: Iterable[Expr]) -> set[str]:
    """Return the names that are compared or picked by: there the last digit decides."""
    found: set[str] = set()
    for expr in exprs:
        for node in walk(expr):
            picks = isinstance(node, Item) or (isinstance(node, Call) and node.op.several)
            if picks or not node.dtype.is_floating_point:
                found |= set(names(node))
    return found


def verify(
    backward: Backward, only: Collection[str] | None = None, before: Backward | None = None
) -> None:
    """Run a backward pass and compare every cotangent with autograd's.

    Args:
        backward: the backward pass.
        only: the primals whose cotangents must be there; by default all that have one.
        before: the longer backward pass that it stands for, which says what cancels in it.

    Raises:
        Mismatch: one differs, in shape, dtype or value.
    """
    trace = backward.trace
    without = (
        set(trace.grads if only is None else only)
        - {trace.output}
        - {each.primal for each in backward.lines}
    )
    if without:
        name = min(without)
        raise Mismatch(
            f"no line was written for d{name}, and autograd has a gradient for it",
            hint="report this forward pass: it is a bug in the sweep",
        )
    reach = reach_of(trace.grads)
    rounding = Rounding(before or backward)
    truths = InTurn(trace.grads)
    for each, mine in in_turn(backward):
        compare(each, mine, truths.take(each.primal), reach, rounding)
        del mine  # while the next is made


def compare(
    each: BackwardLine, mine: torch.Tensor, truth: torch.Tensor, reach: float, rounding: Rounding
) -> None:
    """Compare a cotangent with autograd's.

    Raises:
        Mismatch: it differs.
    """
    if mine.shape != truth.shape or mine.dtype != truth.dtype:
        raise mismatch(each, f"{list(mine.shape)} {mine.dtype}", truth)
    if truth.numel() == 0:
        return
    share = 1e-2 if truth.dtype == torch.float64 else 1e-3
    scale = max(largest(truth), share * reach)
    off = apart(mine, truth)
    close = off <= TOLERANCE * torch.finfo(truth.dtype).eps * scale
    close = close or off <= rounding.reach.get(each.name, 0.0)
    if not close and not off <= rounding.of_autograd.get(each.name, 0.0):
        raise mismatch(each, f"maxdiff {off:.3g}", truth)


def in_turn(backward: Backward) -> Iterator[tuple[BackwardLine, torch.Tensor]]:
    """Run the lines; yield each cotangent, and hold none that no later line reads."""
    read = [set(names_in_text(each.line.text)) for each in backward.lines]
    last = {name: place for place, some in enumerate(read) for name in some}
    scope = values_of(backward)
    for place, each in enumerate(backward.lines):
        with torch.no_grad():
            exec(compile(each.line.text, "<backward>", "exec"), scope)
        made = scope[each.name]
        for name in (*read[place], each.name):
            if last.get(name, -1) <= place:
                scope.pop(name, None)
        if each.primal:
            yield each, made
        del made


def apart(mine: torch.Tensor, truth: torch.Tensor) -> float:
    """Return how far two gradients are apart where autograd's is a number: it has 0/0 elsewhere."""
    found = 0.0
    for one, other in pieces(mine, truth):
        if torch.equal(one, other):
            continue
        number = ~other.isnan() & (one != other)
        differences = (one - other)[number].abs()
        off = float(differences.max()) if differences.numel() else 0.0
        if math.isnan(off):
            return off
        found = max(found, off)
    return found


def mismatch(each: BackwardLine, found: str, truth: torch.Tensor) -> Mismatch:
    """Say which line is not autograd's gradient."""
    return Mismatch(
        f"the derived {each.name} is not autograd's gradient",
        why=f"{each.line.text}\nfound {found}; autograd has {list(truth.shape)} {truth.dtype}",
        hint="report this forward line: it is a bug in a rule",
    )
