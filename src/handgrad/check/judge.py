"""Judge each gradient of a backward pass alone, with random cotangents in float64."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import CodeType
from typing import Any

import torch

from handgrad.check.branches import one_sided, with_far_points
from handgrad.check.reference import Point, points
from handgrad.check.run import Write, error_text
from handgrad.check.runner import Here, Runner, scope_at
from handgrad.check.scale import in_double, summand_size
from handgrad.check.statements import Statement
from handgrad.check.wide import FINE, SHAKE, Shaking, jumps, shaken
from handgrad.derive import Backward, derive
from handgrad.errors import HandgradError
from handgrad.trace import Trace

TINY = torch.finfo(torch.float64).tiny  # below it float64 has fewer digits
EXACT = 1e-9  # of the gradient's largest entry, in float64


@dataclass(eq=False)
class Local:
    """One gradient computed alone, at every point.

    Attributes:
        name: the primal.
        slice: places of the statements that make it from other gradients.
        cuts: the primals whose cotangents it really uses.
        values: what the statements give, a tensor for each point; None where they failed.
        expected: the VJP through the cuts, for each point.
        full: the whole gradient: through the cuts and every path past them.
        error: what was raised.
        noise: for each point, how far the value moves when the last bits of what it reads change.
    """

    name: str
    slice: tuple[int, ...]
    cuts: frozenset[str] = frozenset()
    values: list[torch.Tensor] = field(default_factory=list)
    expected: list[torch.Tensor] = field(default_factory=list)
    full: list[torch.Tensor] = field(default_factory=list)
    error: str = ""
    noise: list[float] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Tell whether the values are the whole gradient."""
        return not self.error and self.equals(self.full)

    @property
    def partial(self) -> bool:
        """Tell whether the values are right for the paths they use, and some path is missing."""
        return not self.error and not self.right and self.equals(self.expected)

    def equals(self, truth: list[torch.Tensor]) -> bool:
        """Tell whether the values are these at every point, but for rounding."""
        noise = self.noise or [0.0] * len(truth)
        return all(map(equal, self.values, truth, noise))

    @property
    def zero(self) -> bool:
        """Tell whether there is nothing to see: zero expected, and zero found."""
        return not any(bool(e.any()) for e in self.full) and not any(
            bool(v.any()) for v in self.values
        )

    @property
    def lost(self) -> bool:
        """Tell whether all that is expected, at every point, is no more than rounding."""
        sizes = [float(e.abs().max()) if e.numel() else 0.0 for e in self.full]
        return bool(self.noise) and all(map(operator.le, sizes, self.noise))


def equal(value: torch.Tensor, truth: torch.Tensor, noise: float = 0.0) -> bool:
    """Tell whether two float64 tensors are the same but for rounding.

    Args:
        value: what was computed.
        truth: what it should be.
        noise: how far the value moves when the last bits of what it is computed from change.
    """
    if value.shape != truth.shape:
        return False
    finite = truth.isfinite()
    same = (value == truth) | (value.isnan() & truth.isnan())
    if not bool(same[~finite].all()):
        return False
    if not bool(finite.any()):
        return True
    off = float((value[finite] - truth[finite]).abs().max())
    return off <= EXACT * float(truth[finite].abs().max()) + noise + TINY


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """Return how far apart two tensors are, nothing where that is no number."""
    if one.shape != two.shape or not one.numel():
        return 0.0
    far = float((one - two).abs().max())
    return far if math.isfinite(far) else 0.0


