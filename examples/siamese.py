"""A siamese encoder with a contrastive margin on the cosine similarity of pairs."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(17)
n, n_in, n_hidden, n_out = 7, 5, 11, 3

x1 = torch.randn(n, n_in, generator=g)
x2 = torch.randn(n, n_in, generator=g)
same = torch.arange(n) % 2 == 0
W1 = torch.randn(n_in, n_hidden, generator=g, requires_grad=True)
b1 = torch.zeros(n_hidden, requires_grad=True)
W2 = torch.randn(n_hidden, n_out, generator=g, requires_grad=True)


def encode(x, W1, b1, W2):
    """Return the embedding [n, n_out] of x."""
    h = F.elu(x @ W1 + b1)
    return h @ W2


def forward(x1, x2, same, W1, b1, W2):
    """Return the contrastive loss: pull equal pairs together, push others apart."""
    z1 = encode(x1, W1, b1, W2)
    z2 = encode(x2, W1, b1, W2)
    similarity = F.cosine_similarity(z1, z2, dim=1)
    pull = 1 - similarity
    push = F.relu(similarity + 0.5)
    loss = torch.where(same, pull, push).mean()
    return loss
