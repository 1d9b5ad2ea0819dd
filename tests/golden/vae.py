"""Forward and backward pass of vae, line by line.

Written by handgrad; every gradient was compared with autograd's, at two sets of sizes.
"""

import torch
import torch.nn.functional as F


def forward(x, eps, W1, b1, Wmu, bmu, Wlogvar, blogvar, W2, b2, W3, b3):
    if (
        [t.ndim for t in (x, eps, W1, b1, Wmu, bmu, Wlogvar, blogvar, W2, b2, W3, b3)] !=
        [2, 2, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1]
    ):
        raise ValueError('this file was written for x.ndim == 2, eps.ndim == 2, W1.ndim == 2 and 9 more')
    h = torch.tanh(x @ W1 + b1)  # [5, 7]
    mu = h @ Wmu + bmu  # [5, 2]
    logvar = h @ Wlogvar + blogvar  # [5, 2]
    std = torch.exp(0.5 * logvar)  # [5, 2]
    z = mu + std * eps  # [5, 2]
    hdec = torch.tanh(z @ W2 + b2)  # [5, 7]
    logits = hdec @ W3 + b3  # [5, 13]
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")  # []
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())  # []
    loss = (bce + kl) / x.shape[0]  # []
    saved = (x, logits, W3, hdec, W2, z, mu, eps, std, logvar, h, Wlogvar, Wmu)
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (x, logits, W3, hdec, W2, z, mu, eps, std, logvar, h, Wlogvar, Wmu) = saved

    # loss = (bce + kl) / x.shape[0]
    dbce = dloss / x.shape[0]  # []
    dkl = dloss / x.shape[0]  # []

    # kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    dkl_1 = -(-0.5 * dkl)  # []

    # bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    dlogits = (torch.sigmoid(logits) - x) * dbce  # [5, 13]

    # logits = hdec @ W3 + b3
    dhdec = dlogits @ W3.T  # [5, 7]
    dW3 = hdec.T @ dlogits  # [7, 13]
    db3 = dlogits.sum(dim=0)  # [13]

    # hdec = torch.tanh(z @ W2 + b2)
    dhdec_1 = dhdec * (1 - hdec**2)  # [5, 7]
    dz = dhdec_1 @ W2.T  # [5, 2]
    dW2 = z.T @ dhdec_1  # [2, 7]
    db2 = dhdec_1.sum(dim=0)  # [7]

    # z = mu + std * eps
    dmu = 2 * mu * dkl_1 + dz  # [5, 2]
    dstd = dz * eps  # [5, 2]

    # std = torch.exp(0.5 * logvar)
    dlogvar = dkl_1 * torch.exp(logvar) + -0.5 * dkl + 0.5 * (dstd * std)  # [5, 2]

    # logvar = h @ Wlogvar + blogvar
    dWlogvar = h.T @ dlogvar  # [7, 2]
    dblogvar = dlogvar.sum(dim=0)  # [2]

    # mu = h @ Wmu + bmu
    dh = dlogvar @ Wlogvar.T + dmu @ Wmu.T  # [5, 7]
    dWmu = h.T @ dmu  # [7, 2]
    dbmu = dmu.sum(dim=0)  # [2]

    # h = torch.tanh(x @ W1 + b1)
    dh_1 = dh * (1 - h**2)  # [5, 7]
    dW1 = x.T @ dh_1  # [13, 7]
    db1 = dh_1.sum(dim=0)  # [7]

    return {"dW1": dW1, "db1": db1, "dWmu": dWmu, "dbmu": dbmu, "dWlogvar": dWlogvar, "dblogvar": dblogvar, "dW2": dW2, "db2": db2, "dW3": dW3, "db3": db3}
