"""An LSTM over a sequence: the four gates are chunks of one matrix product."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(0)
batch, steps, n_in, n_hidden, n_classes = 2, 5, 3, 7, 11

x = torch.randn(batch, steps, n_in, generator=g)
y = torch.randint(n_classes, (batch,), generator=g)
Wx = torch.randn(n_in, 4 * n_hidden, generator=g, requires_grad=True)
Wh = torch.randn(n_hidden, 4 * n_hidden, generator=g, requires_grad=True)
b = torch.randn(4 * n_hidden, generator=g, requires_grad=True)
Wy = torch.randn(n_hidden, n_classes, generator=g, requires_grad=True)
by = torch.randn(n_classes, generator=g, requires_grad=True)


def forward(x, y, Wx, Wh, b, Wy, by):
    """Return the cross-entropy of a classifier on the last hidden state."""
    batch, steps, _ = x.shape
    n_hidden = Wh.shape[0]
    h = torch.zeros(batch, n_hidden)
    c = torch.zeros(batch, n_hidden)
    for t in range(steps):
        gates = x[:, t] @ Wx + h @ Wh + b
        i, f, o, u = gates.chunk(4, dim=1)
        i = torch.sigmoid(i)
        f = torch.sigmoid(f)
        o = torch.sigmoid(o)
        u = torch.tanh(u)
        c = f * c + i * u
        h = o * torch.tanh(c)
    logits = h @ Wy + by
    loss = F.cross_entropy(logits, y)
    return loss
