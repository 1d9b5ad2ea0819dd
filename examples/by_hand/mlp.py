"""A two-layer perceptron with its backward pass by hand; one line of it is wrong."""

import torch

g = torch.Generator().manual_seed(42)
n, n_in, n_hidden, n_out = 13, 5, 7, 3

x = torch.randn((n, n_in), generator=g)
y = torch.randint(0, n_out, (n,), generator=g)
W1 = torch.randn((n_in, n_hidden), generator=g, requires_grad=True)
b1 = torch.randn(n_hidden, generator=g, requires_grad=True)
W2 = torch.randn((n_hidden, n_out), generator=g, requires_grad=True)
b2 = torch.randn(n_out, generator=g, requires_grad=True)

h = torch.tanh(x @ W1 + b1)
logits = h @ W2 + b2
counts = logits.exp()
probs = counts / counts.sum(1, keepdim=True)
loss = -probs[range(n), y].log().mean()

dlogits = probs.clone()
dlogits[range(n), y] -= 1
dlogits /= n
dW2 = h.T @ dlogits
db2 = dlogits.sum(0)
dh = dlogits @ W2.T
dhpre = (1 - h) * dh
dW1 = x.T @ dhpre
db1 = dhpre.sum(0)
