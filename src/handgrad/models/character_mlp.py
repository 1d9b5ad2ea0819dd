"""The seed: a character MLP with batch norm, its forward pass in small steps and in short."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_SIZE = 3
EMBEDDING = 10
HIDDEN = 200
BATCH = 32
SEED = 2147483647


def parameters(
    vocab_size: int,
    generator: torch.Generator,
    *,
    n_embd: int = EMBEDDING,
    n_hidden: int = HIDDEN,
    block_size: int = BLOCK_SIZE,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Draw the parameters as the published exercise does: none is zero, so no mistake can hide.

    The exercise draws `bngain` and `bnbias` from the global generator; here they come last from
    the given one, so that one seed settles everything.

    Returns:
        C [vocab_size, n_embd], W1 [block_size * n_embd, n_hidden], b1 [n_hidden],
        W2 [n_hidden, vocab_size], b2 [vocab_size], bngain and bnbias [1, n_hidden].
    """
    g, fan_in = generator, n_embd * block_size
    drawn = {
        "C": torch.randn((vocab_size, n_embd), generator=g),
        "W1": torch.randn((fan_in, n_hidden), generator=g) * (5 / 3) / fan_in**0.5,
        "b1": torch.randn(n_hidden, generator=g) * 0.1,
        "W2": torch.randn((n_hidden, vocab_size), generator=g) * 0.1,
        "b2": torch.randn(vocab_size, generator=g) * 0.1,
        "bngain": torch.randn((1, n_hidden), generator=g) * 0.1 + 1.0,
        "bnbias": torch.randn((1, n_hidden), generator=g) * 0.1,
    }
    return {name: value.to(dtype) for name, value in drawn.items()}


# fmt: off
def small_steps(C, Xb, Yb, W1, b1, bngain, bnbias, W2, b2, n):
    """Return the loss of a batch Xb [n, block_size], Yb [n], in steps small enough to invert."""
    emb = C[Xb]
    embcat = emb.view(emb.shape[0], -1)
    hprebn = embcat @ W1 + b1
    bnmeani = 1/n*hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1/(n-1)*(bndiff2).sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5)**-0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    h = torch.tanh(hpreact)
    logits = h @ W2 + b2
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdims=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss


def short(C, Xb, Yb, W1, b1, bngain, bnbias, W2, b2):
    """Return the same loss with batch norm in one line and cross-entropy in one line."""
    emb = C[Xb]
    embcat = emb.view(emb.shape[0], -1)
    hprebn = embcat @ W1 + b1
    hpreact = bngain * (hprebn - hprebn.mean(0, keepdim=True)) / torch.sqrt(hprebn.var(0, keepdim=True, unbiased=True) + 1e-5) + bnbias
    h = torch.tanh(hpreact)
    logits = h @ W2 + b2
    loss = F.cross_entropy(logits, Yb)
    return loss


def library_norm(hprebn, bngain, bnbias):
    """Return the same batch norm by torch's own function, which divides by n and not by n - 1."""
    hpreact = F.batch_norm(hprebn, None, None, bngain, bnbias, training=True)
    return hpreact
# fmt: on


def before_norm(C: Tensor, Xb: Tensor, W1: Tensor, b1: Tensor) -> Tensor:
    """Return what batch norm reads [n, n_hidden], of contexts Xb [n, block_size]."""
    return C[Xb].view(Xb.shape[0], -1) @ W1 + b1


def predict(parameters: Mapping[str, Tensor], Xb: Tensor, bnmean: Tensor, bnvar: Tensor) -> Tensor:
    """Return the logits [n, vocab_size] of contexts, batch norm by a given mean and variance."""
    p = parameters
    hprebn = before_norm(p["C"], Xb, p["W1"], p["b1"])
    hpreact = p["bngain"] * (hprebn - bnmean) * (bnvar + 1e-5) ** -0.5 + p["bnbias"]
    return torch.tanh(hpreact) @ p["W2"] + p["b2"]
