"""Time how long the exercise's step takes to compile: the first time, and from the cache.

Each time is of a process of its own, after torch was imported: from `import handgrad` to a step
that is ready. Run with `python benchmarks/native_start.py [processes]`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

CODE = """
import time, torch
torch.set_num_threads(1)
g = torch.Generator().manual_seed(0)
X, Y = torch.randint(0, 27, (32, 3), generator=g), torch.randint(0, 27, (32,), generator=g)
wall, own = time.perf_counter(), time.process_time()
import handgrad as hg
from handgrad.models import character_mlp
given = character_mlp.parameters(27, g, n_hidden=200)
m = hg.compile(character_mlp.small_steps, Xb=X, Yb=Y, **given, n=32)
print(time.perf_counter() - wall, time.process_time() - own, m.backend)
"""


def start(cache: str) -> tuple[float, float]:
    """Return the seconds of a start, and those of CPU time."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "XDG_CACHE_HOME": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, own, backend = done.stdout.split()
    assert backend == "native"
    return float(wall), float(own)


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    first, again = [], []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as cache:
            first.append(start(cache))
            again.append(start(cache))
    for name, times in (("first compile", first), ("cached start", again)):
        walls, owns = zip(*times, strict=True)
        wall, own = statistics.median(walls), statistics.median(owns)
        print(
            f"{name:14} median {wall * 1e3:.0f} ms, {own * 1e3:.0f} ms of this process's CPU time, "
            f"best {min(walls) * 1e3:.0f} ms"
        )


if __name__ == "__main__":
    main()
