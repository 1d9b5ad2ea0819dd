"""The REINFORCE loss of one episode: discounted returns and an entropy bonus."""

import torch
import torch.nn.functional as F

torch.manual_seed(11)
T, n_obs, n_hidden, n_actions = 7, 5, 11, 3
gamma = 0.99

obs = torch.randn(T, n_obs)
actions = torch.randint(n_actions, (T,))
rewards = torch.randn(T)
W1 = torch.randn(n_obs, n_hidden, requires_grad=True)
b1 = torch.zeros(n_hidden, requires_grad=True)
W2 = torch.randn(n_hidden, n_actions, requires_grad=True)
b2 = torch.zeros(n_actions, requires_grad=True)

discounts = gamma ** torch.arange(T)
returns = (rewards * discounts).flip(0).cumsum(0).flip(0) / discounts
advantages = (returns - returns.mean()) / (returns.std() + 1e-8)

h = torch.tanh(obs @ W1 + b1)
logits = h @ W2 + b2
log_probs = F.log_softmax(logits, dim=-1)
chosen = log_probs.gather(1, actions.unsqueeze(1)).squeeze(1)
policy_loss = -(chosen * advantages).sum()
entropy = -(log_probs.exp() * log_probs).sum(dim=-1).mean()
loss = policy_loss - 0.01 * entropy
