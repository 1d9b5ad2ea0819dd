"""Softmax regression with L2 regularisation, the softmax written out."""

import torch

torch.manual_seed(3)
n, n_features, n_classes = 13, 5, 3
weight_decay = 0.01

x = torch.randn(n, n_features)
y = torch.randint(n_classes, (n,))
W = torch.randn(n_features, n_classes, requires_grad=True)
b = torch.randn(n_classes, requires_grad=True)

logits = torch.addmm(b, x, W)
logits = logits - logits.amax(dim=1, keepdim=True)
exp_logits = logits.exp()
probs = exp_logits / exp_logits.sum(dim=1, keepdim=True)
correct_probs = probs[torch.arange(n), y]
data_loss = -correct_probs.log().mean()
reg_loss = 0.5 * weight_decay * W.square().sum()
loss = data_loss + reg_loss
