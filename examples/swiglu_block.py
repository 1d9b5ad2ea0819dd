"""The feed-forward block of a LLaMA: RMS norm, SwiGLU, residual."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(2023)
B, T, C, n_ff = 2, 3, 5, 11

x = torch.randn(B, T, C, generator=g)
target = torch.randn(B, T, C, generator=g)
w_norm = torch.ones(C, requires_grad=True)
W_gate = torch.randn(C, n_ff, generator=g) * C**-0.5
W_up = torch.randn(C, n_ff, generator=g) * C**-0.5
W_down = torch.randn(n_ff, C, generator=g) * n_ff**-0.5
for weight in (W_gate, W_up, W_down):
    weight.requires_grad_()


def rms_norm(x, weight, eps=1e-5):
    """Return x [B, T, C] divided by its root mean square, times weight."""
    rrms = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return x * rrms * weight


def forward(x, target, w_norm, W_gate, W_up, W_down):
    """Return the mean squared error between the block's output and the target."""
    xn = rms_norm(x, w_norm)
    gate = F.silu(xn @ W_gate)
    up = xn @ W_up
    down = (gate * up) @ W_down
    out = x + down
    loss = F.mse_loss(out, target)
    return loss
