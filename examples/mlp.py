"""A two-layer perceptron with ReLU and softmax cross-entropy."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(42)
n, n_in, n_hidden, n_out = 13, 5, 7, 3

x = torch.randn((n, n_in), generator=g)
y = torch.randint(0, n_out, (n,), generator=g)

W1 = torch.randn((n_in, n_hidden), generator=g) * (2 / n_in) ** 0.5
b1 = torch.randn(n_hidden, generator=g) * 0.1
W2 = torch.randn((n_hidden, n_out), generator=g) * 0.1
b2 = torch.randn(n_out, generator=g) * 0.1
parameters = [W1, b1, W2, b2]
for p in parameters:
    p.requires_grad = True

hpre = x @ W1 + b1
h = F.relu(hpre)
logits = h @ W2 + b2
loss = F.cross_entropy(logits, y)
