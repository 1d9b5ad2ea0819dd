"""Skip-gram word vectors trained with negative sampling."""

import torch
import torch.nn.functional as F

torch.manual_seed(2013)
n, n_negative, vocab, dim = 5, 3, 11, 7

center = torch.randint(vocab, (n,))
context = torch.randint(vocab, (n,))
negatives = torch.randint(vocab, (n, n_negative))
V = torch.randn(vocab, dim, requires_grad=True)
U = torch.randn(vocab, dim, requires_grad=True)


def forward(center, context, negatives, V, U):
    """Return the negative-sampling loss averaged over the pairs."""
    v = F.embedding(center, V)  # [n, dim]
    u = F.embedding(context, U)
    u_neg = F.embedding(negatives, U)  # [n, n_negative, dim]
    pos_score = (v * u).sum(dim=1)
    neg_score = torch.bmm(u_neg, v.unsqueeze(2)).squeeze(2)
    pos_loss = F.logsigmoid(pos_score)
    neg_loss = F.logsigmoid(-neg_score).sum(dim=1)
    return -(pos_loss + neg_loss).mean()
