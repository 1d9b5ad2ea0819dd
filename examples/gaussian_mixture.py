"""The negative log-likelihood of a Gaussian mixture with diagonal covariances."""

import math

import torch

torch.manual_seed(0)
n, k, d = 11, 3, 2

x = torch.randn(n, d)
mixture_logits = torch.randn(k, requires_grad=True)
means = torch.randn(k, d, requires_grad=True)
log_stds = torch.randn(k, d, requires_grad=True)

log_weights = mixture_logits - torch.logsumexp(mixture_logits, dim=0)
diff = x.unsqueeze(1) - means  # [n, k, d]
z = diff * torch.exp(-log_stds)
squared = z.square().sum(dim=-1)
log_dets = log_stds.sum(dim=-1)
log_probs = -0.5 * squared - log_dets - 0.5 * d * math.log(2 * math.pi)
joint = log_weights + log_probs  # [n, k]
log_likelihood = torch.logsumexp(joint, dim=1)
loss = -log_likelihood.mean()
