"""What handgrad makes of PyTorch's own sample inputs of every differentiable op.

Each sample is a loss that is traced, derived and run in a process of its own pool; more on request.
Prints a table: op, how many samples came to what. Needs the package expecttest.
Run: python benchmarks/opinfo.py [OP ...] [--simplify] [--compile] [--most 1000] [--jobs 2]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzzing.judge import FAILURES, INVALID, REFUSED, RIGHT, Verdict
from fuzzing.opinfo import MARKED, counts, differentiable, samples, verdicts

KINDS = (RIGHT, MARKED, REFUSED, *FAILURES, INVALID)


def report(found: dict[str, list[dict[str, Any]]], seconds: float) -> Counter[str]:
    """Print the table and an example of each kind of failure; return the counts."""
    total: Counter[str] = Counter()
    print("| op | " + " | ".join(KINDS) + " |\n|---" + "|---:" * len(KINDS) + "|")
    for name in sorted(found):
        counts = Counter(each["kind"] for each in found[name])
        total += counts
        print(f"| {name} | " + " | ".join(str(counts[k] or "") for k in KINDS) + " |")
    print("| all | " + " | ".join(str(total[k]) for k in KINDS) + f" |\n\n{seconds:.0f} seconds\n")
    for name in sorted(found):
        groups = defaultdict(list)
        for each in found[name]:
            if each["kind"] in (REFUSED, *FAILURES):
                verdict = Verdict(each["kind"], each["stage"], each["text"])
                groups[verdict.group].append(each)
        for group, cases in groups.items():
            call = cases[0]["source"].partition("out = ")[2].partition("\n")[0]
            print(f"{name} {len(cases)}: {group}\n    sample {cases[0]['place']}: {call[:160]}")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ops", nargs="*")
    for option, default in (("most", 1000), ("jobs", 2), ("limit", 240), ("part", 0), ("parts", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    for stage in ("simplify", "compile"):
        parser.add_argument(f"--{stage}", action="store_true")
    given = parser.parse_args()
    started = time.perf_counter()
    known = differentiable()
    sizes = {name: sum(1 for _ in samples(known[name])) for name in given.ops}
    sizes = sizes or counts(given.part, given.parts)
    stages = [stage for stage in ("simplify", "compile") if getattr(given, stage)]
    found = verdicts(sizes, stages, given.most, given.jobs, given.limit)
    total = report(found, time.perf_counter() - started)
    return int(any(total[kind] for kind in FAILURES))


if __name__ == "__main__":
    sys.exit(main())
