"""Forward passes in small plain steps, each with arguments to call it with."""

from __future__ import annotations

import torch
import torch.nn.functional as F


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
    out = xhat * w + b
    return out


def cross_entropy(logits, y):
    n = logits.shape[0]
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdim=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), y].mean()
    return loss


def swiglu(x, W1, W2, W3):
    gate = x @ W1
    up = x @ W2
    act = gate * torch.sigmoid(gate)
    h = act * up
    out = h @ W3
    return out


def gelu_tanh(x):
    inner = (2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)
    t = torch.tanh(inner)
    out = 0.5 * x * (1 + t)
    return out


def gelu_erf(x):
    phi = 0.5 * (1 + torch.erf(x / 2**0.5))
    out = x * phi
    return out


def batch_norm(x, gain, bias, eps=1e-5):
    n = x.shape[0]
    mean = 1 / n * x.sum(0, keepdim=True)
    diff = x - mean
    var = 1 / (n - 1) * (diff**2).sum(0, keepdim=True)
    inv = (var + eps) ** -0.5
    raw = diff * inv
    out = gain * raw + bias
    return out


def linear(x, W, b):
    return x @ W + b


def attention(q, k, v):
    B, T, C = q.shape
    scores = q @ k.mT / C**0.5
    future = torch.ones(T, T).triu(1) == 1
    weights = scores.masked_fill(future, float("-inf")).softmax(-1)
    return weights @ v


def relu_mlp(x, W1, b1, W2):
    h = F.relu(x @ W1 + b1)
    return (h @ W2).tanh()


def embedded(C, ix, W):
    emb = C[ix]
    return torch.tanh(emb.view(emb.shape[0], -1) @ W)


def picked(x):
    return x.max(1).values * 2


def softmax(x, dim=-1):
    return x.softmax(dim)


def tensor(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([3, 0, 3, 2, 1])
SIX = {
    "rms_norm": (rms_norm, (tensor(3, 5, 7), tensor(7, seed=1))),
    "layer_norm": (layer_norm, (tensor(3, 5, 7), tensor(7, seed=1), tensor(7, seed=2))),
    "cross_entropy": (cross_entropy, (tensor(5, 7), LABELS)),
    "swiglu": (
        swiglu,
        (tensor(2, 3, 5), tensor(5, 7, seed=1), tensor(5, 7, seed=2), tensor(7, 5, seed=3)),
    ),
    "gelu_tanh": (gelu_tanh, (tensor(3, 7),)),
    "gelu_erf": (gelu_erf, (tensor(3, 7),)),
    "batch_norm": (batch_norm, (tensor(11, 7), tensor(1, 7, seed=1), tensor(1, 7, seed=2))),
}
MORE = {
    "linear": (linear, (tensor(3, 5), tensor(5, 7, seed=1), tensor(7, seed=2))),
    "attention": (attention, tuple(tensor(2, 5, 3, seed=s) for s in range(3))),
    "relu_mlp": (
        relu_mlp,
        (tensor(3, 5), tensor(5, 7, seed=1), tensor(7, seed=2), tensor(7, 2, seed=3)),
    ),
    "embedded": (
        embedded,
        (tensor(7, 2), torch.tensor([[1, 3], [3, 0], [6, 1]]), tensor(4, 3, seed=1)),
    ),
    "picked": (picked, (tensor(5, 7),)),
    "softmax": (softmax, (tensor(3, 5),)),
}
ALL = SIX | MORE


def leaves_of(args, needs=None):
    """Return fresh arguments, floating-point ones as leaves where a gradient is asked."""
    fresh, place = [], 0
    for value in args:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            value = value.detach().clone().requires_grad_(needs is None or needs[place])
            place += 1
        fresh.append(value)
    return fresh


def saved_bytes(call, args):
    """Return the bytes that autograd keeps for a call: of all memory, and of what is no input."""
    kept = {}

    def pack(value):
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        output = call(*args)
    inputs = {v.untyped_storage().data_ptr() for v in args if isinstance(v, torch.Tensor)}
    sizes = {place: storage.nbytes() for place, storage in kept.items()}
    return sum(sizes.values()), sum(n for place, n in sizes.items() if place not in inputs)
