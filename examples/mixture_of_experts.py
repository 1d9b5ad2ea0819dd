"""A dense mixture of experts: a softmax gate weighs every expert's answer."""

import torch

g = torch.Generator().manual_seed(1991)
n, n_in, n_hidden, n_out, n_experts = 11, 5, 7, 2, 3

x = torch.randn(n, n_in, generator=g)
y = torch.randn(n, n_out, generator=g)
Wg = torch.randn(n_in, n_experts, generator=g, requires_grad=True)
W1 = torch.randn(n_experts, n_in, n_hidden, generator=g, requires_grad=True)
b1 = torch.zeros(n_experts, n_hidden, requires_grad=True)
W2 = torch.randn(n_experts, n_hidden, n_out, generator=g, requires_grad=True)


def forward(x, y, Wg, W1, b1, W2):
    """Return the squared error plus a penalty for an unbalanced gate."""
    gate = torch.softmax(x @ Wg, dim=1)  # [n, n_experts]
    h = torch.einsum("ni,eih->neh", x, W1) + b1
    h = torch.relu(h)
    experts = torch.einsum("neh,eho->neo", h, W2)
    pred = (gate.unsqueeze(-1) * experts).sum(dim=1)
    error = ((pred - y) ** 2).sum(dim=1).mean()
    usage = gate.mean(dim=0)
    imbalance = n_experts * (usage**2).sum() - 1
    loss = error + 0.01 * imbalance
    return loss
