"""A character MLP with layer norm and ReLU: what each example gets depends on it alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK_SIZE = 3
EMBEDDING = 10
HIDDEN = 200


def parameters(
    vocab_size: int,
    generator: torch.Generator,
    *,
    n_embd: int = EMBEDDING,
    n_hidden: int = HIDDEN,
    block_size: int = BLOCK_SIZE,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Draw the parameters, weights by He's rule for ReLU (2015, equation 10).

    Returns:
        C [vocab_size, n_embd], W1 [block_size * n_embd, n_hidden], b1, gain and bias [n_hidden],
        W2 [n_hidden, vocab_size], b2 [vocab_size].
    """
    g, fan_in = generator, n_embd * block_size
    drawn = {
        "C": torch.randn((vocab_size, n_embd), generator=g),
        "W1": torch.randn((fan_in, n_hidden), generator=g) * (2 / fan_in) ** 0.5,
        "b1": torch.zeros(n_hidden),
        "gain": torch.ones(n_hidden),
        "bias": torch.zeros(n_hidden),
        "W2": torch.randn((n_hidden, vocab_size), generator=g) * 0.1 * (2 / n_hidden) ** 0.5,
        "b2": torch.zeros(vocab_size),
    }
    return {name: value.to(dtype) for name, value in drawn.items()}


# fmt: off
def forward(C, W1, b1, gain, bias, W2, b2, Xb, Yb):
    """Return the loss of a batch Xb [n, block_size], Yb [n], layer norm in small steps."""
    emb = C[Xb]
    embcat = emb.view(emb.shape[0], -1)
    hpre = embcat @ W1 + b1
    hdiff = hpre - hpre.mean(1, keepdim=True)
    hvar = (hdiff**2).mean(1, keepdim=True)
    rstd = (hvar + 1e-5)**-0.5
    hraw = hdiff * rstd
    hnorm = gain * hraw + bias
    h = torch.relu(hnorm)
    logits = h @ W2 + b2
    loss = F.cross_entropy(logits, Yb)
    return loss
# fmt: on


def predict(parameters: Mapping[str, Tensor], Xb: Tensor) -> Tensor:
    """Return the logits [n, vocab_size] of contexts Xb [n, block_size]."""
    p = parameters
    hpre = p["C"][Xb].view(Xb.shape[0], -1) @ p["W1"] + p["b1"]
    hnorm = F.layer_norm(hpre, hpre.shape[1:], p["gain"], p["bias"])
    return torch.relu(hnorm) @ p["W2"] + p["b2"]
