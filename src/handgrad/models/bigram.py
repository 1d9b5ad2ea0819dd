"""Logistic regression from one character to the next: a table of logits, the bigram model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BLOCK_SIZE = 1


def parameters(
    vocab_size: int, generator: torch.Generator, *, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Draw W [vocab_size, vocab_size]: row i holds the logits of what follows character i."""
    W = torch.randn((vocab_size, vocab_size), generator=generator) * 0.1
    return {"W": W.to(dtype)}


# fmt: off
def forward(W, Xb, Yb, n):
    """Return the loss of a batch Xb [n, 1], Yb [n], with softmax in small steps."""
    logits = W[Xb[:, 0]]
    counts = (logits - logits.max(1, keepdim=True).values).exp()
    probs = counts / counts.sum(1, keepdim=True)
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    return loss
# fmt: on


def predict(parameters: Mapping[str, Tensor], Xb: Tensor) -> Tensor:
    """Return the logits [n, vocab_size] of characters Xb [n, 1]."""
    return parameters["W"][Xb[:, 0]]
