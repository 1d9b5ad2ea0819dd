"""Random programs over the table: what is derived equals autograd."""

import pytest
import torch

import handgrad as hg
from strategies import random_forward


def judge(seed: int) -> None:
    forward, arguments, source = random_forward(seed)
    trace = hg.trace(forward, **arguments)
    backward = hg.derive(trace, strict=True)
    found = backward.run()
    leaves = {n: t.clone().requires_grad_() for n, t in arguments.items() if t.is_floating_point()}
    loss = forward(**{**arguments, **leaves})
    truth = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    for name, grad in zip(leaves, truth, strict=True):
        if grad is None:
            assert "d" + name not in found, source
            continue
        off = float((found["d" + name] - grad).abs().max())
        assert off <= 1e-9 * max(1e-3, float(grad.abs().max())), f"d{name} off by {off}\n{source}"


@pytest.mark.parametrize("seed", range(100))
def test_random_program_equals_autograd(seed):
    judge(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 1000))
def test_random_program_equals_autograd_at_length(seed):
    judge(seed)
