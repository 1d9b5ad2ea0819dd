"""The trained character MLP outside training: its batch norm calibrated, its losses, new words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.models.character_mlp import before_norm, predict
from handgrad.train.data import Vocabulary

CHUNK = 32_768
LONGEST = 100
"""Where a sampled word is cut, in characters: an untrained network may never end one."""


@dataclass(frozen=True)
class Calibrated:
    """A network as it is used after training.

    Attributes:
        parameters: by name.
        mean: of what batch norm reads, over the training set [1, n_hidden].
        variance: the same, unbiased.
    """

    parameters: Mapping[str, Tensor]
    mean: Tensor
    variance: Tensor

    def logits(self, X: Tensor) -> Tensor:
        """Return the logits of contexts X [n, block_size]."""
        return predict(self.parameters, X, self.mean, self.variance)


@torch.no_grad()
def calibrate(parameters: Mapping[str, Tensor], X: Tensor) -> Calibrated:
    """Take batch norm's mean and unbiased variance over contexts X [N, block_size], all at once.

    In chunks, about the first chunk's mean, in float64: nothing as long as the data is stored.
    """
    C, W1, b1 = parameters["C"], parameters["W1"], parameters["b1"]
    around = before_norm(C, X[:CHUNK], W1, b1).double().mean(0, keepdim=True)
    total, squares = torch.zeros_like(around), torch.zeros_like(around)
    for part in X.split(CHUNK):
        off = before_norm(C, part, W1, b1).double() - around
        total += off.sum(0, keepdim=True)
        squares += (off**2).sum(0, keepdim=True)
    n = X.shape[0]
    mean = around + total / n
    variance = (squares - total**2 / n) / max(n - 1, 1)
    return Calibrated(parameters, mean.to(b1.dtype), variance.clamp(min=0).to(b1.dtype))


@torch.no_grad()
def mean_loss(network: Calibrated, X: Tensor, Y: Tensor) -> float | None:
    """Return the mean cross-entropy of contexts X with next characters Y; None without any."""
    if not len(X):
        return None
    total = sum(
        float(F.cross_entropy(network.logits(x), y, reduction="sum").double())
        for x, y in zip(X.split(CHUNK), Y.split(CHUNK), strict=True)
    )
    return total / len(X)


@torch.no_grad()
def sample(
    network: Calibrated, vocabulary: Vocabulary, count: int, seed: int, block_size: int = 3
) -> tuple[str, ...]:
    """Return new words, character by character; none if a parameter is not finite."""
    if not all(bool(tensor.isfinite().all()) for tensor in network.parameters.values()):
        return ()
    generator = torch.Generator().manual_seed(seed)
    words = []
    for _ in range(count):
        indices = [0] * block_size
        while len(indices) < block_size + LONGEST:
            logits = network.logits(torch.tensor([indices[-block_size:]]))
            drawn = torch.multinomial(logits.softmax(1), 1, generator=generator)
            indices.append(int(drawn.item()))
            if indices[-1] == 0:
                break
        words.append(vocabulary.decode(i for i in indices if i))
    return tuple(words)
