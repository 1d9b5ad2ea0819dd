"""Optimisers written out: how a parameter and its gradient become the next parameter.

The arithmetic is plain, so that it works on tensors and on what native code is made from. Each is
PyTorch's of the same name, in the order of its operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

Updated = tuple[Any, dict[str, Any]]


class Optimiser(Protocol):
    """What an optimiser has."""

    @property
    def lr(self) -> float:
        """Return the learning rate."""
        ...

    @property
    def memory(self) -> tuple[str, ...]:
        """Return the names of what is kept for each entry of a parameter, all 0 at first."""
        ...

    def numbers(self, step: int, lr: float) -> dict[str, float]:
        """Return what changes from step to step, counted from 1, as plain numbers."""
        ...

    def update(self, p: Any, g: Any, kept: Mapping[str, Any], now: Mapping[str, Any]) -> Updated:
        """Return the next parameter and what is kept, from a parameter and its gradient."""
        ...


@dataclass(frozen=True)
class SGD:
    """Gradient descent, with momentum in PyTorch's form, where the learning rate is outside it."""

    lr: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum: SGD(momentum=0.9, nesterov=True)")

    @property
    def memory(self) -> tuple[str, ...]:
        """Return the names of what is kept for each entry of a parameter."""
        return ("velocity",) if self.momentum else ()

    def numbers(self, step: int, lr: float) -> dict[str, float]:
        """Return what changes from step to step."""
        return {"lr": lr}

    def update(self, p: Any, g: Any, kept: Mapping[str, Any], now: Mapping[str, Any]) -> Updated:
        """Return p - lr * v with v = momentum * v + g."""
        if self.weight_decay:
            g = g + self.weight_decay * p
        if not self.momentum:
            return p - now["lr"] * g, {}
        velocity = self.momentum * kept["velocity"] + g
        ahead = g + self.momentum * velocity if self.nesterov else velocity
        return p - now["lr"] * ahead, {"velocity": velocity}


@dataclass(frozen=True)
class Adagrad:
    """Duchi, Hazan and Singer (2011): each entry's rate over the root of its summed squares."""

    lr: float = 0.01
    lr_decay: float = 0.0
    eps: float = 1e-10
    weight_decay: float = 0.0
    memory: ClassVar[tuple[str, ...]] = ("total",)

    def numbers(self, step: int, lr: float) -> dict[str, float]:
        """Return what changes from step to step."""
        return {"lr": lr / (1 + (step - 1) * self.lr_decay)}

    def update(self, p: Any, g: Any, kept: Mapping[str, Any], now: Mapping[str, Any]) -> Updated:
        """Return p - lr * g / (root(total) + eps) with total = total + g**2."""
        if self.weight_decay:
            g = g + self.weight_decay * p
        total = kept["total"] + g * g
        return p - now["lr"] * (g / (total**0.5 + self.eps)), {"total": total}


@dataclass(frozen=True)
class RMSprop:
    """Hinton's lecture 6e (2012): the rate over the root of a running mean of squares."""

    lr: float = 0.01
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0

    @property
    def memory(self) -> tuple[str, ...]:
        """Return the names of what is kept for each entry of a parameter."""
        return ("square", "velocity") if self.momentum else ("square",)

    def numbers(self, step: int, lr: float) -> dict[str, float]:
        """Return what changes from step to step."""
        return {"lr": lr}

    def update(self, p: Any, g: Any, kept: Mapping[str, Any], now: Mapping[str, Any]) -> Updated:
        """Return p - lr * g / (root(square) + eps), or with momentum the sum of such steps."""
        if self.weight_decay:
            g = g + self.weight_decay * p
        square = self.alpha * kept["square"] + (1 - self.alpha) * (g * g)
        scaled = g / (square**0.5 + self.eps)
        if not self.momentum:
            return p - now["lr"] * scaled, {"square": square}
        velocity = self.momentum * kept["velocity"] + scaled
        return p - now["lr"] * velocity, {"square": square, "velocity": velocity}


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba (2015), algorithm 1: running means of gradient and square, bias corrected."""

    lr: float = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    memory: ClassVar[tuple[str, ...]] = ("mean", "square")

    def numbers(self, step: int, lr: float) -> dict[str, float]:
        """Return what changes from step to step: rate over one correction, root of the other."""
        first, second = (1 - beta**step for beta in self.betas)
        return {"lr": lr, "rate": lr / first, "root": second**0.5}

    def update(self, p: Any, g: Any, kept: Mapping[str, Any], now: Mapping[str, Any]) -> Updated:
        """Return p - rate * mean / (root(square) / root + eps)."""
        if self.weight_decay:
            g = g + self.weight_decay * p
        return self.moved(p, g, kept, now)

    def moved(self, p: Any, g: Any, kept: Mapping[str, Any], now: Mapping[str, Any]) -> Updated:
        """Return the step that is taken from a parameter."""
        first, second = self.betas
        mean = kept["mean"] + (1 - first) * (g - kept["mean"])
        square = second * kept["square"] + (1 - second) * (g * g)
        below = square**0.5 / now["root"] + self.eps
        return p - now["rate"] * (mean / below), {"mean": mean, "square": square}


@dataclass(frozen=True)
class AdamW(Adam):
    """Loshchilov and Hutter (2019), algorithm 2: Adam, with the decay outside the gradient."""

    weight_decay: float = 0.01

    def update(self, p: Any, g: Any, kept: Mapping[str, Any], now: Mapping[str, Any]) -> Updated:
        """Return Adam's step from a parameter that has decayed by lr * weight_decay."""
        if self.weight_decay:
            p = p - now["lr"] * self.weight_decay * p
        return self.moved(p, g, kept, now)
