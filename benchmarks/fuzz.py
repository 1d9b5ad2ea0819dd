"""What handgrad makes of random programs that have every construct that users write.

Each runs in plain autograd for the truth, and is then traced, derived and run; more on request.
Prints how many came to what, and the kinds of failures with the smallest number that shows each.
Run: python benchmarks/fuzz.py [--count 1000] [--from 0] [--simplify] [--emit] [--compile]
     python benchmarks/fuzz.py --seed 123 --show      the program of a number, and its verdict
     python benchmarks/fuzz.py --shrink 123           a smaller program with the same verdict
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fuzzing.generator import CONSTRUCTS, generate
from fuzzing.judge import FAILURES, INVALID, REFUSED, RIGHT, Verdict
from fuzzing.pool import Child, answers
from fuzzing.program import Program
from fuzzing.shrink import shrunk
from fuzzing.work import judged, judged_text

STAGES = ("simplify", "emit", "compile")


def verdict_of(answer: dict[str, Any]) -> Verdict:
    """Return the verdict in an answer."""
    return Verdict(**{key: answer[key] for key in ("kind", "stage", "text", "named")})


def one(seed: int, given: argparse.Namespace, stages: list[str]) -> int:
    """Print the program of a number, and what becomes of it."""
    program = generate(seed, given.only)
    print(program.script if given.show else "", f"\n# {program.constructs}")
    child = Child(judged_text.__module__, judged_text.__name__)
    verdict = verdict_of(child.ask((program.to_json(), stages), given.limit))
    child.stop()
    print(f"# {verdict.kind} {verdict.stage}\n{verdict.text}")
    return int(verdict.kind in FAILURES)


def shrink(seed: int, given: argparse.Namespace, stages: list[str]) -> int:
    """Print a smaller program with the same verdict."""
    child = Child(judged_text.__module__, judged_text.__name__)

    def judge(program: Program) -> Verdict:
        return verdict_of(child.ask((program.to_json(), stages), given.limit))

    small = shrunk(generate(seed, given.only), judge)
    verdict = judge(small)
    child.stop()
    print(f"{small.script}\n# {verdict.kind} {verdict.stage}\n{verdict.text}")
    return 0


def many(given: argparse.Namespace, stages: list[str]) -> int:
    """Judge programs and print the counts and the kinds of failures."""
    started = time.perf_counter()
    seeds = range(given.first, given.first + given.count)
    jobs = [(seed, stages, given.only) for seed in seeds]
    counts: Counter[str] = Counter()
    unnamed, seen, found = 0, Counter[str](), defaultdict(list)
    for (seed, *_), answer in answers(judged, jobs, given.jobs, given.limit):
        verdict = verdict_of(answer)
        counts[verdict.kind] += 1
        unnamed += verdict.kind == REFUSED and not verdict.named
        seen.update(set(answer.get("constructs", ())))
        if verdict.kind != RIGHT:
            found[verdict.group].append((seed, answer.get("constructs", ()), verdict))
        if time.perf_counter() - started > given.seconds:
            print(f"stopped after {given.seconds} seconds, {counts.total()} programs")
            break
    spent = time.perf_counter() - started
    kinds = [RIGHT, REFUSED, *FAILURES, INVALID]
    print("| " + " | ".join(kinds) + " | seconds |\n" + "|---" * (len(kinds) + 1) + "|")
    print("| " + " | ".join(str(counts[kind]) for kind in kinds) + f" | {spent:.0f} |")
    print(f"refusals that name no line: {unnamed}")
    never = [name for name in CONSTRUCTS if not seen[name]]
    print(
        f"constructs seen: {len(seen)} of {len(CONSTRUCTS)}; never: {', '.join(never) or 'none'}\n"
    )
    order = sorted(found, key=lambda g: (g.startswith(REFUSED), -len(found[g])))
    for group in order:
        cases = sorted(found[group], key=lambda case: case[0])
        common = Counter(name for _, names, _ in cases for name in set(names)).most_common(3)
        among = ", ".join(f"{name} {count}" for name, count in common)
        print(f"{len(cases):5}  {group}\n       seeds {[c[0] for c in cases[:4]]}; {among}")
    return int(any(counts[kind] for kind in FAILURES))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (*(("count", 1000), ("jobs", 2), ("limit", 60), ("seconds", 10**6)),):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--shrink", type=int)
    parser.add_argument("--show", action="store_true")
    parser.add_argument(
        "--only", choices=CONSTRUCTS, help="a construct that each program must have"
    )
    for stage in STAGES:
        parser.add_argument(f"--{stage}", action="store_true")
    given = parser.parse_args()
    stages = [stage for stage in STAGES if getattr(given, stage)]
    if given.seed is not None:
        return one(given.seed, given, stages)
    if given.shrink is not None:
        return shrink(given.shrink, given, stages)
    return many(given, stages)


if __name__ == "__main__":
    sys.exit(main())
