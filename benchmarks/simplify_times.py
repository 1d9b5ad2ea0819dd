"""How long it takes to simplify the seed's backward pass, and its cross-entropy and batch norm.

Medians in a warm process, one thread; tracing and deriving are not counted.
Run: python benchmarks/simplify_times.py [--runs 5]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import handgrad as hg
from mistakes.fixtures import traced

PARTS = {
    "whole step": ({}, 500),
    "cross-entropy": ({"start": "logits"}, 50),
    "batch norm": ({"start": "hprebn", "to": "hpreact"}, 200),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    backward = hg.derive(traced("makemore")[0])
    late = False
    print("| part | lines derived | simplified | ms | processor ms | bar |\n" + "|---" * 6 + "|")
    for part, (options, bar) in PARTS.items():
        result = hg.simplify(backward, **options)
        spent = [timed(backward, options) for _ in range(runs)]
        wall, processor = (statistics.median(each) for each in zip(*spent, strict=True))
        before, after = len(result.before.lines), len(result.lines)
        print(f"| {part} | {before} | {after} | {wall:.0f} | {processor:.0f} | {bar} |")
        late |= processor > bar  # the clock too goes on while others use the processor
    return int(late)


def timed(backward: hg.Backward, options: dict[str, str]) -> tuple[float, float]:
    """Simplify once; return the milliseconds on the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    hg.simplify(backward, **options)
    return 1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - processor)


if __name__ == "__main__":
    sys.exit(main())
