"""A variational autoencoder: reparameterised sample, reconstruction and KL terms."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(2013)
n, n_pixels, n_hidden, n_latent = 5, 13, 7, 2

x = (torch.rand(n, n_pixels, generator=g) < 0.4) * 1.0
eps = torch.randn(n, n_latent, generator=g)
W1 = torch.randn(n_pixels, n_hidden, generator=g, requires_grad=True)
b1 = torch.zeros(n_hidden, requires_grad=True)
Wmu = torch.randn(n_hidden, n_latent, generator=g, requires_grad=True)
bmu = torch.zeros(n_latent, requires_grad=True)
Wlogvar = torch.randn(n_hidden, n_latent, generator=g, requires_grad=True)
blogvar = torch.zeros(n_latent, requires_grad=True)
W2 = torch.randn(n_latent, n_hidden, generator=g, requires_grad=True)
b2 = torch.zeros(n_hidden, requires_grad=True)
W3 = torch.randn(n_hidden, n_pixels, generator=g, requires_grad=True)
b3 = torch.zeros(n_pixels, requires_grad=True)


def forward(x, eps, W1, b1, Wmu, bmu, Wlogvar, blogvar, W2, b2, W3, b3):
    """Return the negative evidence lower bound per example."""
    h = torch.tanh(x @ W1 + b1)
    mu = h @ Wmu + bmu
    logvar = h @ Wlogvar + blogvar
    std = torch.exp(0.5 * logvar)
    z = mu + std * eps
    hdec = torch.tanh(z @ W2 + b2)
    logits = hdec @ W3 + b3
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    loss = (bce + kl) / x.shape[0]
    return loss
