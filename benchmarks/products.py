"""Time matrix products: this project's tiles against torch's library, on one thread, in turn.

A @ B, A.T @ B and A @ B.T of square matrices, and those of a small GPT. A ratio above 1 says that
the tiles are slower. Run with `python benchmarks/products.py [rounds]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

import torch

from handgrad.native.bind import Bound
from handgrad.native.build import build
from handgrad.native.forms import Form
from handgrad.native.lower.array import Array, Graph
from handgrad.native.lower.expr import apply, axes_of, var
from handgrad.native.lower.step import Step
from handgrad.native.write.unit import write_unit

SIZES = [(n, n, n) for n in (32, 64, 128, 256, 512, 1024)]
SIZES += [(256, 64, 1024), (1024, 256, 64), (32, 200, 30), (1000, 777, 555)]
SECONDS = 0.05


def product(m: int, n: int, k: int, flipped: str) -> Step:
    """Return C[m, n] = sum over k of A and B as a step; those named in `flipped` are transposed."""
    graph = Graph()

    def operand(name: str, *shape: int) -> Array:
        return graph.input(name, shape[::-1] if name in flipped else shape, "float")

    a, b = operand("A", m, k), operand("B", k, n)
    (i, j), q = axes_of((m, n)), var("q0", k)
    left = a.at((q, i) if "A" in flipped else (i, q))
    right = b.at((j, q) if "B" in flipped else (q, j))
    entry = graph.reduce("sum", apply("mul", left, right), [i, j], [q])
    return Step(graph, {"A": a, "B": b}, {}, entry.args[0], {}, {})


def prepared(step: Step, given: dict[str, torch.Tensor]) -> Bound:
    """Return a step that is compiled and bound to its operands."""
    unit = write_unit(step, {"C": step.output})
    forms = {name: Form(array.shape, array.ctype) for name, array in step.inputs.items()}
    bound = Bound(unit, build(unit.source), forms)
    for name, tensor in given.items():
        bound.bind(name, tensor)
    return bound


def seconds(run: Callable[[], object]) -> float:
    """Return the seconds of one run."""
    run()
    count, begun = 0, perf_counter()
    while perf_counter() - begun < SECONDS:
        run()
        count += 1
    return (perf_counter() - begun) / count


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    g = torch.Generator().manual_seed(0)
    print(
        f"{'m':>5} {'n':>5} {'k':>5}  {'':8} {'tiles':>9} {'torch':>9}   GFlop/s, best; time ratio"
    )
    for m, n, k in SIZES:
        for flipped, text in (("", "A @ B"), ("A", "A.T @ B"), ("B", "A @ B.T")):
            step = product(m, n, k, flipped)
            given = {x: torch.randn(array.shape, generator=g) for x, array in step.inputs.items()}
            bound, made = prepared(step, given), torch.empty(m, n)
            pair = [given[x].mT if x in flipped else given[x] for x in "AB"]
            times = [
                (seconds(bound.run), seconds(lambda: torch.mm(*pair, out=made)))  # noqa: B023
                for _ in range(rounds)
            ]
            torch.testing.assert_close(bound.output("C"), made, rtol=1e-4, atol=1e-3)
            ours, theirs = (min(column) for column in zip(*times, strict=True))
            work = 2e-9 * m * n * k
            print(
                f"{m:5} {n:5} {k:5}  {text:8} {work / ours:9.1f} {work / theirs:9.1f}   "
                f"{ours / theirs:.2f}"
            )


if __name__ == "__main__":
    main()
