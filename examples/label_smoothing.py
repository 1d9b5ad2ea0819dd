"""Cross-entropy with label smoothing, the smoothed targets built from one-hot rows."""

import torch
import torch.nn.functional as F

torch.manual_seed(1512)
n, n_in, n_hidden, n_classes = 5, 7, 13, 3
smoothing = 0.1

x = torch.randn(n, n_in)
y = torch.randint(n_classes, (n,))
W1 = torch.randn(n_in, n_hidden, requires_grad=True)
b1 = torch.zeros(n_hidden, requires_grad=True)
W2 = torch.randn(n_hidden, n_classes, requires_grad=True)
b2 = torch.zeros(n_classes, requires_grad=True)


def forward(x, y, W1, b1, W2, b2):
    """Return the cross-entropy with the smoothed targets."""
    h = F.softplus(x @ W1 + b1)
    logits = h @ W2 + b2
    logprobs = logits.log_softmax(dim=1)
    onehot = F.one_hot(y, n_classes)
    targets = (1 - smoothing) * onehot + smoothing / n_classes
    loss = -(targets * logprobs).sum(dim=1).mean()
    return loss
