"""Several that do the same, timed in turn: what disturbs one disturbs the others."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

BLOCK = 0.05  # seconds that one of them works before it is another's turn
LONGEST = 20.0  # seconds for all rounds
FEWEST = 3


@dataclass(frozen=True)
class Spread:
    """A median, and what 10 and 90 % of the rounds stay below."""

    middle: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return the three as plain data."""
        return {"median": self.middle, "low": self.low, "high": self.high}


def spread(values: list[float]) -> Spread:
    """Return the median with the 10 % and the 90 % quantile."""
    found = sorted(values)
    last = len(found) - 1
    return Spread(median(found), found[round(0.1 * last)], found[round(0.9 * last)])


def in_turn(
    who: Mapping[str, Callable[[int], None]],
    rounds: int,
    *,
    at_least: Mapping[str, int] | None = None,
    block: float = BLOCK,
) -> dict[str, list[float]]:
    """Return the seconds of a step, for each of them in each round.

    Args:
        who: each does so many steps.
        rounds: how many; fewer if they would take too long.
        at_least: the steps that somebody does however few are asked for.
        block: the seconds that one works at a time.
    """
    least = at_least or {}
    counts = {name: enough(steps, least.get(name, 1), block) for name, steps in who.items()}
    times: dict[str, list[float]] = {name: [] for name in who}
    begun = perf_counter()
    collected = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            if turn >= FEWEST and perf_counter() - begun > LONGEST:
                break
            order = list(who) if turn % 2 else list(reversed(list(who)))
            for name in order:
                times[name].append(timed(who[name], counts[name]))
            gc.collect(0)
    finally:
        if collected:
            gc.enable()
    return times


def enough(steps: Callable[[int], None], least: int, block: float) -> int:
    """Return how many steps fill a block, having warmed up."""
    count = least
    timed(steps, count)
    while True:
        taken = timed(steps, count) * count
        if taken > block / 3:
            return max(least, round(count * block / taken / least) * least)
        count = max(2 * count, int(count * block / 2 / max(taken, 1e-6) / least) * least)


def timed(steps: Callable[[int], None], count: int) -> float:
    """Return the seconds of a step."""
    begun = perf_counter()
    steps(count)
    return (perf_counter() - begun) / count


def ratios(times: Mapping[str, list[float]], over: str) -> dict[str, Spread]:
    """Return how many times as long each took as one of them, by round."""
    base = times[over]
    return {
        name: spread([value / other for value, other in zip(found, base, strict=True)])
        for name, found in times.items()
        if name != over
    }
