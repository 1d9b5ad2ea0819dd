"""A decoder RNN with additive (Bahdanau) attention over the encoder's states."""

import torch
import torch.nn.functional as F

torch.manual_seed(1409)
B, S, T, E, H, A, V = 2, 7, 3, 5, 11, 4, 13

encoded = torch.randn(B, S, H)
tokens = torch.randint(V, (B, T))
targets = torch.randint(V, (B, T))
emb = torch.randn(V, E, requires_grad=True)
Wq = torch.randn(H, A, requires_grad=True)
Wk = torch.randn(H, A, requires_grad=True)
va = torch.randn(A, requires_grad=True)
Wx = torch.randn(E + H, H, requires_grad=True)
Wh = torch.randn(H, H, requires_grad=True)
bh = torch.zeros(H, requires_grad=True)
Wo = torch.randn(H, V, requires_grad=True)


def forward(encoded, tokens, targets, emb, Wq, Wk, va, Wx, Wh, bh, Wo):
    """Return the cross-entropy summed over the decoder's steps."""
    keys = torch.einsum("bsh,ha->bsa", encoded, Wk)
    h = encoded[:, -1]
    loss = 0.0
    for t in range(tokens.shape[1]):
        query = torch.einsum("bh,ha->ba", h, Wq)
        energy = torch.tanh(keys + query.unsqueeze(1))
        scores = torch.einsum("bsa,a->bs", energy, va)
        weights = F.softmax(scores, dim=1)
        context = torch.einsum("bs,bsh->bh", weights, encoded)
        x = torch.cat([emb[tokens[:, t]], context], dim=1)
        h = torch.tanh(x @ Wx + h @ Wh + bh)
        logits = h @ Wo
        loss += F.cross_entropy(logits, targets[:, t], reduction="sum")
    return loss
