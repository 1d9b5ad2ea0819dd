"""How many planted mistakes the checker catches, and on how many it names the line.

Prints a Markdown table and the mistakes that were not caught or not named, with the program, the
line, the operator and what was said instead; on the error stream as soon as they are found.
Run: python benchmarks/mutants.py [--count 2000] [--fused 1000] [--pairs 300] [--jobs 2]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from mutation.freeform import free_form
from mutation.harness import drawn, outcome

SHARD = 50  # mutants of one seed


@dataclass(frozen=True)
class Kind:
    """One population of mutants, and what is asked of it."""

    name: str
    mistakes: int
    fused: bool
    caught: float
    named: float


KINDS = {
    "count": Kind("one mistake, line by line", 1, False, 0.995, 0.98),
    "fused": Kind("one mistake, fused and free-form", 1, True, 0.99, 0.90),
    "pairs": Kind("two mistakes, line by line", 2, False, 0.995, 0.95),
}


Found = tuple[tuple[str, ...], bool, bool, str]


def shard(kind: Kind, job: tuple[int, int]) -> list[Found]:
    """Return for some mutants their operators, whether caught, whether named, and the story."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    count, seed = job
    mutants = drawn(count, seed, kind.mistakes, free_form if kind.fused else None)
    found = map(outcome, mutants)
    return [(o.mutant.operators, o.caught, o.caught and o.named, str(o)) for o in found]


def all_of(kind: Kind, count: int, workers: int) -> list[Found]:
    """Return what became of a number of mutants, and tell meanwhile what was not named."""
    jobs = [(min(SHARD, count - k), 1000 + k // SHARD) for k in range(0, count, SHARD)]
    found: list[Found] = []
    with ProcessPoolExecutor(workers) as pool:
        for part in pool.map(partial(shard, kind), jobs):
            found += part
            print(f"{kind.name}: {len(found)} of {count}", file=sys.stderr, flush=True)
            for each in part:
                if not each[2]:
                    print(each[3], file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (("count", 2000), ("fused", 1000), ("pairs", 300), ("jobs", 2)):
        parser.add_argument(f"--{option}", type=int, default=default)
    given = vars(parser.parse_args())
    left: list[str] = []
    operators: Counter[str] = Counter()
    print("| mutants | number | caught | asked | exact line | asked | seconds |")
    print("|---|---|---|---|---|---|---|")
    for option, kind in KINDS.items():
        count, started = given[option], time.perf_counter()
        if not count:
            continue
        found = all_of(kind, count, given["jobs"])
        caught, named = (sum(each[k] for each in found) / count for k in (1, 2))
        operators.update(o for each in found for o in each[0])
        left += [f"{kind.name}: {each[3]}" for each in found if not each[2]]
        spent = time.perf_counter() - started
        row = f"{caught:.2%} | {kind.caught:.1%} | {named:.2%} | {kind.named:.0%} | {spent:.0f}"
        print(f"| {kind.name} | {count} | {row} |", flush=True)
    print(
        f"\n{len(operators)} operators: {', '.join(f'{n} {c}' for n, c in operators.most_common())}"
    )
    print(f"\n{len(left)} not caught, or not named to the line:\n")
    print("\n".join(left))


if __name__ == "__main__":
    main()
