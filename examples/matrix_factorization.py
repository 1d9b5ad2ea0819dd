"""Matrix factorisation of ratings: embeddings, biases, and L2 regularisation."""

import torch

g = torch.Generator().manual_seed(5)
n_users, n_items, n_factors, n_ratings = 7, 5, 3, 13

users = torch.randint(0, n_users, (n_ratings,), generator=g)
items = torch.randint(0, n_items, (n_ratings,), generator=g)
ratings = torch.randint(1, 6, (n_ratings,), generator=g)

P = torch.randn((n_users, n_factors), generator=g, requires_grad=True)
Q = torch.randn((n_items, n_factors), generator=g, requires_grad=True)
user_bias = torch.zeros(n_users, requires_grad=True)
item_bias = torch.zeros(n_items, requires_grad=True)
mean = torch.tensor(3.5, requires_grad=True)

p = P[users]  # users and items repeat: their gradients accumulate
q = Q[items]
bu = user_bias[users]
bi = item_bias[items]
pred = (p * q).sum(dim=1) + bu + bi + mean
error = pred - ratings
mse = error.pow(2).mean()
penalty = 0.02 * (p.pow(2).sum() + q.pow(2).sum() + bu.pow(2).sum() + bi.pow(2).sum())
loss = mse + penalty / n_ratings
