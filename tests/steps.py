"""A module's derived gradients and compiled steps beside autograd's, from one seed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import handgrad as hg

SEED = 11


@dataclass(frozen=True)
class Cases:
    """Modules whose forward pass is a loss, by name, each with the batch that it is given."""

    every: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *batch: torch.Tensor) -> Callable[[type], type]:
        def put(cls: type) -> type:
            self.every[cls.__name__] = (cls, batch)
            return cls

        return put

    def made(self, name: str) -> tuple[nn.Module, *tuple[torch.Tensor, ...]]:
        """The module in float64 and in training mode, and its batch."""
        cls, batch = self.every[name]
        torch.manual_seed(0)
        return cls().double(), *batch


def whole(high: int, *shape: int, seed: int = 0) -> torch.Tensor:
    """Whole numbers below a bound."""
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def flat(name: str) -> str:
    return name.replace(".", "_")


def trained(net: nn.Module) -> dict[str, torch.Tensor]:
    return {flat(name): p for name, p in net.named_parameters() if p.requires_grad}


def truth_of(net: nn.Module, batch: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    """Autograd's gradient of every parameter that the loss depends on, on a copy of the module."""
    own = copy.deepcopy(net)
    torch.manual_seed(SEED)
    loss = own(*batch)
    parameters = trained(own)
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}


def derived_of(net: nn.Module, batch: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    """The derived gradients by the parameters' names, on a copy of the module."""
    torch.manual_seed(SEED)
    trace = hg.trace(copy.deepcopy(net), *batch)
    found = hg.derive(trace).run()
    return {trace.origins.get(name[1:], name[1:]): gradient for name, gradient in found.items()}


def derives_right(net: nn.Module, *batch: torch.Tensor) -> None:
    """Hold every parameter's derived gradient to autograd's of the user's own graph."""
    truth, found = truth_of(net, batch), derived_of(net, batch)
    assert truth
    for name, gradient in truth.items():
        if not gradient.any() and name not in found:
            continue  # zero either way
        assert name in found, f"no gradient of {name}: {sorted(found)}"
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10, msg=name)


def steps_right(
    net: nn.Module, *batch: torch.Tensor, steps: int = 3, lr: float = 0.05
) -> hg.Compiled:
    """Hold compiled steps to eager SGD, parameters, buffers and losses; return what did them."""
    eager, own = copy.deepcopy(net), copy.deepcopy(net)
    step = hg.compile(own, *batch, optimizer=hg.nn.SGD(lr=lr))
    for k in range(steps):
        torch.manual_seed(k)
        loss = step.step()
        torch.manual_seed(k)
        expected = eager(*batch)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-7, atol=1e-9)
        parameters = trained(eager)
        found = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
        with torch.no_grad():
            for p, g in zip(parameters.values(), found, strict=True):
                p -= lr * g if g is not None else 0
    theirs = {**dict(eager.named_parameters()), **dict(eager.named_buffers())}
    for name, tensor in [*own.named_parameters(), *own.named_buffers()]:
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-6, atol=1e-9, msg=name)
    return step