class Judge:
    """Everything needed to judge gradients one by one.

    Args:
        trace: the forward pass.
        body: the statements of the user's backward pass.
        environment: other names that they may read: sizes, helper functions, constants.
        runner: what runs the statements; by default they run in this process.
    """

    def __init__(
        self,
        trace: Trace,
        body: tuple[Statement, ...],
        environment: Mapping[str, Any] | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.trace, self.body = trace, body
        self.environment = dict(environment or {})
        self.runner = runner or Here(trace, body, self.environment)
        self.points = with_far_points(trace, points(trace))
        self.one_sided = one_sided(trace, self.points)
        self.run = self.runner.first({"d" + n: g for n, g in trace.grads.items()})
        self.victims = self.take_back_victims()

    @property
    def codes(self) -> list[CodeType]:
        """Return the statements, compiled as they run in float64."""
        return self.runner.codes

    def take_back_victims(self) -> dict[str, int]:
        """Forget writes of gradients that were changed because another shares their memory.

        Returns:
            Each such gradient with the first statement that changed it.
        """
        found: dict[str, int] = {}
        shared = [(w.statement, n) for ws in self.run.writes.values() for w in ws for n in w.shares]
        for place, name in sorted(shared):
            direct = self.body[place].reads | self.body[place].assigns
            if self.primal(name) is None or not any(map(self.primal, direct)) or name in direct:
                continue
            found.setdefault(name, place)
            kept = [w for w in self.run.writes[name] if w.fresh or w.statement != place]
            self.run.writes[name] = kept
            if not kept:
                del self.run.writes[name]
        return found

    @cached_property
    def derived(self) -> Backward | None:
        """Return the derived backward pass, None where it cannot be written."""
        try:
            return derive(self.trace)
        except HandgradError:
            return None

    @cached_property
    def in_double(self) -> Mapping[str, Any]:
        """Return every name after the whole backward pass has run in float64, as it stands."""
        if not self.points:
            return {}
        exact = {"d" + n: g for n, g in in_double(self.trace).items()}
        return self.runner.whole(self.points[0], {n: exact[n] for n in self.run.supplied})

    @cached_property
    def shaken_runs(self) -> list[Mapping[str, Any]]:
        """Return every name after the backward pass ran in float64 with last bits changed."""
        if not self.points:
            return []
        exact, made = in_double(self.trace), []
        for by in (SHAKE, FINE):
            point = self.shaken_at(self.points[0], by)
            with Shaking(by):
                given = {n: shaken(exact[n[1:]], by) for n in self.run.supplied}
                made.append(self.runner.whole(point, given))
        return made

    def moved_as_it_ran(self, name: str) -> float:
        """Return how much of a gradient as it ran in float64 may be rounding."""
        found = [run.get(name) for run in (self.in_double, *self.shaken_runs)]
        tensors = [value for value in found if isinstance(value, torch.Tensor)]
        if len(tensors) < 3:
            return 0.0
        far = [distance(value, tensors[0]) for value in tensors[1:]]
        return 0.0 if jumps(*far) else far[0]

    def primal(self, name: str) -> str | None:
        """Return the forward name of a gradient's name, None if it is no gradient."""
        if not name.startswith("d"):
            return None
        found = self.trace.aliases.get(name[1:], name[1:])
        return found if found in self.trace.grads else None

    def chain(self, name: str) -> list[Write]:
        """Return the writes that make a name's last value: from the last new tensor on.

        An assignment that reads the name's own earlier value goes on with that value.
        """
        writes = self.run.writes.get(name, [])
        start = 0
        for place, write in enumerate(writes):
            statement = self.body[write.statement]
            if write.fresh and name not in statement.reads:
                start = place
        return writes[start:]

    def slice_of(self, name: str, upto: int | None = None, without: str = "") -> tuple[int, ...]:
        """Return the statements that make a name, from gradients and forward values.

        Args:
            name: the gradient.
            upto: the last statement to count, the name's last write by default.
            without: a name that is given, so that what makes it is left out.
        """
        chain = [w for w in self.chain(name) if upto is None or w.statement <= upto]
        needed: set[int] = {w.statement for w in chain}
        todo = list(needed)
        while todo:
            place = todo.pop()
            for read in self.intermediate_reads(place, name):
                if read == without:
                    continue
                for earlier in self.makers(read, place):
                    if earlier not in needed:
                        needed.add(earlier)
                        todo.append(earlier)
        return tuple(sorted(needed))

    def intermediate_reads(self, place: int, name: str) -> Iterator[str]:
        """Yield what a statement reads that is neither a gradient nor a forward value."""
        for read in self.body[place].reads:
            if read in self.run.writes and (self.primal(read) is None or read == name):
                yield read

    def makers(self, name: str, before: int) -> Iterator[int]:
        """Yield the statements that made what a name held at a place."""
        writes = [w for w in self.run.writes[name] if w.statement < before]
        start = max((k for k, w in enumerate(writes) if w.fresh), default=0)
        for write in writes[start:]:
            yield write.statement

    def local(self, name: str, upto: int | None = None, primal: str | None = None) -> Local:
        """Compute a gradient alone at every point.

        Args:
            name: the gradient, `dlogits`.
            upto: leave out statements after this one.
            primal: what it is the gradient of, by default what its name says.
        """
        primal = primal or self.primal(name)
        assert primal is not None
        found = Local(primal, self.slice_of(name, upto))
        try:
            found.values = [self.evaluate(name, found.slice, p, p.cotangents) for p in self.points]
        except Exception as error:  # the user's own code may raise anything
            found.error = error_text(error)
            return found
        found.cuts = self.cuts(name, found)
        if upto is None and not found.cuts and not any(bool(v.any()) for v in found.values):
            # zero times a gradient depends on nothing, and is no gradient of what it reads
            found.cuts = frozenset(map(self.known_primal, self.candidates(name, found.slice)))
        whole = found.cuts | {self.trace.output}
        for point in self.points:
            found.expected.append(point.expected(primal, found.cuts or whole))
            found.full.append(point.expected(primal, whole))
        if not found.right:
            found.noise = self.noise(name, found)
        return found

    def noise(self, name: str, found: Local) -> list[float]:
        """Return for each point how much of a value may be rounding, there or in the truth.

        A point where the truth itself jumps says nothing, where another one does.
        """
        coarse, fine = (
            [self.moves(name, found, place, by) for place in range(len(self.points))]
            for by in (SHAKE, FINE)
        )
        lost = [jumps(large[1], small[1]) for large, small in zip(coarse, fine, strict=True)]
        made = []
        for point, large, small, gone in zip(self.points, coarse, fine, lost, strict=True):
            steady = [far for far, less in zip(large, small, strict=True) if not jumps(far, less)]
            least = math.inf if gone and not all(lost) else self.rounding(found.name, point)
            made.append(max([least, *steady]))
        return made

    def moves(self, name: str, found: Local, place: int, by: float) -> tuple[float, float]:
        """Return how far a value moves, and the truth, when last bits change in every step."""
        point, value, truth = self.points[place], found.values[place], found.full[place]
        other = self.shaken_at(point, by)
        try:
            steady = self.evaluate(name, found.slice, point, point.cotangents)
            if not torch.equal(steady, value):
                return 0.0, 0.0  # random numbers are drawn: what moves is no rounding
            with Shaking(by):
                again = self.evaluate(name, found.slice, other, other.cotangents)
                true = other.expected(found.name, found.cuts | {self.trace.output})
        except Exception:  # the user's own code may raise anything
            return 0.0, 0.0
        return distance(again, value), distance(true, truth)

    def rounding(self, primal: str, point: Point) -> float:
        """Return the rounding of a gradient whose summands cancel."""
        if self.derived is None:
            return 0.0
        try:
            return SHAKE * summand_size(self.derived, primal, self.given_at(point))
        except (RuntimeError, TypeError, IndexError):  # a size or mask of another point
            return 0.0

    def given_at(self, point: Point) -> dict[str, Any]:
        """Return what statements may read at a point, every gradient included."""
        return self.scope_at(point) | {"d" + n: c for n, c in point.cotangents.items()}

    def shaken_at(self, point: Point, by: float) -> Point:
        """Return a point with the last bits of its values and cotangents changed."""
        values = {
            n: shaken(v, by) if isinstance(v, torch.Tensor) else v for n, v in point.values.items()
        }
        cotangents = {n: shaken(c, by) for n, c in point.cotangents.items()}
        return replace(point, values=values, cotangents=cotangents, memo={})

    def candidates(self, name: str, places: tuple[int, ...]) -> list[str]:
        """Return the gradients, other than a name itself, that statements read."""
        read = {r for place in places for r in self.body[place].reads}
        return sorted(r for r in read if r != name and self.primal(r) is not None)

    def known_primal(self, name: str) -> str:
        """Return the forward name of a gradient's name that is known to be one."""
        primal = self.primal(name)
        assert primal is not None
        return primal

    def cuts(self, name: str, found: Local) -> frozenset[str]:
        """Return the primals of the gradients that a value really depends on.

        A gradient that is read for its shape alone is none of them.
        """
        used = set()
        for read in self.candidates(name, found.slice):
            primal = self.known_primal(read)
            if any(map(partial(self.depends, name, primal, found), self.points, found.values)):
                used.add(primal)
        return frozenset(used)

    def depends(
        self, name: str, primal: str, found: Local, point: Point, value: torch.Tensor
    ) -> bool:
        """Tell whether a value changes at a point when one cotangent does."""
        for factor in (1.7, 1e40):  # beside larger summands a small change is lost
            changed = dict(point.cotangents)
            changed[primal] = changed[primal] * factor + 0.3
            again = self.evaluate(name, found.slice, point, changed)
            if again.shape != value.shape or not torch.equal(again, value):
                return True
        return False

    def evaluate(
        self,
        name: str,
        places: tuple[int, ...],
        point: Point,
        cotangents: Mapping[str, torch.Tensor],
        given: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Run statements at a point with given cotangents and return what a name then holds.

        Args:
            name: the name.
            places: of the statements.
            point: the forward values.
            cotangents: by primal.
            given: names of the user's own that are not computed but given.
        """
        return self.runner.value(name, places, point, cotangents, given)

    def scope_at(self, point: Point) -> dict[str, Any]:
        """Return what statements may read at a point, in float64, each tensor a copy."""
        return scope_at(self.trace, self.environment, point)
