"""The ladder: which shapes, dtypes, layouts, subsets and points a Function is tried at."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import torch

from handgrad.check.function.cases import Axis, Case, Source, one_sign

PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
BATCHES = (1, 2, 3, 5, 17)
POINTS = (50.0, 800.0, 1e-30)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MANY = 4  # inputs; with more of them not every subset and point is tried one by one
Accepts = Callable[[Case], bool]


def ladder(source: Source, outputs: int, seed: int, accepts: Accepts) -> Iterator[Case]:
    """Yield the configurations, the plainest first.

    Args:
        source: the inputs as given.
        outputs: how many differentiable outputs there are.
        seed: everything random is drawn from it.
        accepts: whether the forward runs at a case.
    """
    given = Case("the inputs given", source.values, source.needs, seed)
    yield given
    if not source.wide:
        yield given.change("the inputs given, in their own dtype", dtype=None)
    yield Case("the shapes given, drawn at random", source.draw({}, seed), source.needs, seed)
    groups = separate(source, seed, accepts)
    base = primes(source, groups, seed, accepts)
    for again in range(2):
        name = shapes(source, base) + (", drawn again" if again else "")
        yield Case(name, source.draw(base, seed + 1 + again), source.needs, seed + 1 + again)
    plain = Case(shapes(source, base), source.draw(base, seed + 3), source.needs, seed + 3)
    yield from sized(source, groups, base, seed + 4)
    yield from layouts(plain)
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        yield plain.change(name, dtype=dtype)
        values = source.draw(base, seed + 5)
        yield plain.change(f"{name}, drawn again", dtype=dtype, values=values, seed=seed + 5)
    yield from subsets(source, plain)
    for factor in (1e-6, 1e6):
        yield plain.change(f"upstream gradient times {factor:g}", factor=factor)
    if outputs > 1:
        for place in range(outputs):
            yield plain.change(f"no upstream gradient of output {place}", silent=place)
    yield from points(source, plain)


def shapes(source: Source, sizes: Mapping[Axis, int]) -> str:
    """Return the shapes of a case in words."""
    told = [
        str([sizes.get((place, axis), size) for axis, size in enumerate(value.shape)])
        for place, value in enumerate(source.values)
        if isinstance(value, torch.Tensor)
    ]
    return f"shape{'s' if len(told) > 1 else ''} {', '.join(told)}"


def separate(source: Source, seed: int, accepts: Accepts) -> list[list[Axis]]:
    """Return the axes whose sizes belong together, found by trying to change each alone.

    Axes that only happen to have one size, as of a square matrix, are told apart.
    """
    groups: list[list[Axis]] = []
    waiting = [(size, members) for size, members in sorted(source.axes().items())]
    while waiting:
        size, members = waiting.pop()
        part = split(source, size, members, seed, accepts)
        if part is None:
            groups.append(members)
        else:
            waiting += [(size, part), (size, [m for m in members if m not in part])]
    lone = leading(source)
    if lone and source.values[lone[0]].shape[0] == 1 and not shared_one(source):
        groups.append([lone])
    return sorted(groups, key=lambda group: size_of(source, group[0]))


def split(
    source: Source, size: int, members: list[Axis], seed: int, accepts: Accepts
) -> list[Axis] | None:
    """Return some of the axes of one size that can have another size alone, or None."""
    if len(members) > 6:
        return None
    labelled = any(place not in source.leaves for place, axis in members if axis == 0)
    first = [member for member in members if labelled and member[1] == 0]
    for count in range(1, len(members) // 2 + 1):
        for part in itertools.combinations(members, count):
            if 0 < sum(member in part for member in first) < len(first):
                continue  # a row and its label stay together
            if tried(source, dict.fromkeys(part, size + 1), seed, accepts):
                return list(part)
    return None


def tried(source: Source, sizes: Mapping[Axis, int], seed: int, accepts: Accepts) -> bool:
    """Tell whether the forward runs at some sizes."""
    return accepts(Case("", source.draw(sizes, seed), source.needs, seed))


def leading(source: Source) -> Axis | None:
    """Return the first axis of the first input that has one: the batch, most often."""
    for place, value in enumerate(source.values):
        if isinstance(value, torch.Tensor) and value.dim():
            return place, 0
    return None


def shared_one(source: Source) -> bool:
    """Tell whether more than one axis has size 1: which of them are broadcast is not known."""
    tensors = [value for value in source.values if isinstance(value, torch.Tensor)]
    return sum(size == 1 for value in tensors for size in value.shape) > 1


def size_of(source: Source, axis: Axis) -> int:
    """Return the size of an axis as given."""
    return source.values[axis[0]].shape[axis[1]]


def primes(
    source: Source, groups: list[list[Axis]], seed: int, accepts: Accepts
) -> dict[Axis, int]:
    """Return a prime of its own for every group of axes that can have one, in their order."""
    chosen = dict(zip(range(len(groups)), PRIMES, strict=False))
    sizes = {axis: chosen[k] for k, group in enumerate(groups) if k in chosen for axis in group}
    if tried(source, sizes, seed, accepts):
        return sizes
    kept: dict[Axis, int] = {}
    for k, group in enumerate(groups):
        wanted = {**kept, **dict.fromkeys(group, chosen.get(k, 2))}
        if tried(source, wanted, seed, accepts):
            kept = wanted
    return kept


def sized(
    source: Source, groups: list[list[Axis]], base: Mapping[Axis, int], seed: int
) -> Iterator[Case]:
    """Yield batches of several sizes, then each size 1, then each size 0."""
    first = leading(source)
    for group in groups:
        if first in group:
            for size in BATCHES:
                yield resized(source, base, group, size, f"leading size {size}", seed)
    for size in (1, 0):
        for group in groups:
            place, axis = group[0]
            name = f"size {size} at axis {axis} of input {place}"
            yield resized(source, base, group, size, name, seed)
    if len(groups) > 1:
        every = [axis for group in groups for axis in group]
        yield resized(source, base, every, 1, "every size 1", seed)


def resized(
    source: Source, base: Mapping[Axis, int], group: list[Axis], size: int, name: str, seed: int
) -> Case:
    """Return a case with one group of axes at another size."""
    sizes = {**base, **dict.fromkeys(group, size)}
    told = f"{name}: {shapes(source, sizes)}"
    return Case(told, source.draw(sizes, seed), source.needs, seed)


def layouts(plain: Case) -> Iterator[Case]:
    """Yield inputs and upstream gradients that lie otherwise in memory."""
    yield plain.change("inputs that are not contiguous", layout="transposed")
    yield plain.change("expanded inputs", layout="expanded", edge=True)
    yield plain.change("an upstream gradient that is not contiguous", upstream="transposed")
    yield plain.change("an expanded upstream gradient", upstream="expanded")


def subsets(source: Source, plain: Case) -> Iterator[Case]:
    """Yield the subsets of inputs that a gradient is asked of."""
    leaves = source.leaves
    counts = range(1, len(leaves)) if len(leaves) < MANY else (1,)
    for count in counts:
        for part in itertools.combinations(leaves, count):
            needs = tuple(place in part for place in range(len(source.values)))
            asked = ", ".join(f"{{{place}}}" for place in part)
            yield plain.change(f"needs_input_grad only for {asked}", needs=needs)


def points(source: Source, plain: Case) -> Iterator[Case]:
    """Yield points where formulas overflow, cancel, tie or meet a corner."""
    each = [(leaf,) for leaf in source.leaves] if len(source.leaves) < MANY else []
    groups = dict.fromkeys([*each, source.leaves])
    for group in groups:
        signs = [one_sign(source.values[leaf]) for leaf in group]
        allowed = [s for s in (1, -1) if all(sign in (0, s) for sign in signs)]
        made = [(f"{s * size:g}", filled(s * size)) for size in POINTS for s in allowed]
        made += [("0", filled(0.0)), ("0.75 or its negative", level)]
        made += [("whole numbers, with ties", whole)]
        if not any(signs):
            made += [(f"±{size:g}", mixed(size)) for size in POINTS[:2]]
        told = " and ".join(f"{{{leaf}}}" for leaf in group)
        for name, change in made:
            values = tuple(
                change(value, source.values[place]) if place in group else value
                for place, value in enumerate(plain.values)
            )
            yield plain.change(f"{told} at {name}", values=values, edge=True)


Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def filled(number: float) -> Change:
    """Return a change that sets every entry to one number."""
    return lambda value, given: torch.full_like(value, number)


def mixed(number: float) -> Change:
    """Return a change that keeps the signs and sets every magnitude."""
    return lambda value, given: torch.where(value < 0, -number, number).to(value.dtype)


def level(value: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Set every entry to the same ordinary number."""
    return torch.full_like(value, 0.75 if one_sign(given) >= 0 else -0.75)


def whole(value: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Set entries to small whole numbers, so that many tie."""
    kept = value / value.abs().max().clamp(min=1e-30) if value.numel() else value
    return (2.4 * kept).round()
