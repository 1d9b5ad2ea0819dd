"""A small GPT on characters: two pre-norm blocks of causal attention and a GELU MLP."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_SIZE = 32
WIDTH = 64
HEADS = 4
BLOCKS = 2


def parameters(
    vocab_size: int,
    generator: torch.Generator,
    *,
    width: int = WIDTH,
    block_size: int = BLOCK_SIZE,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Draw the parameters as GPT-2 does: deviation 0.02, what ends a residual path smaller.

    Returns:
        wte [vocab_size, width], wpe [block_size, width]; for each block k gain<k>a and gain<k>b
        [width], Wqkv<k> [width, 3 * width], Wo<k> [width, width], Wfc<k> [width, 4 * width],
        Wout<k> [4 * width, width]; gain [width], Wlm [width, vocab_size].
    """

    def normal(*shape: int, deviation: float = 0.02) -> Tensor:
        return torch.randn(shape, generator=generator) * deviation

    ends = 0.02 / (2 * BLOCKS) ** 0.5
    drawn = {"wte": normal(vocab_size, width), "wpe": normal(block_size, width)}
    for k in range(1, BLOCKS + 1):
        drawn[f"gain{k}a"] = torch.ones(width)
        drawn[f"Wqkv{k}"] = normal(width, 3 * width)
        drawn[f"Wo{k}"] = normal(width, width, deviation=ends)
        drawn[f"gain{k}b"] = torch.ones(width)
        drawn[f"Wfc{k}"] = normal(width, 4 * width)
        drawn[f"Wout{k}"] = normal(4 * width, width, deviation=ends)
    drawn["gain"] = torch.ones(width)
    drawn["Wlm"] = normal(width, vocab_size)
    return {name: value.to(dtype) for name, value in drawn.items()}


# fmt: off
def norm(x, gain):
    """Return x [n, T, width] with mean 0 and variance 1 in each row, scaled."""
    diff = x - x.mean(-1, keepdim=True)
    var = (diff**2).mean(-1, keepdim=True)
    xnorm = gain * diff * (var + 1e-5)**-0.5
    return xnorm


def attention(x, Wqkv, Wo):
    """Return causal self-attention of x [n, T, width] in HEADS heads."""
    n, T, C = x.shape
    qkv = x @ Wqkv
    q, k, v = qkv.split(C, dim=2)
    q = q.view(n, T, HEADS, C // HEADS).transpose(1, 2)
    k = k.view(n, T, HEADS, C // HEADS).transpose(1, 2)
    v = v.view(n, T, HEADS, C // HEADS).transpose(1, 2)
    scores = q @ k.mT * (C // HEADS)**-0.5
    future = torch.ones(T, T).triu(1) == 1
    masked = scores.masked_fill(future, float("-inf"))
    weights = masked.softmax(-1)
    heads = weights @ v
    joined = heads.transpose(1, 2).flatten(2)
    return joined @ Wo


def block(x, gain_a, Wqkv, Wo, gain_b, Wfc, Wout):
    """Return a block of x [n, T, width]: attention and MLP, each on a norm and with a residual."""
    x = x + attention(norm(x, gain_a), Wqkv, Wo)
    fc = norm(x, gain_b) @ Wfc
    h = F.gelu(fc, approximate="tanh")
    x = x + h @ Wout
    return x


def forward(wte, wpe, gain1a, Wqkv1, Wo1, gain1b, Wfc1, Wout1,
            gain2a, Wqkv2, Wo2, gain2b, Wfc2, Wout2, gain, Wlm, Xb, Yb):
    """Return the loss of windows Xb [n, T]: at every place the next character is Yb [n, T]."""
    x = wte[Xb] + wpe[:Xb.shape[1]]
    x = block(x, gain1a, Wqkv1, Wo1, gain1b, Wfc1, Wout1)
    x = block(x, gain2a, Wqkv2, Wo2, gain2b, Wfc2, Wout2)
    logits = norm(x, gain) @ Wlm
    loss = F.cross_entropy(logits.flatten(0, 1), Yb.flatten())
    return loss
# fmt: on


def predict(parameters: Mapping[str, Tensor], Xb: Tensor) -> Tensor:
    """Return the logits [n, T, vocab_size] of windows Xb [n, T]."""
    p = parameters
    x = p["wte"][Xb] + p["wpe"][: Xb.shape[1]]
    for k in range(1, BLOCKS + 1):
        names = (f"gain{k}a", f"Wqkv{k}", f"Wo{k}", f"gain{k}b", f"Wfc{k}", f"Wout{k}")
        x = block(x, *(p[name] for name in names))
    return norm(x, p["gain"]) @ p["Wlm"]
