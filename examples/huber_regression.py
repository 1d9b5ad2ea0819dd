"""Robust linear regression with the Huber loss, written out with where."""

import torch

g = torch.Generator().manual_seed(1964)
n, d = 13, 3
delta = 1.0

x = torch.randn(n, d, generator=g)
y = x.sum(dim=1) + 2 * torch.randn(n, generator=g)
w = torch.randn(d, generator=g, requires_grad=True)
b = torch.randn((), generator=g, requires_grad=True)


def forward(x, y, w, b):
    """Return the mean Huber loss plus a small L1 penalty on the weights."""
    residual = torch.mv(x, w) + b - y
    size = residual.abs()
    quadratic = 0.5 * residual**2
    linear = delta * (size - 0.5 * delta)
    huber = torch.where(size <= delta, quadratic, linear)
    penalty = 0.01 * w.abs().sum()
    return huber.mean() + penalty
