"""A perceptron with layer norm and softmax, both taken apart into small steps."""

import torch

g = torch.Generator().manual_seed(7)
n, n_in, n_hidden, n_out = 5, 3, 11, 7

x = torch.randn(n, n_in, generator=g)
y = torch.randint(n_out, (n,), generator=g)
W1 = torch.randn(n_in, n_hidden, generator=g, requires_grad=True)
b1 = torch.randn(n_hidden, generator=g, requires_grad=True)
gain = torch.ones(n_hidden, requires_grad=True)
bias = torch.zeros(n_hidden, requires_grad=True)
W2 = torch.randn(n_hidden, n_out, generator=g, requires_grad=True)
b2 = torch.randn(n_out, generator=g, requires_grad=True)

# linear layer
hpre = x @ W1 + b1
# layer norm, over the features of each row
mu = hpre.mean(dim=1, keepdim=True)
diff = hpre - mu
var = 1 / n_hidden * (diff**2).sum(dim=1, keepdim=True)
rstd = (var + 1e-5) ** -0.5
hhat = diff * rstd
hnorm = gain * hhat + bias
# non-linearity
h = torch.tanh(hnorm)
# output layer
logits = h @ W2 + b2
# cross-entropy
logit_maxes = logits.max(1, keepdim=True).values
norm_logits = logits - logit_maxes
counts = norm_logits.exp()
counts_sum = counts.sum(1, keepdims=True)
counts_sum_inv = counts_sum**-1
probs = counts * counts_sum_inv
logprobs = probs.log()
loss = -logprobs[range(n), y].mean()
