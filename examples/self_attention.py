"""One head of causal self-attention, masked with a lower triangle."""

import torch
from torch.nn import functional as F

torch.manual_seed(1337)
B, T, C = 2, 5, 7
head_size = 3

x = torch.randn(B, T, C)
target = torch.randn(B, T, head_size)
Wk = torch.randn(C, head_size, requires_grad=True)
Wq = torch.randn(C, head_size, requires_grad=True)
Wv = torch.randn(C, head_size, requires_grad=True)

k = x @ Wk  # [B, T, head_size]
q = x @ Wq
v = x @ Wv
wei = q @ k.transpose(-2, -1) * head_size**-0.5  # [B, T, T]
tril = torch.tril(torch.ones(T, T))
wei = wei.masked_fill(tril == 0, float("-inf"))
wei = F.softmax(wei, dim=-1)
out = wei @ v
loss = ((out - target) ** 2).mean()
