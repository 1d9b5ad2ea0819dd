"""Emitted Functions against autograd, hand-written Functions and torch.compile.

For six layers written in small plain steps: the bytes that each keeps for backward, and the time of
forward and backward as a ratio to eager autograd, in one run: the contenders take turns, the ratio
is taken within each round, printed are the median and 80 % of the rounds. One thread, and its CPU
time, so that what else the machine does counts less; freed memory stays with the process, because
what the allocator gives back and asks for again would otherwise be most of the time.

Bytes are those of every memory that autograd's hooks see, once, and in brackets without the inputs,
which are alive either way.

Run: python benchmarks/functions.py [--no-compile] [--json out.json] [--write docs/functions.md]
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import handgrad as hg


def rms_norm(x, w, eps=1e-5):
    n = x.shape[-1]
    ms = (x**2).sum(-1, keepdim=True) / n
    rstd = (ms + eps) ** -0.5
    xhat = x * rstd
    return xhat * w


def layer_norm(x, w, b, eps=1e-5):
    mu = x.mean(-1, keepdim=True)
    diff = x - mu
    var = (diff**2).mean(-1, keepdim=True)
    rstd = (var + eps) ** -0.5
    xhat = diff * rstd
    return xhat * w + b


def cross_entropy(logits, y):
    n = logits.shape[0]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    return -logprobs[range(n), y].mean()


def swiglu(x, W1, W2, W3):
    gate = x @ W1
    up = x @ W2
    act = gate * torch.sigmoid(gate)
    h = act * up
    return h @ W3


def gelu(x):
    inner = (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)
    t = torch.tanh(inner)
    return 0.5 * x * (1 + t)


def batch_norm(x, gain, bias, eps=1e-5):
    n = x.shape[0]
    mean = 1 / n * x.sum(0, keepdim=True)
    diff = x - mean
    var = 1 / (n - 1) * (diff**2).sum(0, keepdim=True)
    inv = (var + eps) ** -0.5
    raw = diff * inv
    return gain * raw + bias


class RmsNormByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, eps=1e-5):
        rstd = torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, w, rstd)
        return x * rstd * w

    @staticmethod
    def backward(ctx, dout):
        x, w, rstd = ctx.saved_tensors
        xhat = x * rstd
        dxhat = dout * w
        dx = rstd * (dxhat - xhat * (dxhat * xhat).mean(-1, keepdim=True))
        return dx, (dout * xhat).sum(0), None


class LayerNormByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, b, eps=1e-5):
        diff = x - x.mean(-1, keepdim=True)
        rstd = torch.rsqrt((diff * diff).mean(-1, keepdim=True) + eps)
        xhat = diff * rstd
        ctx.save_for_backward(xhat, rstd, w)
        return xhat * w + b

    @staticmethod
    def backward(ctx, dout):
        xhat, rstd, w = ctx.saved_tensors
        dxhat = dout * w
        middle = dxhat.mean(-1, keepdim=True) + xhat * (dxhat * xhat).mean(-1, keepdim=True)
        return rstd * (dxhat - middle), (dout * xhat).sum(0), dout.sum(0), None


class CrossEntropyByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, y):
        logprobs = logits.log_softmax(1)
        ctx.save_for_backward(logprobs, y)
        return -logprobs.gather(1, y[:, None]).mean()

    @staticmethod
    def backward(ctx, dloss):
        logprobs, y = ctx.saved_tensors
        n = y.shape[0]
        dlogits = logprobs.exp()
        dlogits[torch.arange(n), y] -= 1
        return dlogits * (dloss / n), None


class SwigluByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W1, W2, W3):
        gate, up = x @ W1, x @ W2
        ctx.save_for_backward(x, W1, W2, W3, gate, up)
        return (F.silu(gate) * up) @ W3

    @staticmethod
    def backward(ctx, dout):
        x, W1, W2, W3, gate, up = ctx.saved_tensors
        s = torch.sigmoid(gate)
        act = gate * s
        dh = dout @ W3.T
        dup = dh * act
        dgate = dh * up * (s + act * (1 - s))
        dx = dgate @ W1.T + dup @ W2.T
        return dx, x.T @ dgate, x.T @ dup, (act * up).T @ dout


class GeluByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return F.gelu(x, approximate="tanh")

    @staticmethod
    def backward(ctx, dout):
        (x,) = ctx.saved_tensors
        c = (2 / torch.pi) ** 0.5
        x2 = x * x
        t = torch.tanh(c * x * (1 + 0.044715 * x2))
        return dout * (0.5 * (1 + t) + 0.5 * c * x * (1 - t * t) * (1 + 0.134145 * x2))


class BatchNormByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gain, bias, eps=1e-5):
        diff = x - x.mean(0, keepdim=True)
        inv = torch.rsqrt((diff * diff).sum(0, keepdim=True) / (x.shape[0] - 1) + eps)
        raw = diff * inv
        ctx.save_for_backward(raw, inv, gain)
        return gain * raw + bias

    @staticmethod
    def backward(ctx, dout):
        raw, inv, gain = ctx.saved_tensors
        n = dout.shape[0]
        dgain = (dout * raw).sum(0, keepdim=True)
        dbias = dout.sum(0, keepdim=True)
        dx = gain * inv / n * (n * dout - dbias - n / (n - 1) * raw * dgain)
        return dx, dgain, dbias, None


def drawn(*shapes):
    """Return normal tensors of these shapes that require a gradient."""
    g = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=g).requires_grad_() for shape in shapes]


def labels(n, classes):
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(2))


LAYERS = {
    "RMS norm": (rms_norm, RmsNormByHand, lambda n, c: drawn((n, c), (c,))),
    "layer norm": (layer_norm, LayerNormByHand, lambda n, c: drawn((n, c), (c,), (c,))),
    "softmax cross-entropy": (
        cross_entropy,
        CrossEntropyByHand,
        lambda n, c: [*drawn((n, c)), labels(n, c)],
    ),
    "SwiGLU": (
        swiglu,
        SwigluByHand,
        lambda n, c: [
            v.detach().mul(c**-0.5).requires_grad_()
            for v in drawn((n, c), (c, 2 * c), (c, 2 * c), (2 * c, c))
        ],
    ),
    "GELU": (gelu, GeluByHand, lambda n, c: drawn((n, c))),
    "batch norm": (batch_norm, BatchNormByHand, lambda n, c: drawn((n, c), (1, c), (1, c))),
}
SIZES = ((32, 64), (256, 256), (1024, 512))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row")
    parser.add_argument("--only", default="", help="layers whose name has this in it")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    parser.add_argument("--write", type=Path, help="put the table between the marks of this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    rows = []
    print(HEAD)
    for name, (forward, by_hand, arguments) in LAYERS.items():
        if options.only not in name:
            continue
        for size in SIZES:
            args = arguments(*size)
            rows.append(row(name, size, forward, by_hand, args, options))
            print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.write:
        put(options.write, "\n".join([*about(), "", HEAD, *map(line, rows), "", *missed(rows)]))
    print("\n".join(missed(rows)))
    sys.exit(any(r["bytes"]["emitted"] > r["bytes"]["autograd"] for r in rows))


def keep_memory() -> None:
    """Tell glibc to keep freed memory, as the allocators do that one would preload."""
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(-3, 2**25)  # M_MMAP_THRESHOLD
        library.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


def missed(rows):
    """Yield what the emitted Functions should reach, and where they do not."""
    more = [r for r in rows if r["bytes"]["emitted"] > r["bytes"]["autograd"]]
    slower = [r for r in rows if r["ratio"]["emitted"][0] > 1]
    for words, found in (("More bytes than autograd", more), ("Slower than eager", slower)):
        places = [f"{r['layer']} {'x'.join(map(str, r['size']))}" for r in found]
        yield f"- {words}: {', '.join(places) or 'nowhere'}."


def about():
    """Yield what was run, and on what."""
    yield f"`{' '.join(['python', *sys.argv])}`"
    yield ""
    cpu = next((t.split(": ")[1] for t in lines_of("/proc/cpuinfo") if "model name" in t), "")
    system = f"{cpu.strip() or 'unknown CPU'}, {platform.system()} {platform.machine()}"
    load = (
        f"Load average at the end: {os.getloadavg()[0]:.1f}." if hasattr(os, "getloadavg") else ""
    )
    yield f"One thread of {os.cpu_count()} x {system}; Python {platform.python_version()},"
    yield f"torch {torch.__version__}. {load}".rstrip()


def lines_of(path):
    """Return the lines of a file, none where it is not there."""
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def put(path, text) -> None:
    """Put a text between the two marks of a file."""
    before, rest = path.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    path.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def row(name, size, forward, by_hand, args, options):
    """Return the figures of one layer at one size."""
    emitted = hg.function(forward, *args)
    calls = {"autograd": forward, "emitted": emitted.apply, "by hand": by_hand.apply}
    kept = {who: saved_bytes(call, args) for who, call in calls.items()}
    if not options.no_compile:
        torch._dynamo.reset()
        calls["compiled"] = torch.compile(forward, dynamic=False)
    agree(calls, args)
    return {
        "layer": name,
        "size": list(size),
        "saved": list(emitted.residuals),
        "bytes": {who: total for who, (total, _) in kept.items()},
        "bytes without inputs": {who: inner for who, (_, inner) in kept.items()},
        **times(calls, args, options.seconds),
    }


def saved_bytes(call, args):
    """Return the bytes kept for backward, and those that are no input's."""
    kept = {}

    def pack(value):
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        call(*args)
    inputs = {value.untyped_storage().data_ptr() for value in args}
    sizes = {place: storage.nbytes() for place, storage in kept.items()}
    return sum(sizes.values()), sum(n for place, n in sizes.items() if place not in inputs)


