"""The update of every optimiser in plain PyTorch, in place, by torch.optim's formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from handgrad.train.settings import Settings

State: TypeAlias = dict[str, Tensor]
"""What an optimiser remembers, such as `momentum.W1`."""

Rule: TypeAlias = Callable[[str, Tensor, Tensor, State, float, Settings], None]
"""Moves one parameter: its name, itself, its gradient, the state, the rate, the settings."""


def state_for(parameters: Mapping[str, Tensor], settings: Settings) -> State:
    """Return what the optimiser remembers before the first step."""
    kept = REMEMBERS[settings.optimizer]
    if settings.optimizer == "sgd" and not settings.momentum:
        kept = ()
    found = {
        f"{kind}.{name}": torch.zeros_like(tensor)
        for kind in kept
        for name, tensor in parameters.items()
    }
    if settings.optimizer.startswith("adam"):
        found["steps"] = torch.zeros((), dtype=torch.float64)
    return found


def clipped(gradients: Mapping[str, Tensor], largest: float) -> Mapping[str, Tensor]:
    """Return gradients whose norm, of all together, is at most `largest`; 0 is no limit."""
    if not largest:
        return gradients
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    scale = (largest / (norm + 1e-6)).clamp(max=1.0)
    return {name: gradient * scale for name, gradient in gradients.items()}


@torch.no_grad()
def update(
    parameters: Mapping[str, Tensor],
    gradients: Mapping[str, Tensor],
    state: State,
    rate: float,
    settings: Settings,
) -> None:
    """Move every parameter by its gradient, once."""
    rule = RULES[settings.optimizer]
    if "steps" in state:
        state["steps"] += 1
    for name, gradient in clipped(gradients, settings.clip).items():
        rule(name, parameters[name], gradient, state, rate, settings)


def sgd(name: str, p: Tensor, g: Tensor, state: State, rate: float, settings: Settings) -> None:
    """Go against the gradient, or against its decaying sum (Polyak 1964; Nesterov 1983)."""
    g = g + settings.weight_decay * p if settings.weight_decay else g
    if settings.momentum:
        m = state[f"momentum.{name}"]
        m.mul_(settings.momentum).add_(g)
        g = g + settings.momentum * m if settings.nesterov else m
    p -= rate * g


def adagrad(name: str, p: Tensor, g: Tensor, state: State, rate: float, settings: Settings) -> None:
    """Divide by the root of the sum of squares (Duchi et al. 2011)."""
    g = g + settings.weight_decay * p
    v = state[f"square.{name}"]
    v += g * g
    p -= rate * g / (v.sqrt() + 1e-10)


def rmsprop(name: str, p: Tensor, g: Tensor, state: State, rate: float, settings: Settings) -> None:
    """Divide by the root of the decaying mean of squares (Hinton 2012, lecture 6e)."""
    g = g + settings.weight_decay * p
    v = state[f"square.{name}"]
    v.mul_(0.99).add_(g * g, alpha=1 - 0.99)
    p -= rate * g / (v.sqrt() + 1e-8)


def adam(name: str, p: Tensor, g: Tensor, state: State, rate: float, settings: Settings) -> None:
    """Divide a decaying mean by a root of that of squares, both unbiased (Kingma, Ba 2015)."""
    moments(name, p, g + settings.weight_decay * p, state, rate)


def adamw(name: str, p: Tensor, g: Tensor, state: State, rate: float, settings: Settings) -> None:
    """Shrink the parameter itself, then step as Adam (Loshchilov, Hutter 2019)."""
    p.mul_(1 - rate * settings.weight_decay)
    moments(name, p, g, state, rate)


def moments(name: str, p: Tensor, g: Tensor, state: State, rate: float) -> None:
    """Take Adam's step."""
    m, v, t = state[f"momentum.{name}"], state[f"square.{name}"], float(state["steps"])
    m.mul_(0.9).add_(g, alpha=1 - 0.9)
    v.mul_(0.999).add_(g * g, alpha=1 - 0.999)
    unbiased = v.sqrt() / (1 - 0.999**t) ** 0.5 + 1e-8
    p -= rate / (1 - 0.9**t) * m / unbiased


RULES: Mapping[str, Rule] = {
    "sgd": sgd,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}
REMEMBERS: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum",),
    "adagrad": ("square",),
    "rmsprop": ("square",),
    "adam": ("momentum", "square"),
    "adamw": ("momentum", "square"),
}
