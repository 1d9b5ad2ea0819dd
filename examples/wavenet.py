"""A WaveNet-like character model that fuses neighbouring positions two at a time."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class FlattenConsecutive(nn.Module):
    """Concatenate the features of every n consecutive positions."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, x):
        """Return [B, T // n, C * n], without the middle dimension if it is 1."""
        B, T, C = x.shape
        x = x.view(B, T // self.n, C * self.n)
        if x.shape[1] == 1:
            x = x.squeeze(1)
        return x


class BatchNorm(nn.Module):
    """Batch norm over every dimension but the last, with the batch's own statistics."""

    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        """Return the normalised x, scaled and shifted."""
        dim = 0 if x.ndim == 2 else (0, 1)
        xmean = x.mean(dim, keepdim=True)
        xvar = x.var(dim, keepdim=True)
        xhat = (x - xmean) / torch.sqrt(xvar + self.eps)
        return self.gamma * xhat + self.beta


class WaveNet(nn.Module):
    """Three levels of a binary tree over eight characters."""

    def __init__(self, vocab_size, n_embd, n_hidden):
        super().__init__()
        self.net = nn.Sequential(
            nn.Embedding(vocab_size, n_embd),
            FlattenConsecutive(2),
            nn.Linear(n_embd * 2, n_hidden, bias=False),
            BatchNorm(n_hidden),
            nn.Tanh(),
            FlattenConsecutive(2),
            nn.Linear(n_hidden * 2, n_hidden, bias=False),
            BatchNorm(n_hidden),
            nn.Tanh(),
            FlattenConsecutive(2),
            nn.Linear(n_hidden * 2, n_hidden, bias=False),
            BatchNorm(n_hidden),
            nn.Tanh(),
            nn.Linear(n_hidden, vocab_size),
        )

    def forward(self, x, y):
        """Return the cross-entropy of the next characters y [B]."""
        logits = self.net(x)
        return F.cross_entropy(logits, y)


torch.manual_seed(42)
model = WaveNet(vocab_size=11, n_embd=3, n_hidden=7)
x = torch.randint(11, (5, 8))
y = torch.randint(11, (5,))
