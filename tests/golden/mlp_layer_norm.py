"""Forward and backward pass of mlp_layer_norm, line by line.

Written by handgrad; every gradient was compared with autograd's, at the traced sizes alone.
"""

import torch
import torch.nn.functional as F


def forward(x, y, W1, b1, gain, bias, W2, b2, n_hidden, n):
    if (
        [t.shape for t in (x, y, W1, b1, gain, bias, W2, b2)] != [(5, 3), (5,), (3, 11),
        (11,), (11,), (11,), (11, 7), (7,)]
    ):
        raise ValueError("this file was written for x [5, 3], y [5], W1 [3, 11] and 5 more: a file's top level runs at its own sizes alone")
    hpre = x @ W1 + b1  # [5, 11]
    mu = hpre.mean(dim=1, keepdim=True)  # [5, 1]
    diff = hpre - mu  # [5, 11]
    var = 1 / n_hidden * (diff**2).sum(dim=1, keepdim=True)  # [5, 1]
    rstd = (var + 1e-5) ** -0.5  # [5, 1]
    hhat = diff * rstd  # [5, 11]
    hnorm = gain * hhat + bias  # [5, 11]
    h = torch.tanh(hnorm)  # [5, 11]
    logits = h @ W2 + b2  # [5, 7]
    logit_maxes = logits.max(1, keepdim=True).values  # [5, 1]
    norm_logits = logits - logit_maxes  # [5, 7]
    counts = norm_logits.exp()  # [5, 7]
    counts_sum = counts.sum(1, keepdims=True)  # [5, 1]
    counts_sum_inv = counts_sum**-1  # [5, 1]
    probs = counts * counts_sum_inv  # [5, 7]
    logprobs = probs.log()  # [5, 7]
    loss = -logprobs[range(n), y].mean()  # []
    saved = (
        y, logprobs, probs, counts, counts_sum, counts_sum_inv, logits, W2, h, hhat, gain, diff,
        var, rstd, hpre, x, n_hidden, n,
    )
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (
        y, logprobs, probs, counts, counts_sum, counts_sum_inv, logits, W2, h, hhat, gain, diff,
        var, rstd, hpre, x, n_hidden, n,
    ) = saved

    # loss = -logprobs[range(n), y].mean()
    dlogprobs = torch.zeros_like(logprobs).index_put([torch.arange(n), y], -dloss / n, accumulate=True)  # [5, 7]

    # logprobs = probs.log()
    dprobs = dlogprobs / probs  # [5, 7]

    # probs = counts * counts_sum_inv
    dcounts_sum_inv = (dprobs * counts).sum(dim=1, keepdim=True)  # [5, 1]

    # counts_sum_inv = counts_sum**-1
    dcounts_sum = -counts_sum**-2 * dcounts_sum_inv  # [5, 1]

    # counts_sum = counts.sum(1, keepdims=True)
    dcounts = dprobs * counts_sum_inv + dcounts_sum  # [5, 7]

    # counts = norm_logits.exp()
    dnorm_logits = dcounts * counts  # [5, 7]

    # norm_logits = logits - logit_maxes
    dlogit_maxes = (-dnorm_logits).sum(dim=1, keepdim=True)  # [5, 1]

    # logit_maxes = logits.max(1, keepdim=True).values
    dlogits = (
        dnorm_logits
        + F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]) * dlogit_maxes
    )  # [5, 7]

    # logits = h @ W2 + b2
    dh = dlogits @ W2.T  # [5, 11]
    dW2 = h.T @ dlogits  # [11, 7]
    db2 = dlogits.sum(dim=0)  # [7]

    # h = torch.tanh(hnorm)
    dhnorm = dh * (1 - h**2)  # [5, 11]

    # hnorm = gain * hhat + bias
    dgain = (dhnorm * hhat).sum(dim=0)  # [11]
    dhhat = dhnorm * gain  # [5, 11]
    dbias = dhnorm.sum(dim=0)  # [11]

    # hhat = diff * rstd
    drstd = (dhhat * diff).sum(dim=1, keepdim=True)  # [5, 1]

    # rstd = (var + 1e-5) ** -0.5
    dvar = -0.5 * (var + 1e-5)**-1.5 * drstd  # [5, 1]

    # var = 1 / n_hidden * (diff**2).sum(dim=1, keepdim=True)
    ddiff = dhhat * rstd + 2 * diff * (1 / n_hidden * dvar)  # [5, 11]

    # diff = hpre - mu
    dmu = (-ddiff).sum(dim=1, keepdim=True)  # [5, 1]

    # mu = hpre.mean(dim=1, keepdim=True)
    dhpre = ddiff + dmu / hpre.shape[1]  # [5, 11]

    # hpre = x @ W1 + b1
    dW1 = x.T @ dhpre  # [3, 11]
    db1 = dhpre.sum(dim=0)  # [11]

    return {"dW1": dW1, "db1": db1, "dgain": dgain, "dbias": dbias, "dW2": dW2, "db2": db2}
