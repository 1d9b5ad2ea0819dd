"""An autoencoder whose decoder reuses the encoder's weights, transposed."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(2006)
n, n_in, n_hidden, n_code = 5, 13, 7, 2

x = torch.rand(n, n_in, generator=g)
W1 = torch.randn(n_in, n_hidden, generator=g, requires_grad=True)
b1 = torch.zeros(n_hidden, requires_grad=True)
W2 = torch.randn(n_hidden, n_code, generator=g, requires_grad=True)
b2 = torch.zeros(n_code, requires_grad=True)
b3 = torch.zeros(n_hidden, requires_grad=True)
b4 = torch.zeros(n_in, requires_grad=True)


def forward(x, W1, b1, W2, b2, b3, b4):
    """Return the reconstruction error plus a sparsity penalty on the code."""
    h = torch.sigmoid(x @ W1 + b1)
    code = h @ W2 + b2
    h = torch.sigmoid(code @ W2.T + b3)
    recon = torch.sigmoid(h @ W1.T + b4)
    loss = F.mse_loss(recon, x) + 1e-3 * code.abs().mean()
    return loss
