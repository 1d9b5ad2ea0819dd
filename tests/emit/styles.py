"""Forward passes in ordinary styles, each with what makes its arguments from sizes.

`case(forward, make, sizes)`: the sizes are those of the trace; many are equal on purpose.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Case:
    """A forward pass, and its arguments for given sizes."""

    forward: Callable[..., Any]
    make: Callable[..., tuple[Any, ...]]
    sizes: dict[str, int]

    @property
    def name(self) -> str:
        """Return the forward pass's name."""
        return self.forward.__name__


CASES: list[Case] = []


def case(make: Callable[..., tuple[Any, ...]], *sizes: int) -> Callable[..., Any]:
    """Add a case: the parameters of `make` are the names of the sizes."""

    def add(forward: Callable[..., Any]) -> Callable[..., Any]:
        names = inspect.signature(make).parameters
        CASES.append(Case(forward, make, dict(zip(names, sizes, strict=True))))
        return forward

    return add


def r(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return real numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + len(shape)))


def whole(top: int, *shape: int) -> torch.Tensor:
    """Return whole numbers below one."""
    return torch.randint(top, shape, generator=torch.Generator().manual_seed(3))


@case(lambda N, M, D: (r(N, D), r(M, D, seed=1)), 3, 5, 4)
def scaled_by_sqrt(q, k):
    return (q @ k.T) * (1 / math.sqrt(q.size(-1)))


@case(lambda N, M, D: (r(N, D), r(M, D, seed=1)), 4, 4, 4)
def scaled_by_imported_sqrt(q, k):
    d = q.shape[-1]
    scale = 1.0 / sqrt(d)
    return (q @ k.T * scale).softmax(-1)


@case(lambda N, M, D: (r(N, D), r(M, D, seed=1)), 2, 4, 4)
def scaled_by_numpy(q, k):
    return (q @ k.T / np.sqrt(k.shape[1])).tanh()


@case(lambda N, M, D: (r(N, D), r(M, D, seed=1)), 2, 3, 9)
def scaled_by_power(q, k):
    return (q * q.shape[-1] ** -0.5) @ k.T


@case(lambda N, T, D, H: (r(N, T, D), r(D, H, seed=1), r(H, H, seed=2)), 2, 3, 4, 5)
def rnn(x, W, U):
    h = torch.zeros(x.shape[0], W.shape[1])
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ W + h @ U)
    return h


@case(lambda N, T, D, H: (r(N, T, D), r(D, H, seed=1), r(H, H, seed=2)), 2, 1, 2, 2)
def rnn_of_one_step(x, W, U):
    h = x.new_zeros(x.size(0), U.size(0))
    for t in range(x.size(1)):
        h = torch.tanh(x[:, t, :] @ W + h @ U)
    return h


@case(lambda N, T, D: (r(N, T, D),), 2, 3, 4)
def running_sum(x):
    outs = []
    total = torch.zeros_like(x[:, 0])
    for t in range(x.shape[1]):
        total = total + x[:, t].sin()
        outs.append(total)
    return torch.stack(outs, 1)


@case(lambda N, T, D: (r(N, T, D),), 3, 3, 3)
def unbound(x):
    total = 0
    for step in x.unbind(1):
        total = total * 0.5 + step.tanh()
    return total