def step(call, args, up):
    """Run forward and backward."""
    output = call(*args)
    return torch.autograd.grad(output, [v for v in args if v.requires_grad], up)


def upstream(output):
    """Return an upstream gradient: 1 for a loss."""
    g = torch.Generator().manual_seed(3)
    return torch.randn(output.shape, generator=g) if output.ndim else torch.ones_like(output)


def agree(calls, args) -> None:
    """Refuse to time what does not compute the same; it also warms up."""
    up = upstream(calls["autograd"](*args))
    truth = step(calls["autograd"], args, up)
    for call in calls.values():
        for mine, theirs in zip(step(call, args, up), truth, strict=True):
            scale = float(theirs.abs().max())
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * scale)


def times(calls, args, seconds):
    """Return for each contender the ratio to autograd within a round: median, 10 %, 90 %."""
    up = upstream(calls["autograd"](*args))
    found = {who: [] for who in calls}
    names = list(calls)
    start, round = time.perf_counter(), 0
    gc.disable()
    while time.perf_counter() - start < seconds or round < 12:
        for who in names[round % len(names) :] + names[: round % len(names)]:
            begin = time.process_time()
            step(calls[who], args, up)
            found[who].append(time.process_time() - begin)
        round += 1
    gc.enable()
    ratios = {
        who: sorted(a / b for a, b in zip(taken, found["autograd"], strict=True))
        for who, taken in found.items()
    }
    return {
        "rounds": round,
        "autograd µs": 1e6 * statistics.median(found["autograd"]),
        "ratio": {
            who: [statistics.median(r), r[len(r) // 10], r[len(r) * 9 // 10]]
            for who, r in ratios.items()
        },
    }


MARKS = "<!-- measured -->", "<!-- end -->"
HEAD = """\
| layer | size | kept by autograd | by hand | emitted | autograd | by hand | emitted | compiled |
|---|---|---|---|---|---|---|---|---|"""


def line(row) -> str:
    """Return a row of the table."""
    kept = [
        f"{words(row['bytes'][who])} ({words(row['bytes without inputs'][who])})"
        for who in ("autograd", "by hand", "emitted")
    ]
    ratios = [
        "{:.2f} ({:.2f}-{:.2f})".format(*row["ratio"][who]) if who in row["ratio"] else ""
        for who in ("by hand", "emitted", "compiled")
    ]
    size = "x".join(map(str, row["size"]))
    cells = [row["layer"], size, *kept, f"{row['autograd µs']:.0f} µs", *ratios]
    return f"| {' | '.join(cells)} |"


def words(count) -> str:
    """Return a number of bytes in KiB."""
    return f"{count / 1024:.1f} K" if count else "0"


if __name__ == "__main__":
    main()
