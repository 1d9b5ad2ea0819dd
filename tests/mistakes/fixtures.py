"""The forward passes that the mistakes are made in: leaves, constants, lines that end in `loss`."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import randn

import handgrad as hg
from handgrad.models import character_mlp
from handgrad.train.data import Vocabulary, build_dataset, load_words


class Setting(NamedTuple):
    leaves: dict[str, torch.Tensor]
    constants: dict[str, Any]
    lines: str


SEED = 4321
SIZES = {"n": 32, "vocab_size": 27, "n_embd": 10, "block_size": 3, "n_hidden": 64}


def makemore() -> Setting:
    words = load_words()[:3000]
    vocabulary = Vocabulary.from_words(words)
    X, Y = build_dataset(words, vocabulary)
    g = torch.Generator().manual_seed(SEED)
    leaves = character_mlp.parameters(len(vocabulary), g, n_hidden=SIZES["n_hidden"])
    batch = torch.randint(0, len(X), (SIZES["n"],), generator=g)
    body = inspect.getsource(character_mlp.small_steps).splitlines()
    lines = [line.strip() for line in body if line.startswith("    ") and " = " in line]
    return Setting(leaves, {"Xb": X[batch], "Yb": Y[batch], **SIZES}, "\n".join(lines))


def layernorm() -> Setting:
    leaves = {"x": randn(4, 5, 8), "g": randn(8) * 0.1 + 1, "b": randn(8) * 0.1}
    lines = """
    mu = x.mean(-1, keepdim=True)
    var = ((x - mu)**2).mean(-1, keepdim=True)
    rstd = (var + eps)**-0.5
    xhat = (x - mu) * rstd
    out = xhat * g + b
    loss = (out * Z).sum()"""
    return Setting(leaves, {"B": 4, "T": 5, "D": 8, "eps": 1e-5, "Z": randn(4, 5, 8)}, lines)


def rmsnorm() -> Setting:
    lines = """
    ms = (x**2).mean(-1, keepdim=True)
    rstd = (ms + eps)**-0.5
    xhat = x * rstd
    out = xhat * g
    loss = (out * Z).sum()"""
    leaves = {"x": randn(4, 5, 8), "g": randn(8) * 0.1 + 1}
    return Setting(leaves, {"D": 8, "eps": 1e-5, "Z": randn(4, 5, 8)}, lines)


def attention() -> Setting:
    weights = {name: randn(8, 8) * 0.3 for name in ("Wq", "Wk", "Wv")}
    lines = """
    q = x @ Wq
    k = x @ Wk
    v = x @ Wv
    scores = q @ k.transpose(-2, -1) * hs**-0.5
    masked = scores.masked_fill(mask, float('-inf'))
    att = masked.softmax(-1)
    y = att @ v
    loss = (y * Z).sum()"""
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    constants = {"B": 2, "T": 6, "hs": 8, "mask": later, "Z": randn(2, 6, 8)}
    return Setting({"x": randn(2, 6, 8), **weights}, constants, lines)


def heads() -> Setting:
    lines = """
    xh = x.view(B, T, nh, hs).transpose(1, 2)
    loss = (xh * Z).sum()"""
    constants = {"B": 2, "T": 6, "nh": 4, "hs": 2, "Z": randn(2, 4, 6, 2)}
    return Setting({"x": randn(2, 6, 8)}, constants, lines)


def linear() -> Setting:
    lines = """
    out = x @ W + b
    loss = (out * Z).sum()"""
    leaves = {"x": randn(4, 5, 6), "W": randn(6, 6) * 0.4, "b": randn(6) * 0.1}
    return Setting(leaves, {"B": 4, "T": 5, "Z": randn(4, 5, 6)}, lines)


def residual() -> Setting:
    lines = """
    r = torch.tanh(x @ W)
    out = x + r
    loss = (out * Z).sum()"""
    return Setting({"x": randn(4, 6), "W": randn(6, 6) * 0.3}, {"Z": randn(4, 6)}, lines)


def dropout() -> Setting:
    lines = """
    out = x * keep / (1 - p)
    loss = (out * Z).sum()"""
    constants = {"p": 0.3, "keep": torch.rand(8, 16) > 0.3, "Z": randn(8, 16)}
    return Setting({"x": randn(8, 16)}, constants, lines)


def gelu() -> Setting:
    lines = """
    out = F.gelu(x)
    loss = (out * Z).sum()"""
    return Setting({"x": randn(8, 16)}, {"Z": randn(8, 16)}, lines)


def relu() -> Setting:
    lines = """
    z = x * 1.5
    out = z.clamp(min=0)
    loss = (out * Z).sum()"""
    return Setting({"x": randn(8, 16)}, {"Z": randn(8, 16)}, lines)


def conv1d() -> Setting:
    lines = """
    out = F.conv1d(x, w, b)
    loss = (out * Z).sum()"""
    leaves = {"x": randn(3, 2, 9), "w": randn(4, 2, 3), "b": randn(4)}
    return Setting(leaves, {"K": 3, "Z": randn(3, 4, 7)}, lines)


def conv2d() -> Setting:
    lines = """
    out = F.conv2d(x, w, b, padding=pad)
    loss = (out * Z).sum()"""
    leaves = {"x": randn(3, 2, 8, 8), "w": randn(4, 2, 3, 3), "b": randn(4)}
    return Setting(leaves, {"pad": 1, "Z": randn(3, 4, 8, 8)}, lines)


def mse() -> Setting:
    lines = "loss = ((pred - y)**2).mean()"
    return Setting({"pred": randn(16, 3)}, {"y": randn(16, 3)}, lines)


def cross_entropy() -> Setting:
    labels = torch.tensor([0, 1, 2, -100, 3, 4, -100, 5, 6, 0, -100, 1])
    lines = "loss = F.cross_entropy(logits, y, ignore_index=-100)"
    return Setting({"logits": randn(12, 7)}, {"n": 12, "y": labels}, lines)


def rnn() -> Setting:
    lines = """
    h1 = torch.tanh(h0 @ Wh)
    h2 = torch.tanh(h1 @ Wh)
    loss = (h1 * Z1).sum() + (h2 * Z2).sum()"""
    leaves = {"h0": randn(5, 4), "Wh": randn(4, 4) * 0.5}
    return Setting(leaves, {"Z1": randn(5, 4), "Z2": randn(5, 4)}, lines)


SETTINGS: dict[str, Callable[[], Setting]] = {
    made.__name__: made
    for made in (
        *(makemore, layernorm, rmsnorm, attention, heads, linear, residual, dropout),
        *(gelu, relu, conv1d, conv2d, mse, cross_entropy, rnn),
    )
}


def setting_of(mistake: dict[str, Any]) -> str:
    """Return the name of the forward pass that a mistake is made in."""
    context = mistake["context"]
    if "head split" in context:
        return "heads"
    if context.startswith("conv"):
        return "conv1d" if "conv1d" in mistake["forward_line"] else "conv2d"
    return context.split()[0].rstrip(":").replace("-", "_")


def traced(name: str, dtype: torch.dtype = torch.float64) -> tuple[hg.Trace, dict[str, Any]]:
    """Return a forward pass traced in a dtype, and its constants."""
    torch.manual_seed(SEED)
    leaves, constants, lines = SETTINGS[name]()
    leaves = {n: v.to(dtype) for n, v in leaves.items()}
    constants = {
        n: v.to(dtype) if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for n, v in constants.items()
    }
    body = "\n".join(f"    {line.strip()}" for line in lines.strip().splitlines())
    source = f"def forward({', '.join((*leaves, *constants))}):\n{body}\n    return loss\n"
    file = f"<mistakes, {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(compile(source, file, "exec"), scope)
    return hg.trace(scope["forward"], **leaves, **constants, wrt=[*leaves]), constants
