"""Forward and backward pass of seed, line by line.

Written by handgrad; every gradient was compared with autograd's, at two sets of sizes.
"""

import torch
import torch.nn.functional as F


def forward(C, Xb, Yb, W1, b1, bngain, bnbias, W2, b2, n):
    if (
        [t.ndim for t in (C, Xb, Yb, W1, b1, bngain, bnbias, W2, b2)] != [2, 2, 1, 2, 1, 2,
        2, 2, 1]
    ):
        raise ValueError('this file was written for C.ndim == 2, Xb.ndim == 2, Yb.ndim == 1 and 6 more')
    if bngain.shape[0] != 1 or bnbias.shape[0] != 1:
        raise ValueError('this file was written for bngain.shape[0] == 1 and bnbias.shape[0] == 1: no other size was found that the forward pass takes')
    emb = C[Xb]  # [32, 3, 10]
    embcat = emb.view(emb.shape[0], -1)  # [32, 30]
    hprebn = embcat @ W1 + b1  # [32, 64]
    bnmeani = 1/n*hprebn.sum(0, keepdim=True)  # [1, 64]
    bndiff = hprebn - bnmeani  # [32, 64]
    bndiff2 = bndiff**2  # [32, 64]
    bnvar = 1/(n-1)*(bndiff2).sum(0, keepdim=True)  # [1, 64]
    bnvar_inv = (bnvar + 1e-5)**-0.5  # [1, 64]
    bnraw = bndiff * bnvar_inv  # [32, 64]
    hpreact = bngain * bnraw + bnbias  # [32, 64]
    h = torch.tanh(hpreact)  # [32, 64]
    logits = h @ W2 + b2  # [32, 27]
    logit_maxes = logits.max(1, keepdim=True).values  # [32, 1]
    norm_logits = logits - logit_maxes  # [32, 27]
    counts = norm_logits.exp()  # [32, 27]
    counts_sum = counts.sum(1, keepdims=True)  # [32, 1]
    counts_sum_inv = counts_sum**-1  # [32, 1]
    probs = counts * counts_sum_inv  # [32, 27]
    logprobs = probs.log()  # [32, 27]
    loss = -logprobs[range(n), Yb].mean()  # []
    saved = (
        Yb, logprobs, probs, counts, counts_sum, counts_sum_inv, logits, W2, h, bnraw, bngain,
        bndiff, bnvar, bndiff2, bnvar_inv, W1, embcat, emb, Xb, C, n,
    )
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (
        Yb, logprobs, probs, counts, counts_sum, counts_sum_inv, logits, W2, h, bnraw, bngain,
        bndiff, bnvar, bndiff2, bnvar_inv, W1, embcat, emb, Xb, C, n,
    ) = saved

    # loss = -logprobs[range(n), Yb].mean()
    dlogprobs = torch.zeros_like(logprobs).index_put([torch.arange(n), Yb], -dloss / n, accumulate=True)  # [32, 27]

    # logprobs = probs.log()
    dprobs = dlogprobs / probs  # [32, 27]

    # probs = counts * counts_sum_inv
    dcounts_sum_inv = (dprobs * counts).sum(dim=1, keepdim=True)  # [32, 1]

    # counts_sum_inv = counts_sum**-1
    dcounts_sum = -counts_sum**-2 * dcounts_sum_inv  # [32, 1]

    # counts_sum = counts.sum(1, keepdims=True)
    dcounts = dprobs * counts_sum_inv + dcounts_sum  # [32, 27]

    # counts = norm_logits.exp()
    dnorm_logits = dcounts * counts  # [32, 27]

    # norm_logits = logits - logit_maxes
    dlogit_maxes = (-dnorm_logits).sum(dim=1, keepdim=True)  # [32, 1]

    # logit_maxes = logits.max(1, keepdim=True).values
    dlogits = (
        dnorm_logits
        + F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]) * dlogit_maxes
    )  # [32, 27]

    # logits = h @ W2 + b2
    dh = dlogits @ W2.T  # [32, 64]
    dW2 = h.T @ dlogits  # [64, 27]
    db2 = dlogits.sum(dim=0)  # [27]

    # h = torch.tanh(hpreact)
    dhpreact = dh * (1 - h**2)  # [32, 64]

    # hpreact = bngain * bnraw + bnbias
    dbngain = (dhpreact * bnraw).sum(dim=0, keepdim=True)  # [1, 64]
    dbnraw = dhpreact * bngain  # [32, 64]
    dbnbias = dhpreact.sum(dim=0, keepdim=True)  # [1, 64]

    # bnraw = bndiff * bnvar_inv
    dbnvar_inv = (dbnraw * bndiff).sum(dim=0, keepdim=True)  # [1, 64]

    # bnvar_inv = (bnvar + 1e-5)**-0.5
    dbnvar = -0.5 * (bnvar + 1e-5)**-1.5 * dbnvar_inv  # [1, 64]

    # bnvar = 1/(n-1)*(bndiff2).sum(0, keepdim=True)
    dbndiff2 = (1/(n-1) * dbnvar).expand_as(bndiff2)  # [32, 64]

    # bndiff2 = bndiff**2
    dbndiff = dbnraw * bnvar_inv + 2 * bndiff * dbndiff2  # [32, 64]

    # bndiff = hprebn - bnmeani
    dbnmeani = (-dbndiff).sum(dim=0, keepdim=True)  # [1, 64]

    # bnmeani = 1/n*hprebn.sum(0, keepdim=True)
    dhprebn = dbndiff + 1/n * dbnmeani  # [32, 64]

    # hprebn = embcat @ W1 + b1
    dembcat = dhprebn @ W1.T  # [32, 30]
    dW1 = embcat.T @ dhprebn  # [30, 64]
    db1 = dhprebn.sum(dim=0)  # [64]

    # embcat = emb.view(emb.shape[0], -1)
    demb = dembcat.reshape_as(emb)  # [32, 3, 10]

    # emb = C[Xb]
    dC = torch.zeros_like(C).index_put([Xb], demb, accumulate=True)  # [27, 10]

    return {"dC": dC, "dW1": dW1, "db1": db1, "dbngain": dbngain, "dbnbias": dbnbias, "dW2": dW2, "db2": db2}
