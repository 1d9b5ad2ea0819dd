"""Causal attention whose queries and keys carry rotary position embeddings."""

import torch
import torch.nn.functional as F

torch.manual_seed(2104)
B, T, n_head, head_size = 2, 5, 3, 4
C = n_head * head_size

x = torch.randn(B, T, C)
target = torch.randn(B, T, C)
Wq = torch.randn(C, C) * C**-0.5
Wk = torch.randn(C, C) * C**-0.5
Wv = torch.randn(C, C) * C**-0.5
Wo = torch.randn(C, C) * C**-0.5
for weight in (Wq, Wk, Wv, Wo):
    weight.requires_grad_()


def rotate_half(x):
    """Return (-x2, x1) for the halves x1, x2 of the last dimension."""
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


def rotary(x, cos, sin):
    """Rotate each pair of features of x [B, n_head, T, head_size] by its position's angle."""
    return x * cos + rotate_half(x) * sin


def forward(x, target, Wq, Wk, Wv, Wo):
    """Return the mean squared error between the attention's output and the target."""
    B, T, C = x.shape
    inv_freq = 10000 ** (-torch.arange(0, head_size, 2) / head_size)
    angles = torch.outer(torch.arange(T), inv_freq).repeat(1, 2)  # [T, head_size]
    cos, sin = angles.cos(), angles.sin()

    q = (x @ Wq).view(B, T, n_head, head_size).transpose(1, 2)
    k = (x @ Wk).view(B, T, n_head, head_size).transpose(1, 2)
    v = (x @ Wv).view(B, T, n_head, head_size).transpose(1, 2)
    q = rotary(q, cos, sin)
    k = rotary(k, cos, sin)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    out = out.transpose(1, 2).reshape(B, T, C) @ Wo
    return F.mse_loss(out, target)
