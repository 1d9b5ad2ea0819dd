"""A perceptron with inverted dropout whose masks are drawn beforehand."""

import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(2014)
n, n_in, n_hidden, n_classes = 7, 5, 13, 3
keep = 0.8

x = torch.randn(n, n_in, generator=g)
y = torch.randint(n_classes, (n,), generator=g)
mask_in = torch.rand(n, n_in, generator=g) < keep
mask = torch.rand(n, n_hidden, generator=g) < keep
W1 = torch.randn(n_in, n_hidden, generator=g, requires_grad=True)
b1 = torch.zeros(n_hidden, requires_grad=True)
W2 = torch.randn(n_hidden, n_classes, generator=g, requires_grad=True)
b2 = torch.zeros(n_classes, requires_grad=True)


def forward(x, y, mask_in, mask, W1, b1, W2, b2):
    """Return the cross-entropy with the masked units dropped."""
    x = x * mask_in / keep
    h = (x @ W1 + b1).relu()
    h = h * mask / keep
    logits = h @ W2 + b2
    logprobs = F.log_softmax(logits, dim=-1)
    return F.nll_loss(logprobs, y)
