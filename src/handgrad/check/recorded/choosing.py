"""Of several ways to settle what is the gradient of what, the one with the fewest wrong lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from handgrad.check.recorded.naming import is_called_one
from handgrad.check.recorded.recording import Recording
from handgrad.check.recorded.settle import Settlement, Settling
from handgrad.check.recorded.updates import clipped_from
from handgrad.check.reference import points
from handgrad.ir import Call, Line, names
from handgrad.trace import Trace

MOST_WAYS = 40  # other ways to settle that are tried where a gradient is wrong
MOST_WRONG = 12  # gradients that are taken for none, one after the other
MANY = 400  # lines of a backward pass of which fewer ways are tried


def first_round(recording: Recording, trace: Trace) -> list[Line]:
    """Return the lines that are no forward pass, those up to the loss of the next round."""
    orders, until = recording.orders, recording.until
    every = (line for line in recording.program.lines if line.target not in trace.values)
    return [line for line in every if not until or orders[line.target] < until]


def settled(trace: Trace, recording: Recording) -> Settlement:
    """Settle which value is the gradient of which: the way in which the fewest lines are wrong."""
    body = first_round(recording, trace)
    at = points(trace)
    near: dict[tuple[str, str], bool] = {}

    def settle(forced: Mapping[str, str | None]) -> tuple[Settling, Settlement]:
        settling = Settling(trace, recording, body, at, forced, near)
        return settling, settling.settle()

    ways = Ways(settle, MOST_WAYS * MANY // max(len(body), MANY))
    while ways.best.wrong and ways.improved():
        pass
    if stray := strays(ways.best):
        ways.take(stray)
        while ways.improved():
            pass
    return ways.best


Settle = Callable[[Mapping[str, "str | None"]], tuple[Settling, Settlement]]


class Ways:
    """The search for the way to settle with the fewest wrong lines.

    Args:
        settle: settles, where some values are what they are forced to be.
        left: how many ways may be tried.
    """

    def __init__(self, settle: Settle, left: int) -> None:
        self.settle, self.left = settle, left
        self.settling, self.best = settle({})

    def improved(self) -> bool:
        """Try what may be meant instead; tell whether fewer lines are wrong."""
        before = self.best.cost
        forced = dict(self.settling.forced)
        clipped: dict[str, str | None] = {
            t: None for t in self.best.wrong if clipped_from(t, self.best.body)
        }
        if clipped:
            self.tried({**forced, **clipped})
            forced = dict(self.settling.forced)
        over = superseded(self.best)
        if over:
            self.tried({**forced, **over}, even=True)
        self.without_wrong()
        parts = mere_parts(self.best)
        if parts:
            self.tried({**self.settling.forced, **dict.fromkeys(parts)}, parts)
        for more in others(self.settling, self.best):
            if not self.best.wrong or not self.left or self.best.cost < before:
                break
            self.left -= 1
            self.tried({**self.settling.forced, **more})
        return self.best.cost < before and self.left > 0

    def take(self, more: Mapping[str, str | None]) -> None:
        """Settle with some values forced, whatever comes of it."""
        parts = self.best.parts
        self.settling, self.best = self.settle({**self.settling.forced, **more})
        self.best.parts = parts

    def without_wrong(self) -> None:
        """Take wrong gradients for none, one after the other: what is made good later is right."""
        other = self.best
        forced = dict(self.settling.forced)
        for _ in range(min(MOST_WRONG, self.left)):
            more = without_wrong(other)
            if not more:
                return
            forced |= more
            other = self.tried(forced)

    def tried(
        self,
        forced: Mapping[str, str | None],
        parts: Mapping[str, str] | None = None,
        *,
        even: bool = False,
    ) -> Settlement:
        """Settle in one way, which is the best one if fewer lines are wrong."""
        settling, found = self.settle(forced)
        found.parts = dict(parts or self.best.parts)
        better = found.cost <= self.best.cost if even else found.cost < self.best.cost
        if better:
            self.settling, self.best = settling, found
        return found


def strays(found: Settlement) -> dict[str, str | None]:
    """Return what is called a gradient, leads to none and is none, with the leaf of its shape.

    A wrong gradient must not vanish because its name says nothing: that leaf has no other one.
    """
    recording, trace = found.recording, found.trace
    mixed = {
        name
        for line in trace.lines
        if isinstance(line.expr, Call) and line.expr.op.heavy
        for name in above(trace, names(line.expr))
    }
    open_leaves = [n for n in parameters(found) if n in mixed and n not in found.covered]
    leading, strays = found.leading, dict[str, str | None]()
    for target in (t for line in found.body for t in line.targets):
        labels = recording.labels[target]
        if target in found.of or target in leading or not any(map(is_called_one, labels)):
            continue
        if clipped_from(target, found.body):
            continue
        shape = recording.values[target].shape
        fits = [n for n in open_leaves if recording.values[n].shape == shape]
        if fits and recording.values[target].is_floating_point():
            strays[target] = fits[0]
            open_leaves.remove(fits[0])
    return strays


def parameters(found: Settlement) -> list[str]:
    """Return the leaves, or what has a name and is a leaf scaled: `W = 0.1 * randn(3, 4)`."""
    recording, trace = found.recording, found.trace
    below: dict[str, str] = {}
    for line in trace.lines:
        read = [n for n in dict.fromkeys(names(line.expr)) if recording.values[n].ndim]
        if len(read) == 1:
            below.setdefault(read[0], line.target)
    told: list[str] = []
    for name in trace.leaves:
        shape = recording.values[name].shape
        while not recording.labels[name] and recording.values[below.get(name, name)].shape == shape:
            if name not in below:
                break
            name = below[name]
        told.append(name)
    return told


def above(trace: Trace, read: Iterable[str]) -> set[str]:
    """Return names, and what they are made from by moving entries alone: `W.T` is of `W`."""
    makers = {target: line for line in trace.lines for target in line.targets}
    found, waiting = set[str](), [*read]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in makers and len({*names(makers[name].expr)}) == 1:
                waiting += names(makers[name].expr)
    return found


def mere_parts(found: Settlement) -> dict[str, str]:
    """Return the right gradients that a wrong one reads, of values that it does not lead to.

    `dx = ... - dbeta - xhat * dgamma` reads two sums, whatever these are the gradients of.
    """
    made = {target: line for line in found.body for target in line.targets}
    parts: dict[str, str] = {}
    for target in found.wrong:
        below = {found.of[target]}
        for line in found.trace.lines:
            if not below.isdisjoint(names(line.expr)):
                below |= set(line.targets)
        waiting, seen = list(names(made[target].expr)), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in made or name in seen:
                continue
            seen.add(name)
            if name not in found.of:
                waiting += names(made[name].expr)
            elif found.right[name] and found.of[name] not in below:
                parts[name] = found.of[name]
    return parts


def superseded(found: Settlement) -> dict[str, str | None]:
    """Return the gradients that a wrong one of the same value goes on from: `dh[0] = 0`."""
    made = {target: line for line in found.body for target in line.targets}
    over: dict[str, str | None] = {}
    for target in found.wrong:
        waiting, seen = list(names(made[target].expr)), set[str]()
        while waiting:
            name = waiting.pop()
            if name in made and name not in seen:
                seen.add(name)
                if found.of.get(name) == found.of[target]:
                    over[name] = None
                elif name not in found.of:
                    waiting += names(made[name].expr)
    return over


def without_wrong(found: Settlement) -> dict[str, str | None]:
    """Return the wrong gradients that something is made of, as no gradients.

    Where all that is made of them is right, they follow another convention.
    """
    leading, leaves = found.leading, found.trace.leaves
    free = [t for t in found.wrong if t in found.guessed or found.of[t] not in leaves]
    return dict.fromkeys(t for t in free if t in leading)


def others(settling: Settling, found: Settlement) -> Iterator[dict[str, str | None]]:
    """Yield what lines above a wrong one may make instead, those of one line together.

    That is what their names say; what has the same gradient, `h - c` for `h`; and for a name that
    is bound again, what the value before was made from.
    """
    steps = found.recording.steps
    mates: dict[Any, list[str]] = {}
    for line in found.body:
        mates.setdefault(steps[line.target], []).extend(line.targets)
    for together in mates.values():
        forced: dict[str, str | None] = {
            t: other[0] for t in together if (other := renames(settling, found, t))
        }
        if forced:
            yield forced
    for together in mates.values():
        for target in together:
            for other in equals(settling, found, target):
                yield {target: other}
    yield from islice(unsettled(settling, found), MOST_WRONG)


def unsettled(settling: Settling, found: Settlement) -> Iterator[dict[str, str | None]]:
    """Yield what the values between right gradients and wrong ones may be the gradients of.

    Those that one line makes in several turns are of what one forward line makes in its own,
    first to last or last to first.
    """
    made = {target: line for line in found.body for target in line.targets}
    steps, values = found.recording.steps, found.recording.values
    between = between_of(found, made)
    groups: dict[Any, list[str]] = {}
    for name in made:
        if name in between and found.recording.labels[name]:
            groups.setdefault((steps[name], values[name].shape), []).append(name)
    for (_, shape), together in sorted(groups.items(), key=lambda each: -len(each[1])):
        for turns in forward_turns(settling, found, tuple(shape), len(together)):
            yield dict(zip(together, reversed(turns), strict=True))
            if len(turns) > 1:
                yield dict(zip(together, turns, strict=True))


def between_of(found: Settlement, made: Mapping[str, Line]) -> set[str]:
    """Return the values without a meaning that wrong gradients are made of."""
    waiting = [name for wrong in found.wrong for name in names(made[wrong].expr)]
    seen = set[str]()
    while waiting:
        name = waiting.pop()
        if name in made and name not in found.of and name not in seen:
            seen.add(name)
            waiting += names(made[name].expr)
    return seen


def forward_turns(
    settling: Settling, found: Settlement, shape: tuple[int, ...], count: int
) -> Iterator[list[str]]:
    """Yield as many forward values of a shape as are asked for, of one line in its turns."""
    steps = found.recording.steps
    groups: dict[Any, list[str]] = {}
    for name in settling.by_shape.get(shape, ()):
        if name not in found.covered:
            groups.setdefault(steps[name], []).append(name)
    for each in reversed(groups.values()):
        more, rest = divmod(len(each), count)
        for k in reversed(range(more if not rest else 0)):
            yield each[k::more]


def renames(settling: Settling, found: Settlement, target: str) -> list[str]:
    """Return what else a gradient's name may mean."""
    if target not in found.of:
        return []
    called = dict.fromkeys(settling.called(found.recording.labels[target]))
    shape = found.recording.values[target].shape
    return [n for n in called if n != found.of[target] and found.trace.grads[n].shape == shape]


def equals(settling: Settling, found: Settlement, target: str) -> list[str]:
    """Return what else has the same gradient, or comes before where the name is bound again."""
    if target not in found.of:
        return []
    value, mine = found.recording.values[target], found.of[target]
    same = [n for n in settling.by_shape.get(tuple(value.shape), ()) if n != mine]
    before = {n for line in found.trace.lines if mine in line.targets for n in names(line.expr)}
    again = before if target in settling.rebound else set[str]()
    return [n for n in reversed(same) if n in again or settling.as_it_ran(value, n)]
