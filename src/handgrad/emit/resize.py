"""Arguments of other sizes that a forward pass takes too: found by calling it, never assumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from handgrad.simplify.sizes import Sizes
from handgrad.trace import Trace

Axis = tuple[str, int]
"""A parameter and one of its axes; NUMBER for a whole number that may be a size."""

NUMBER = -1
PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
TRIES = 3  # larger and smaller primes to try for a group of axes, before multiples of its size
BUDGET = 5.0  # seconds for the search
LARGEST = 30_000_000  # entries of all values; a larger forward pass is not called again


@dataclass(frozen=True, eq=False)
class Setting:
    """Arguments for another call.

    Attributes:
        given: them, by parameter.
        sizes: the axes that have another size, each with its own.
    """

    given: Mapping[str, Any]
    sizes: Mapping[Axis, int]


@dataclass(frozen=True)
class Settings:
    """What other sizes a forward pass takes.

    Attributes:
        alone: for each group of axes that have one size, arguments in which that alone is another.
        together: arguments in which all of them are; None if it takes none such.
        stuck: the axes for which no other size was found.
        numbers: arguments in which one whole number is another.
    """

    alone: tuple[Setting, ...] = ()
    together: Setting | None = None
    stuck: tuple[Axis, ...] = ()
    numbers: tuple[Setting, ...] = ()


def other_settings(
    call: Callable[[Mapping[str, Any]], Any], given: Mapping[str, Any], trace: Trace
) -> Settings:
    """Return arguments of other sizes for which a call runs.

    Args:
        call: runs the forward pass; it may raise anything.
        given: the traced arguments, by parameter.
        trace: the forward pass, at their sizes.
    """
    axes = [(word, axis) for word, v in given.items() for axis in range(ndim(v))]
    if sum(value.numel() for value in trace.values.values()) > LARGEST:
        return Settings(stuck=tuple(axes))
    return Search(call, given, groups_of(trace, axes)).run()


def ndim(value: Any) -> int:
    """Return how many axes an argument has, 0 if it is no tensor."""
    return value.ndim if isinstance(value, torch.Tensor) else 0


def groups_of(trace: Trace, axes: Iterable[Axis]) -> list[tuple[Axis, ...]]:
    """Return the axes, together where the forward lines make them one."""
    sizes = Sizes(trace, [])
    found: dict[Any, list[Axis]] = {}
    for word, axis in axes:
        known = sizes.named.get(word) or sizes.named.get(f"{word}_") or ()
        symbol = known[axis] if axis < len(known) else ""
        found.setdefault(sizes.find(symbol) if symbol else (word, axis), []).append((word, axis))
    return [tuple(group) for group in found.values()]


class Search:
    """Try other sizes for groups of axes, alone or with others that must change too."""

    def __init__(
        self,
        call: Callable[[Mapping[str, Any]], Any],
        given: Mapping[str, Any],
        groups: list[tuple[Axis, ...]],
    ) -> None:
        self.call, self.given, self.groups = call, given, groups
        numbers = [((w, NUMBER),) for w, v in given.items() if type(v) is int and v > 1]
        self.others = [*groups, *numbers]
        self.used = {self.size(axis) for group in self.others for axis in group}
        self.end = time.monotonic() + BUDGET

    def run(self) -> Settings:
        """Return what was found."""
        alone: list[Setting] = []
        for group in self.groups:
            if any(set(group) <= set(setting.sizes) for setting in alone):
                continue
            found = next(filter(None, map(self.tried, self.changes(group))), None)
            if found is not None:
                self.used |= set(found.sizes.values())
                alone.append(found)
        moved = {axis for setting in alone for axis in setting.sizes}
        stuck = tuple(axis for group in self.groups for axis in group if axis not in moved)
        whole: dict[Axis, int] = {}
        for setting in alone:
            whole |= setting.sizes
        together = self.tried(whole) if len(alone) > 1 else alone[0] if alone else None
        return Settings(tuple(alone), together, stuck, tuple(self.numbers()))

    def numbers(self) -> Iterator[Setting]:
        """Yield arguments in which one whole number is another that the forward pass takes."""
        for group in self.others[len(self.groups) :]:
            now = self.size(group[0])
            tries = ({group[0]: size} for size in (now + 1, 2 * now, 3 * now, now - 1, 1))
            found = next(filter(None, map(self.tried, tries)), None)
            if found is not None:
                yield found

    def size(self, axis: Axis) -> int:
        """Return the size of an axis, or the number."""
        value = self.given[axis[0]]
        return int(value) if axis[1] == NUMBER else int(value.shape[axis[1]])

    def changes(self, group: tuple[Axis, ...]) -> Iterator[dict[Axis, int]]:
        """Yield the changes of sizes to try for a group: alone, then with other groups."""
        now = self.size(group[0])
        fresh = [p for p in PRIMES if p not in self.used]
        more, less = (sorted(p for p in fresh if (p > now) == up) for up in (True, False))
        sizes = [*more[:TRIES], *less[: -TRIES - 1 : -1]]
        near = (size for size in (now + 1, now - 1) if size > 1 and size not in sizes)
        for size in [*sizes, 3 * now, 2 * now, *near]:
            yield dict.fromkeys(group, size)
        same = [g for g in self.others if g != group and self.size(g[0]) == now]
        for others in [*([g] for g in same), *([same] if len(same) > 1 else [])]:
            axes = [*group, *(axis for other in others for axis in other)]
            for size in [*sizes[:3], 3 * now, 2 * now]:
                yield dict.fromkeys(axes, size)
        related = [g for g in self.others if g != group and self.is_related(g, now)]
        for others in [*([g] for g in related), related]:
            for k in (3, 2):
                axes = (axis for other in others for axis in other)
                yield dict.fromkeys(group, k * now) | {a: k * self.size(a) for a in axes}

    def is_related(self, group: tuple[Axis, ...], now: int) -> bool:
        """Tell whether the size of a group is a multiple of another size, or divides it."""
        size = self.size(group[0])
        return min(size, now) > 1 and max(size, now) % min(size, now) == 0

    def tried(self, sizes: Mapping[Axis, int]) -> Setting | None:
        """Return the arguments with other sizes if the forward pass takes them."""
        if not sizes or time.monotonic() > self.end:
            return None
        given = resized(self.given, sizes)
        try:
            self.call(given)
        except Exception:  # whatever the user's code raises at sizes that it is not made for
            return None
        return Setting(given, dict(sizes))


def resized(given: Mapping[str, Any], sizes: Mapping[Axis, int]) -> dict[str, Any]:
    """Return arguments with axes of other sizes, their entries drawn from those there are."""
    made = dict(given)
    generator = torch.Generator().manual_seed(20)
    for word, value in given.items():
        if (word, NUMBER) in sizes:
            made[word] = sizes[word, NUMBER]
        elif any(axis[0] == word for axis in sizes):
            shape = [sizes.get((word, k), size) for k, size in enumerate(value.shape)]
            made[word] = drawn(value.detach(), shape, generator)
    return made


def drawn(old: torch.Tensor, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    """Return a tensor whose entries are those of another, or real numbers between two of them."""
    if not old.numel():
        return old.new_ones(shape)

    def sample() -> torch.Tensor:
        return old.flatten()[torch.randint(old.numel(), shape, generator=generator).to(old.device)]

    if not old.is_floating_point():
        return sample()
    mixed = torch.rand(shape, generator=generator, dtype=torch.float64).to(old.device, old.dtype)
    a, b = sample(), sample()
    return torch.where(torch.isfinite(a) & torch.isfinite(b), mixed * a + (1 - mixed) * b, a)
