"""Compare what is derived with autograd of the user's own function, run untouched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import handgrad as hg


def agree(
    forward: Callable[..., Any], /, rtol: float = 1e-10, strict: bool = True, **arguments: Any
) -> hg.Backward:
    """Derive a forward pass, strictly unless told, and check every leaf against autograd."""
    trace = hg.trace(forward, **arguments)
    backward = hg.derive(trace, strict=strict)
    found = backward.run()
    leaves = {
        n: t.detach().clone().requires_grad_()
        for n, t in arguments.items()
        if isinstance(t, torch.Tensor) and t.is_floating_point()
    }
    loss = forward(**{**arguments, **leaves})
    truths = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for name, truth in zip(leaves, truths, strict=True):
        if truth is None:
            assert "d" + name not in found
            continue
        torch.testing.assert_close(found["d" + name], truth, rtol=rtol, atol=1e-12)
    return backward


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    """Draw a float64 tensor."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)
