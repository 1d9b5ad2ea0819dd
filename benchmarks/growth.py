"""How the time and the memory of trace, derive and check grow with a forward pass.

Each figure is of a process of its own, on one thread; imports are not counted.
Run: python benchmarks/growth.py [--only NAME] [--limit SECONDS]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import handgrad as hg
from handgrad.check.ways import check_file
from handgrad.trace.files import trace_file

Made = tuple[Callable[..., Any], tuple[Tensor, ...]]
MIB = 2**20


FORMS = ("x{} * w", "x{}.tanh()", "x{} + w")
INVERSE = ("dx{k} * w", "dx{k} * (1 - x{k} ** 2)", "dx{k}")


def written(count: int) -> Path:
    """Write a file of `count` assignments, each of which reads the line before."""
    return save(forward_lines(count))


def forward_lines(count: int) -> list[str]:
    """Return the lines of a forward pass in which each reads the line before."""
    head = ["import torch", "w = torch.ones(3)", "x0 = torch.ones(2, 3, requires_grad=True)"]
    body = [f"x{k} = " + FORMS[k % 3].format(k - 1) for k in range(1, count)]
    return [*head, *body, f"loss = x{count - 1}.sum()"]


def answered(count: int) -> Path:
    """Write a file of a forward pass and its backward pass by hand, `count` lines together."""
    half = count // 2
    back = [f"dx{k - 1} = " + INVERSE[k % 3].format(k=k) for k in range(half - 1, 0, -1)]
    return save([*forward_lines(half), f"dx{half - 1} = torch.ones(2, 3)", *back])


def save(lines: list[str]) -> Path:
    """Write lines to a file of their own."""
    path = Path(tempfile.mkdtemp()) / "net.py"
    path.write_text("\n".join(lines) + "\n")
    return path


def looped(count: int) -> Made:
    """Return a loop of `count` lines."""

    def forward(x: Tensor, w: Tensor) -> Tensor:
        for _ in range(count // 2):
            h = x * w
            x = h.tanh()
        return x.sum()

    return forward, (torch.ones(2, 3), torch.ones(3))


def rnn(steps: int) -> Made:
    """Return a recurrent network."""

    def forward(x: Tensor, Wx: Tensor, Wh: Tensor, b: Tensor) -> Tensor:
        h = torch.zeros(2, 4)
        for t in range(steps):
            h = torch.tanh(x[t] @ Wx + h @ Wh + b)
        return h.sum()

    sizes = (steps, 2, 3), (3, 4), (4, 4), (4,)
    return forward, tuple(torch.randn(size) * 0.1 for size in sizes)


def added(terms: int) -> Made:
    """Return a sum collected in a loop."""

    def forward(x: Tensor) -> Tensor:
        total = 0
        for k in range(terms):
            total = total + torch.sin(x * k)
        return total.sum()

    return forward, (torch.ones(2),)


def sum_of(terms: int) -> Made:
    """Return a sum of `terms` terms in one statement."""

    def forward(x: Tensor) -> Tensor:
        return sum(torch.sin(x * k) for k in range(terms)).sum()

    return forward, (torch.ones(2),)


def nested(depth: int) -> Made:
    """Return one expression, nested `depth` deep."""

    def forward(x: Tensor) -> Tensor:
        held = [x]  # in a list, so that no value has a name
        for k in range(depth // 2):
            held[0] = torch.sin(held[0] * k)
        return held[0].sum()

    return forward, (torch.ones(2),)


def vgg19(_: int) -> Made:
    """Return VGG-19 with batch norm (Simonyan & Zisserman 2015, E) in one Sequential, thin."""
    layers: list[nn.Module] = []
    channels = 3
    for width, many in ((2, 2), (4, 2), (8, 4), (16, 4), (16, 4)):
        for _ in range(many):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU()]
    net = nn.Sequential(*layers, *head, nn.Linear(16, 10), nn.LogSoftmax(1))

    def forward(x: Tensor) -> Tensor:
        return -net(x).mean()

    return forward, (torch.randn(2, 3, 32, 32),)


def from_list(rows: int) -> Path:
    """Write a file that builds its data from a long list of lists."""
    text = f"""
