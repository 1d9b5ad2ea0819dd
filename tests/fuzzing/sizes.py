"""Other sizes of a program's arguments at which it runs too."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fuzzing.program import Argument, Plain, Program, run_plain

MOST = 4
NEXT = {2: 3, 3: 5, 4: 6, 5: 4, 6: 8, 7: 2}


def others(program: Program) -> Iterator[tuple[Mapping[str, Tensor], Plain]]:
    """Yield arguments of other sizes, and what plain PyTorch makes of them."""
    count = 0
    for arguments in changed(program):
        other = dataclasses.replace(program, arguments=arguments)
        try:
            drawn = other.draw()
            with torch.enable_grad():  # an error may leave it switched off
                plain = run_plain(other, drawn)
        except Exception:
            continue
        yield drawn, plain
        count += 1
        if count == MOST:
            return


def changed(program: Program) -> Iterator[tuple[Argument, ...]]:
    """Yield arguments with all equal sizes changed alike, then one axis alone, then some."""
    rng = random.Random(program.seed)
    sizes = sorted({n for a in program.arguments for n in a.shape if n > 1})
    yield resized(program, {n: NEXT.get(n, n + 1) for n in sizes})
    for n in sizes:
        yield resized(program, {n: NEXT.get(n, n + 1)})
    places = [(a.name, k) for a in program.arguments for k, n in enumerate(a.shape) if n > 1]
    rng.shuffle(places)
    for name, place in places[:12]:
        yield tuple(grown(a, {place}) if a.name == name else a for a in program.arguments)
    for name, place in places[:6]:
        size = next(a.shape[place] for a in program.arguments if a.name == name)
        yield tuple(
            grown(a, {k for k, n in enumerate(a.shape) if n == size and rng.random() < 0.5})
            for a in program.arguments
        )


def resized(program: Program, sizes: Mapping[int, int]) -> tuple[Argument, ...]:
    """Return the arguments with sizes exchanged wherever they stand, limits of indices too."""
    return tuple(
        dataclasses.replace(
            a,
            shape=tuple(sizes.get(n, n) for n in a.shape),
            below=min(a.below, sizes.get(a.below, a.below)),
        )
        for a in program.arguments
    )


def grown(argument: Argument, places: set[int]) -> Argument:
    """Return an argument with some axes of another size."""
    shape = [NEXT.get(n, n + 1) if k in places else n for k, n in enumerate(argument.shape)]
    return dataclasses.replace(argument, shape=tuple(shape))
