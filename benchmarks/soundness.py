"""Whether simplified backward passes of random forward passes still give autograd's gradients.

Each program is simplified at one set of sizes and compared with autograd in float64 at three.
Prints counts, the lines before and after, and every program that needs a word.
Run: python benchmarks/soundness.py [--count 10000] [--first 0] [--jobs 2]
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from simplify.random_forwards import random_program
from simplify.soundness import KINDS, Outcome, judge

SHARD = 50
SHOWN = ("wrong", "exception", "undecided", "unstable", "rounding", "left out")


def shard(first: int, count: int) -> list[Outcome]:
    """Judge some programs."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return [judge(random_program(seed)) for seed in range(first, first + count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (("count", 10000), ("first", 0), ("jobs", 2), ("show", 20)):
        parser.add_argument(f"--{option}", type=int, default=default)
    given = parser.parse_args()
    started, last = time.perf_counter(), given.first + given.count
    firsts = range(given.first, last, SHARD)
    with ProcessPoolExecutor(given.jobs) as pool:
        parts = pool.map(shard, firsts, [min(SHARD, last - first) for first in firsts])
        outcomes = [each for part in parts for each in part]
    counts = Counter(each.kind for each in outcomes)
    print("| " + " | ".join(KINDS) + " | seconds |\n" + "|---" * (len(KINDS) + 1) + "|")
    spent = time.perf_counter() - started
    print("| " + " | ".join(str(counts[kind]) for kind in KINDS) + f" | {spent:.0f} |")
    known = [each.lines for each in outcomes if each.lines[0]]
    before, after = (sum(lines[k] for lines in known) / max(1, len(known)) for k in (0, 1))
    print(f"\nlines a program: {before:.2f} derived, {after:.2f} simplified")
    for kind in SHOWN:
        for each in [each for each in outcomes if each.kind == kind][: given.show]:
            print(f"\n{kind.upper()}: {each.text}")
    return int(bool(counts["wrong"] or counts["exception"]))


if __name__ == "__main__":
    sys.exit(main())
