"""One pre-norm transformer block: attention and a GELU MLP, each with a residual."""

import torch
import torch.nn.functional as F

torch.manual_seed(1337)
B, T, C = 2, 5, 6
n_head = 3

x = torch.randn(B, T, C)
target = torch.randn(B, T, C)
ln1_w = torch.ones(C, requires_grad=True)
ln1_b = torch.zeros(C, requires_grad=True)
Wqkv = torch.randn(3 * C, C) * C**-0.5
Wproj = torch.randn(C, C) * C**-0.5
ln2_w = torch.ones(C, requires_grad=True)
ln2_b = torch.zeros(C, requires_grad=True)
Wfc = torch.randn(4 * C, C) * C**-0.5
bfc = torch.zeros(4 * C, requires_grad=True)
Wout = torch.randn(C, 4 * C) * (4 * C) ** -0.5
bout = torch.zeros(C, requires_grad=True)
for weight in (Wqkv, Wproj, Wfc, Wout):
    weight.requires_grad_()


def attention(x, Wqkv, Wproj):
    """Return causal multi-head self-attention of x [B, T, C]."""
    B, T, C = x.shape
    qkv = F.linear(x, Wqkv)
    qkv = qkv.unflatten(-1, (3, n_head, C // n_head)).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)  # each [B, n_head, T, head_size]
    scores = q @ k.mT / (C // n_head) ** 0.5
    future = torch.ones(T, T).triu(1) == 1
    scores = scores.masked_fill(future, float("-inf"))
    weights = F.softmax(scores, dim=-1)
    heads = (weights @ v).transpose(1, 2).flatten(2)
    return F.linear(heads, Wproj)


def mlp(x, Wfc, bfc, Wout, bout):
    """Return the position-wise MLP of x [B, T, C]."""
    h = F.gelu(F.linear(x, Wfc, bfc), approximate="tanh")
    return F.linear(h, Wout, bout)


def forward(x, target, ln1_w, ln1_b, Wqkv, Wproj, ln2_w, ln2_b, Wfc, bfc, Wout, bout):
    """Return the mean squared error between the block's output and the target."""
    x = x + attention(F.layer_norm(x, (C,), ln1_w, ln1_b), Wqkv, Wproj)
    x = x + mlp(F.layer_norm(x, (C,), ln2_w, ln2_b), Wfc, bfc, Wout, bout)
    return F.mse_loss(x, target)