@case(lambda N, T, C, H: (r(N, T, C * H), r(C * H, C * H, seed=1), H), 2, 3, 7, 5)
def heads_as_argument(x, W, heads):
    b, n, d = x.shape
    q = (x @ W).view(b, n, heads, d // heads).transpose(1, 2)
    p = (q @ q.transpose(-1, -2)).softmax(-1)
    return (p @ q).transpose(1, 2).reshape(b, n, d)


@case(lambda N, T, C, H: (r(N, T, C * H), r(C * H, C * H, seed=1), H), 2, 3, 2, 2)
def heads_of_equal_sizes(x, W, heads):
    B, T, C = x.size()
    hd = C // heads
    q = (x @ W).view(B, T, heads, hd).transpose(1, 2)
    att = q @ q.mT * (1.0 / math.sqrt(hd))
    att = att.masked_fill(torch.tril(torch.ones(T, T)) == 0, float("-inf"))
    y = att.softmax(-1) @ q
    return y.transpose(1, 2).contiguous().view(B, T, C)


@case(lambda N, T, D: (r(N, T, 2 * D),), 2, 4, 4)
def heads_written_out(x):
    b, n, d = x.shape
    q = x.view(b, -1, 2, d // 2).transpose(1, 2)
    w = F.softmax(q @ q.mT / (d // 2) ** 0.5, dim=-1)
    return (w @ q).transpose(1, 2).flatten(2)


def split_heads(x, h):
    b, n, d = x.shape
    return x.reshape(b, n, h, d // h).permute(0, 2, 1, 3)


@case(lambda N, T, D, H: (r(N, T, D * H), H), 2, 5, 3, 2)
def heads_in_a_helper(x, heads):
    q = split_heads(x, heads)
    return (q @ q.mT).softmax(-1) @ q


def scaled(q, k):
    d = q.shape[-1]
    return q @ k.mT / math.sqrt(d)


@case(lambda N, T, D: (r(N, T, D), r(N, T, D, seed=1)), 2, 3, 4)
def scale_in_a_helper(q, k):
    return scaled(q, k).softmax(-1) @ k


def add_rows(a):
    n = a.shape[0]
    return a.sum(0) / n


def add_columns(a):
    n = a.shape[1]
    return a.sum(1) / n


@case(lambda N, D: (r(N, D),), 3, 3)
def one_name_in_two_helpers(x):
    return add_rows(x).sum() * add_columns(x.tanh())


@case(
    lambda N, Q, K, H, D: (r(N, Q, H, D), r(N, K, H, D, seed=1), r(N, K, H, D, seed=2)),
    2,
    3,
    5,
    2,
    4,
)
def einsum_attention(q, k, v):
    scores = torch.einsum("nqhd,nkhd->nhqk", q, k) / (q.shape[-1] ** 0.5)
    return torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), v)


@case(lambda N, C, G: (r(N, C * G), r(C * G, seed=1), G), 3, 7, 5)
def group_norm_by_hand(x, w, groups):
    n, c = x.shape
    y = x.reshape(n, groups, c // groups)
    y = (y - y.mean(-1, keepdim=True)) * (y.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt()
    return y.reshape(n, c) * w


@case(lambda N, C, S: (r(N, 2 * C, S, S), r(2 * C, seed=1), r(2 * C, seed=2)), 2, 2, 4)
def group_norm(x, w, b):
    return F.group_norm(x, 2, w, b).relu()


@case(lambda N, T, D: (r(N, T, D), r(D, seed=1)), 2, 3, 3)
def layer_norm_by_shape(x, w):
    return F.layer_norm(x, x.shape[-1:]) * w


@case(lambda N, T, D: (r(N, T, D), r(D, seed=1), r(D, seed=2)), 2, 3, 4)
def layer_norm_weight_shape(x, w, b):
    return F.layer_norm(x, w.shape, w, b, 1e-5)


@case(lambda N, T, D: (r(N, T, D), r(D, seed=1), r(D, seed=2)), 2, 3, 4)
def layer_norm_literal(x, w, b):
    return F.layer_norm(x, (4,), w, b)


@case(lambda N, D: (r(N, D), r(D, seed=1), r(D, seed=2)), 5, 3)
def batch_norm_by_hand(x, g, b, eps=1e-5):
    n = x.shape[0]
    mean = 1 / n * x.sum(0, keepdim=True)
    var = 1 / (n - 1) * ((x - mean) ** 2).sum(0, keepdim=True)
    return g * (x - mean) * (var + eps) ** -0.5 + b


@case(lambda N, C, S: (r(N, C, S), r(C, C, 3, seed=1)), 2, 3, 8)
def conv_with_computed_padding(x, w):
    pad = (w.shape[-1] - 1) // 2
    return F.conv1d(x, w, padding=pad).relu()


@case(lambda N, C, S, K: (r(N, C, S, S), r(4, C, K, K, seed=1), r(4, seed=2)), 2, 3, 5, 3)
def conv_same(x, w, b):
    return F.conv2d(x, w, b, padding=w.shape[2] // 2).mean((2, 3))


@case(lambda N, C, S, K: (r(N, C, S), r(C, K, seed=1)), 2, 3, 8, 2)
def causal_convolution(x, w):
    k = w.shape[1]
    y = F.pad(x, (k - 1, 0))
    return F.conv1d(y, w.unsqueeze(1), groups=w.shape[0])


@case(lambda T, D: (r(T, 2 * D),), 5, 3)
def rotary(x):
    n, d = x.shape
    half = d // 2
    freqs = 10000 ** (-torch.arange(half, dtype=x.dtype) / half)
    angles = torch.arange(n, dtype=x.dtype)[:, None] * freqs
    a, b = x[:, :half], x[:, half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], 1)


@case(lambda N, T, D: (r(N, T, 2 * D),), 2, 4, 2)
def sinusoid_positions(x):
    T, d = x.shape[1], x.shape[2]
    pos = torch.arange(T).unsqueeze(1)
    div = torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
    pe = torch.cat([torch.sin(pos * div), torch.cos(pos * div)], dim=1)
    return (x + pe).tanh()


@case(lambda N, T, D: (r(N, T, D),), 2, 3, 4)
def alibi(x):
    T = x.shape[1]
    pos = torch.arange(T)
    bias = -(pos[:, None] - pos[None, :]).abs() * 0.5
    return (x @ x.mT + bias).softmax(-1) @ x


@case(lambda N, T, D: (r(N, T, D),), 3, 3, 3)
def causal_mask(x):
    T = x.size(1)
    mask = torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1)
    scores = (x @ x.transpose(1, 2)).masked_fill(mask, float("-inf"))
    return scores.softmax(dim=-1) @ x


@case(lambda N, T, D: (r(N, T, D),), 2, 4, 3)
def lowest_number_as_mask(x):
    T = x.size(1)
    mask = torch.ones(T, T).tril() == 0
    scores = (x @ x.mT).masked_fill(mask, torch.finfo(x.dtype).min)
    return scores.softmax(-1) @ x


@case(lambda N, T, D, W: (r(N, T, D), W), 2, 6, 3, 2)
def banded_mask(x, window):
    T = x.size(1)
    i = torch.arange(T)
    near = (i[:, None] - i[None, :]).abs() <= window
    return (x @ x.mT).masked_fill(~near, float("-inf")).softmax(-1) @ x


@case(lambda N, D: (r(N, D),), 3, 4)
def divided_by_numel(x):
    return (x**3).sum() / x.numel()


@case(lambda N, D: (r(N, D), r(N, D, seed=1)), 3, 4)
def mean_squared_by_len(x, y):
    return ((x - y) ** 2).sum() / len(x)


@case(lambda N, C: (r(N, C), whole(C, N)), 5, 5)
def picked_logprobs(logits, y):
    n = logits.shape[0]
    logp = logits.log_softmax(1)
    return -logp[torch.arange(n), y].mean()


@case(lambda N, C: (r(N, C), whole(C, N)), 4, 3)
def smoothed_labels(logits, y):
    C = logits.size(1)
    target = F.one_hot(y, C).float() * 0.9 + 0.1 / C
    return -(target * logits.log_softmax(1)).sum(1).mean()


@case(lambda N, C: (r(N, C),), 4, 3)
def entropy_over_log(logits):
    p = logits.softmax(1)
    return -(p * p.log()).sum(1) / math.log(logits.shape[1])


@case(lambda V, D, N, T: (r(V, D), whole(V, N, T)), 7, 4, 2, 3)
def embedded(E, ix):
    h = E[ix]
    return h.view(h.shape[0], -1).tanh()


@case(lambda V, D, N, T, H: (r(V, D), whole(V, N, T), r(T * D, H, seed=1)), 7, 2, 3, 2, 4)
def embedded_mlp(E, ix, W):
    emb = E[ix]
    return torch.tanh(emb.view(-1, ix.shape[1] * E.shape[1]) @ W)


@case(lambda N, D: (r(N, D),), 3, 4)
def upcast(x):
    return (x.float() ** 2).mean(-1, keepdim=True).to(x.dtype) * x


@case(lambda N, D: (r(N, D), r(D, seed=1)), 3, 4)
def eps_by_dtype(x, w):
    eps = torch.finfo(x.dtype).eps
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w


@case(lambda N, D: (r(N, D),), 3, 4)
def eps_by_branch_on_dtype(x):
    eps = 1e-3 if x.dtype == torch.float32 else 1e-6
    return x / (x.norm(dim=-1, keepdim=True) + eps)


@case(lambda N, D: (r(N, D),), 3, 4)
def branch_on_size(x):
    if x.shape[1] > 6:
        return x.tanh()
    return x * 2


@case(lambda N, D: (r(N, D),), 3, 4)
def branch_far_away(x):
    n, d = x.shape
    y = x.exp() if d <= 40 else x.sigmoid()
    return y * n


@case(lambda N, D: (r(N, D),), 3, 4)
def branch_on_rank(x):
    if x.dim() == 2:
        x = x.unsqueeze(0)
    return (x * 2).sin()


@case(lambda N, D: (r(N, D),), 3, 4)
def branch_on_a_value(x):
    if x.sum() > 0:
        return x * 2
    return x * 3


@case(lambda N, D: (r(N, D),), 3, 4)
def divided_by_an_item(x):
    return x / x.abs().max().item()


@case(lambda N, D, K: (r(N, D), K), 5, 4, 2)
def limited_by_min(x, k):
    m = min(k, x.shape[1])
    return x[:, :m].sum(1) / m


@case(lambda N, T, D: (r(N, T, D),), 2, 9, 3)
def window_by_max(x):
    T = x.shape[1]
    keep = max(T - 4, 1)
    return x[:, keep:].sum(1) * keep


@case(lambda N, T: (r(N, T),), 3, 7)
def last_of_each_row(x):
    T = x.shape[1]
    return x[:, T - 1] * x[:, T // 2].sin()


@case(lambda N, T: (r(N, T),), 3, 8)
def two_halves(x):
    a, b = x.chunk(2, dim=1)
    return a * b.sigmoid()


@case(lambda N, C: (r(N, 3 * C),), 2, 2)
def split_by_size(x):
    c = x.shape[1] // 3
    q, k, v = x.split(c, dim=1)
    return q * k.tanh() + v


@case(lambda N, C: (r(N, C), r(C, seed=1)), 1, 4)
def batch_of_one(x, w):
    return (x * w).softmax(-1)


@case(lambda N, C: (r(N, C), r(N, 1, seed=1)), 1, 1)
def ones_everywhere(x, g):
    h = x * g
    rms = (h**2).mean(-1, keepdim=True).add(1e-6).rsqrt()
    return h * rms


@case(lambda N, C: (r(N, C),), 3, 1)
def column(x):
    return (x - x.mean(0, keepdim=True)).squeeze() * 2


@case(lambda N, C, S: (r(N, C, S, S),), 2, 3, 4)
def pooled(x):
    n, c, h, w = x.shape
    y = x.view(n, c, h // 2, 2, w // 2, 2).mean((3, 5))
    return y.flatten(1).tanh()


@case(lambda N, C, S: (r(N, 4 * C, S, S),), 2, 1, 3)
def pixel_shuffled(x):
    n, c, h, w = x.shape
    y = x.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // 4, h * 2, w * 2).sin()


@case(lambda N, S, P, D: (r(N, 3, P * S, P * S), r(3 * P * P, D, seed=1), P), 2, 2, 2, 4)
def patches(img, W, p):
    n, c, h, w = img.shape
    x = img.reshape(n, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(n, (h // p) * (w // p), c * p * p) @ W


@case(lambda N, M, D: (r(N, D), r(M, D, seed=1)), 3, 3, 3)
def distances(a, b):
    n, m = a.size(0), b.size(0)
    aa = (a * a).sum(1, keepdim=True).expand(n, m)
    bb = (b * b).sum(1).expand(n, m)
    return (-(aa + bb - 2 * a @ b.T)).exp().sum() / (n * m)


@case(lambda N, D: (r(N, D), r(N, D, seed=1)), 4, 4)
def contrastive(a, b):
    a, b = F.normalize(a, dim=1), F.normalize(b, dim=1)
    logits = a @ b.T / 0.07
    labels = torch.arange(len(a))
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@case(lambda N, E, D: (r(N, D), r(D, E, seed=1), r(E, D, D, seed=2)), 5, 3, 4)
def experts(x, G, W):
    gate = (x @ G).softmax(-1)
    outs = torch.stack([x @ W[e] for e in range(W.shape[0])], 1)
    return (gate.unsqueeze(-1) * outs).sum(1)


@case(lambda N, T, D: (r(N, T, D),), 2, 3, 4)
def repeated(x):
    T = x.shape[1]
    m = x.mean(1, keepdim=True).repeat(1, T, 1)
    return (x - m) * m.tanh()


@case(lambda N, T, D: (r(N, T, D), r(1, 1, D, seed=1)), 2, 3, 4)
def class_token(x, token):
    t = token.expand(x.shape[0], -1, -1)
    return torch.cat([t, x], 1).softmax(1)


@case(lambda N, D, L: (r(N, D), r(D, D, seed=1), r(D, D, seed=7), L), 3, 4, 2)
def layers_as_number(x, A, B, depth):
    for k in range(depth):
        x = torch.tanh(x @ (A if k % 2 == 0 else B))
    return x


@case(lambda N, D: (r(N, D), r(D, D, seed=1), r(D, seed=2)), 3, 3)
def residual(x, W, b):
    return x + F.gelu(F.linear(x, W, b), approximate="tanh")


@case(lambda N, D: (r(N, D), r(N, D, seed=1)), 3, 4)
def asserted(x, y):
    assert x.shape == y.shape, "shapes differ"
    assert x.dim() == 2
    return (x - y).abs().mean(0)


@case(lambda N, D: (r(N, D),), 3, 4)
def no_mask(x, mask=None, scale=1.0):
    s = x @ x.T * scale
    if mask is not None:
        s = s + mask
    return s.softmax(-1)


@case(lambda N, D, P: (r(N, D), P), 3, 4, 2)
def power_as_argument(x, p):
    return x.abs().pow(p).sum(1).pow(1 / p)


@case(lambda N, T: (r(N, T),), 2, 6)
def unfolded(x):
    w = x.unfold(1, 3, 1)
    return w.mean(-1) * w.shape[1]


@case(lambda N, D: (r(N, D),), 4, 4)
def trace_of_square(x):
    n = x.shape[0]
    eye = torch.eye(n)
    return ((x @ x.T) * eye).sum() / n


@case(lambda N, D, E: (r(N, D), r(D, E, seed=1), r(E, seed=2)), 2, 3, 4)
def named_shape(x, W, b):
    shape = x.shape
    y = (x.reshape(-1, shape[-1]) @ W + b).relu()
    return y.reshape(*shape[:-1], -1)


@case(lambda N, T, D: (r(N, T, D), torch.tensor([2, 3][:N] + [1] * (N - 2))), 2, 3, 4)
def lengths(x, n):
    T = x.shape[1]
    mask = (torch.arange(T)[None, :] < n[:, None]).float().unsqueeze(-1)
    return (x * mask).sum(1) / n[:, None]


def pad_to(x, k):
    extra = (k - x.shape[1] % k) % k
    return F.pad(x, (0, extra)) if extra else x


@case(lambda N, T: (r(N, T),), 2, 8)
def padded_in_a_helper(x):
    return pad_to(x, 4).view(x.shape[0], -1, 4).sum(-1).tanh()