import torch
rows = [[0, 1, k % 7] for k in range({rows})]
X = torch.tensor(rows)
W = torch.ones(3, 2, requires_grad=True)
x = X[:4].float()
loss = (x @ W).sum()
"""
    return save(text.splitlines())


def activations(mib: int) -> Made:
    """Return a forward pass whose activations have `mib` MiB each."""
    rows, width = mib * MIB // (4 * 1024), 1024

    def forward(x: Tensor, w: Tensor) -> Tensor:
        h = x @ w
        a = h.relu()
        return (a * a).mean()

    return forward, (torch.ones(rows, 64), torch.full((64, width), 0.01))


def derive(make: Callable[[int], Made | Path], size: int) -> dict[str, float]:
    """Trace and derive; return the seconds of each and the number of forward lines."""
    made = make(size)
    clocks = [time.process_time()]
    trace = trace_file(str(made)) if isinstance(made, Path) else hg.trace(made[0], *made[1])
    clocks.append(time.process_time())
    hg.derive(trace)
    clocks.append(time.process_time())
    spent = {"trace": clocks[1] - clocks[0], "derive": clocks[2] - clocks[1]}
    return {"lines": len(trace.lines), **spent, "seconds": sum(spent.values())}


def check(make: Callable[[int], Path], size: int) -> dict[str, float]:
    """Check a file; return the seconds and the number of its lines."""
    path = make(size)
    start = time.process_time()
    report = check_file(str(path))[1]
    assert report.ok, report
    return {"lines": size, "seconds": time.process_time() - start}


def peak(make: Callable[[int], Made], size: int) -> dict[str, float]:
    """Trace and derive; return the peak of memory above the inputs, in MiB."""
    forward, args = make(size)
    warm, few = make(1)
    hg.derive(hg.trace(warm, *few))
    before = resident("VmRSS")
    start = time.process_time()
    hg.derive(hg.trace(forward, *args))
    return {"seconds": time.process_time() - start, "MiB": resident("VmHWM") - before}


def plain_peak(make: Callable[[int], Made], size: int) -> dict[str, float]:
    """Run forward and autograd's backward; return the peak of memory above the inputs, in MiB."""
    for forward, args in (make(1), make(size)):  # the first pass loads what every pass needs
        before = resident("VmRSS")
        start = time.process_time()
        torch.autograd.grad(forward(*(a.requires_grad_() for a in args)), args)
    return {"seconds": time.process_time() - start, "MiB": resident("VmHWM") - before}


def resident(field: str) -> float:
    """Return a field of this process' memory in MiB."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


@dataclass(frozen=True)
class Case:
    """A figure: what is measured, at which sizes, and the bar for the largest of them."""

    measure: Callable[[int], dict[str, float]]
    sizes: tuple[int, ...]
    bar: float


CASES = {
    "lines of a file": Case(partial(derive, written), (1_000, 3_000, 10_000), 10.0),
    "lines of a loop": Case(partial(derive, looped), (1_000, 3_000, 10_000), 10.0),
    "steps of an RNN": Case(partial(derive, rnn), (500, 1_000, 2_000), 10.0),
    "terms added in a loop": Case(partial(derive, added), (1_250, 2_500, 5_000), 10.0),
    "terms in one sum": Case(partial(derive, sum_of), (1_250, 2_500, 5_000), 10.0),
    "calls nested in one expression": Case(partial(derive, nested), (250, 500, 1_000), 10.0),
    "VGG-19 in one Sequential": Case(partial(derive, vgg19), (1,), 10.0),
    "rows of a list": Case(partial(derive, from_list), (20_000, 60_000, 180_000), 2.0),
    "lines checked": Case(partial(check, answered), (250, 500, 1_000), 10.0),
    "MiB of activations": Case(partial(peak, activations), (300,), 60.0),
    "the same by autograd": Case(partial(plain_peak, activations), (300,), 60.0),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--limit", type=float, default=120.0)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SIZE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        print(json.dumps(CASES[given.one[0]].measure(int(given.one[1]))))
        return 0
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {processor()}\n")
    print("| what | how many | lines | trace s | derive s | s | bar | ms a line | MiB |")
    print("|---" * 9 + "|", flush=True)
    late = False
    for name, case in CASES.items():
        for size in case.sizes if given.only in name else ():
            found = apart(name, size, given.limit)
            largest = size == case.sizes[-1]
            print(row(name, size, found, case.bar if largest else None), flush=True)
            late |= "failed" in found or (largest and found["seconds"] > case.bar)
    return int(late)


def apart(name: str, size: int, limit: float) -> dict[str, Any]:
    """Measure in a process of its own; a failure is a result too."""
    command = [sys.executable, __file__, "--one", name, str(size)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"over {limit:.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip() or str(done.returncode)).splitlines()[-1][:80]}
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, size: int, found: dict[str, Any], bar: float | None) -> str:
    """Return a row of the table."""
    if "failed" in found:
        return f"| {name} | {size:,} | {found['failed']} |" + " |" * 6
    lines = found.get("lines", 0)
    each = f"{1e3 * found['seconds'] / lines:.2f}" if lines >= 250 else ""
    parts = [f"{found[key]:.2f}" if key in found else "" for key in ("trace", "derive", "seconds")]
    memory = f"{found['MiB']:.0f}" if "MiB" in found else ""
    told = [name, f"{size:,}", f"{lines:,}" if lines else "", *parts, f"{bar:g}" if bar else ""]
    return "| " + " | ".join([*told, each, memory]) + " |"


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
