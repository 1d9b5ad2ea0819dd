"""Multi-head causal attention with the heads split off by view and transpose."""

import math

import torch

g = torch.Generator().manual_seed(1337)
B, T, n_head, head_size = 2, 5, 3, 7
C = n_head * head_size

x = torch.randn(B, T, C, generator=g)
target = torch.randn(B, T, C, generator=g)
Wqkv = torch.randn(C, 3 * C, generator=g) * C**-0.5
Wo = torch.randn(C, C, generator=g) * C**-0.5
bo = torch.zeros(C, requires_grad=True)
for weight in (Wqkv, Wo):
    weight.requires_grad_()


def forward(x, target, Wqkv, Wo, bo):
    """Return the mean squared error between the attention's output and the target."""
    B, T, C = x.size()
    q, k, v = (x @ Wqkv).split(C, dim=2)
    q = q.view(B, T, n_head, C // n_head).transpose(1, 2)  # [B, n_head, T, head_size]
    k = k.view(B, T, n_head, C // n_head).transpose(1, 2)
    v = v.view(B, T, n_head, C // n_head).transpose(1, 2)
    att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
    mask = torch.tril(torch.ones(T, T)).view(1, 1, T, T)
    att = att.masked_fill(mask == 0, float("-inf"))
    att = att.softmax(dim=-1)
    out = att @ v
    out = out.transpose(1, 2).contiguous().view(B, T, C)
    out = out @ Wo + bo
    loss = (out - target).square().mean()
    return loss
