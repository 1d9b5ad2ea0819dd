"""Time the exercise's step natively and by eager autograd, in turns, beside the CPU's FMA peak.

Times are the thread's own CPU time, so that other programs on the machine count for little.
Run with `python benchmarks/native_step.py [rounds]`; one thread.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import handgrad as hg
from handgrad.models import character_mlp
from handgrad.native.build import build
from handgrad.native.cpu import vectors

FLOPS = 2.19e6  # of a step's matrix products, without padding
ROWS, BATCH, HIDDEN = 182_000, 32, 200
NATIVE, EAGER, PEAK = 200, 20, 20_000  # steps, steps and turns of a round
PEAK_SOURCE = """
typedef float vec __attribute__((vector_size({bytes})));
float peak(int turns) {{
    vec a = {{0}}, b = {{0}};
    {declared}
    for (int k = 0; k < turns; k++) {{
        __asm__ volatile("" : "+{kind}"(a), "+{kind}"(b));
        {products}
    }}
    a = {total};
    return a[0];
}}
"""


def peak() -> Callable[[], float]:
    """Return what measures the CPU's products and sums a second, in registers only."""
    wide = vectors()
    kind = "v" if wide.bytes == 64 else "x" if wide.count == 16 else "w"
    chains = [f"c{k}" for k in range(12)]
    source = PEAK_SOURCE.format(
        bytes=wide.bytes,
        kind=kind,
        # the statement keeps a compiler from seeing that the chains are equal
        declared=" ".join(f'vec {c} = {{0}}; __asm__("" : "+{kind}"({c}));' for c in chains),
        products=" ".join(f"{c} += a * b;" for c in chains),
        total=" + ".join(chains),
    )
    function = build(source).handle.peak
    function.restype = ctypes.c_float
    count = 2 * len(chains) * wide.bytes / 4 * PEAK

    def measure() -> float:
        start = time.thread_time()
        function(PEAK)
        return count / (time.thread_time() - start)

    return measure


def eager(given: dict[str, torch.Tensor], X: torch.Tensor, Y: torch.Tensor) -> Callable[[], None]:
    """Return what does the eager steps of a round."""
    own = {name: p.clone().requires_grad_() for name, p in given.items()}

    def steps() -> None:
        for _ in range(EAGER):
            ix = torch.randint(0, ROWS, (BATCH,))
            loss = character_mlp.small_steps(Xb=X[ix], Yb=Y[ix], **own, n=BATCH)
            for p in own.values():
                p.grad = None
            loss.backward()
            for p in own.values():
                assert p.grad is not None
                p.data -= 0.1 * p.grad

    return steps


def seconds(run: Callable[[], object], steps: int) -> float:
    """Return the seconds of one step."""
    start = time.thread_time()
    run()
    return (time.thread_time() - start) / steps


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    g = torch.Generator().manual_seed(2147483647)
    given: dict[str, Any] = character_mlp.parameters(27, g, n_hidden=HIDDEN)
    X = torch.randint(0, 27, (ROWS, 3), generator=g)
    Y = torch.randint(0, 27, (ROWS,), generator=g)
    by_autograd, fma = eager(given, X, Y), peak()
    m = hg.compile(character_mlp.small_steps, Xb=X[:BATCH], Yb=Y[:BATCH], **given, n=BATCH)
    by_autograd()
    m.run(NATIVE, data=(X, Y))
    slow, fast, most = [], [], []
    for _ in range(rounds):
        slow.append(seconds(by_autograd, EAGER))
        fast.append(seconds(lambda: m.run(NATIVE, data=(X, Y)), NATIVE))
        most.append(fma())
    ratios = sorted(a / b for a, b in zip(slow, fast, strict=True))
    quarter = len(ratios) // 4
    print(f"backend    {m.backend}, {vectors().bytes * 8}-bit vectors, {rounds} rounds")
    print(f"eager      {min(slow) * 1e6:.0f} us a step at best, median {median(slow):.0f}")
    print(f"native     {min(fast) * 1e6:.1f} us a step at best, median {median(fast):.1f}")
    print(
        f"ratio      median {statistics.median(ratios):.1f}, "
        f"middle half {ratios[quarter]:.1f} to {ratios[-1 - quarter]:.1f}"
    )
    best = FLOPS / min(fast)
    print(f"FMA peak   {max(most) / 1e9:.1f} GFLOP/s measured in the same rounds")
    print(f"reached    {best / 1e9:.1f} GFLOP/s, {best / max(most):.2f} of the peak")


def median(times: list[float]) -> float:
    """Return the median in microseconds."""
    return statistics.median(times) * 1e6


if __name__ == "__main__":
    main()
