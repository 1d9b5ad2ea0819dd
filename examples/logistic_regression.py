"""Logistic regression on two classes, with the cross-entropy written out."""

import torch

g = torch.Generator().manual_seed(2147483647)
n, d = 11, 3

x = torch.randn(n, d, generator=g)
y = (x[:, 0] - 0.5 * x[:, 1] > 0) * 1.0
w = torch.randn(d, generator=g, requires_grad=True)
b = torch.zeros(1, requires_grad=True)

z = x @ w + b  # [n]
p = torch.sigmoid(z)
log_likelihood = y * torch.log(p) + (1 - y) * torch.log(1 - p)
loss = -log_likelihood.mean()
