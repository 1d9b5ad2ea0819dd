"""Trained networks outside training: batch norm calibrated, losses, new words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.models.character_mlp import before_norm, predict
from handgrad.train.data import Vocabulary

CHUNK = 32_768
LONGEST = 100
"""Where a sampled word is cut, in characters: an untrained network may never end one."""


class Network(Protocol):
    """What gives logits after training."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Return the parameters by name."""
        ...

    def logits(self, X: Tensor) -> Tensor:
        """Return the logits of contexts X [n, block_size]: [n, classes], or one row a place."""
        ...


@dataclass(frozen=True)
class Predictor:
    """A network that needs nothing but its parameters.

    Attributes:
        parameters: by name.
        predict: from parameters and contexts to logits.
    """

    parameters: Mapping[str, Tensor]
    predict: Callable[[Mapping[str, Tensor], Tensor], Tensor]

    def logits(self, X: Tensor) -> Tensor:
        """Return the logits of contexts X [n, block_size]."""
        return self.predict(self.parameters, X)


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
def mean_loss(network: Network, X: Tensor, Y: Tensor) -> float | None:
    """Return the mean cross-entropy of contexts X with next characters Y; None without any."""
    if not len(X):
        return None
    rows = max(1, CHUNK // Y[0].numel())
    total = sum(
        float(
            F.cross_entropy(network.logits(x).flatten(0, -2), y.flatten(), reduction="sum").double()
        )
        for x, y in zip(X.split(rows), Y.split(rows), strict=True)
    )
    return total / Y.numel()


@torch.no_grad()
def sample(
    network: Network,
    vocabulary: Vocabulary,
    count: int,
    seed: int,
    block_size: int = 3,
    *,
    filled: bool = True,
) -> tuple[str, ...]:
    """Return new words, character by character; none if a parameter is not finite.

    Args:
        network: gives the logits.
        vocabulary: of its data.
        count: how many words.
        seed: of the random numbers.
        block_size: the longest context.
        filled: whether contexts at a word's start are filled up with boundaries.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in network.parameters.values()):
        return ()
    generator = torch.Generator().manual_seed(seed)
    words = []
    for _ in range(count):
        indices = [0] * (block_size if filled else 1)
        end = len(indices) + LONGEST
        while len(indices) < end:
            logits = network.logits(torch.tensor([indices[-block_size:]])).flatten(0, -2)[-1:]
            drawn = torch.multinomial(logits.softmax(1), 1, generator=generator)
            indices.append(int(drawn.item()))
            if indices[-1] == 0:
                break
        words.append(vocabulary.decode(i for i in indices if i))
    return tuple(words)
