"""How long handgrad takes to start: the import beyond torch's, a trace, a derivation, a check.

    python benchmarks/startup.py

Each figure is the median over fresh processes; import times are measured inside each process.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 7
PROGRAM = """
import time
start = time.perf_counter()
import torch
torch_done = time.perf_counter()
import handgrad as hg
imported = time.perf_counter()
from handgrad.models import character_mlp as seed
g = torch.Generator().manual_seed(1)
given = seed.parameters(27, g) | {
    "Xb": torch.randint(0, 27, (32, 3), generator=g),
    "Yb": torch.randint(0, 27, (32,), generator=g),
    "n": 32,
}
hg.trace, hg.derive
ready = time.perf_counter()
trace = hg.trace(seed.small_steps, **given)
traced = time.perf_counter()
hg.derive(trace)
derived = time.perf_counter()
hg.derive(trace)
again = time.perf_counter()
print(torch_done - start, imported - torch_done, ready - imported, traced - ready,
      derived - traced, again - derived)
"""
ROWS = (
    "import torch",
    "import handgrad, beyond torch",
    "the op table, on first use",
    "trace the seed's forward pass",
    "derive its backward, first time",
    "derive its backward, again",
)


def main() -> None:
    runs = [
        [float(x) for x in subprocess.check_output([sys.executable, "-c", PROGRAM]).split()]
        for _ in range(RUNS)
    ]
    print(f"| what | median of {RUNS} processes, ms | least | most |\n|---|---|---|---|")
    for name, values in zip(ROWS, zip(*runs, strict=True), strict=True):
        low, mid, high = min(values), statistics.median(values), max(values)
        print(f"| {name} | {mid * 1e3:.1f} | {low * 1e3:.1f} | {high * 1e3:.1f} |")


if __name__ == "__main__":
    main()
