"""A character RNN unrolled over time, the loss averaged over the steps."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(1)
batch, steps, vocab, n_embd, n_hidden = 3, 5, 11, 2, 7

tokens = torch.randint(0, vocab, (batch, steps + 1), generator=g)
inputs, targets = tokens[:, :-1], tokens[:, 1:]

C = torch.randn((vocab, n_embd), generator=g, requires_grad=True)
Wxh = torch.randn((n_embd, n_hidden), generator=g, requires_grad=True)
Whh = torch.randn((n_hidden, n_hidden), generator=g, requires_grad=True)
bh = torch.zeros(n_hidden, requires_grad=True)
Why = torch.randn((n_hidden, vocab), generator=g, requires_grad=True)
by = torch.zeros(vocab, requires_grad=True)

emb = C[inputs]  # [batch, steps, n_embd]
h = torch.zeros(batch, n_hidden)
total = 0
for t in range(steps):
    h = torch.tanh(emb[:, t] @ Wxh + h @ Whh + bh)
    logits = h @ Why + by
    total = total + F.cross_entropy(logits, targets[:, t])
loss = total / steps
