"""Forward and backward pass of self_attention, line by line.

Written by handgrad; every gradient was compared with autograd's, at the traced sizes alone.
"""

import torch


def forward(x, target, Wk, Wq, Wv, head_size, T):
    if (
        [t.shape for t in (x, target, Wk, Wq, Wv)] != [(2, 5, 7), (2, 5, 3), (7, 3), (7, 3),
        (7, 3)]
    ):
        raise ValueError("this file was written for x [2, 5, 7], target [2, 5, 3], Wk [7, 3] and 2 more: a file's top level runs at its own sizes alone")
    k = x @ Wk  # [2, 5, 3]
    q = x @ Wq  # [2, 5, 3]
    v = x @ Wv  # [2, 5, 3]
    wei = q @ k.transpose(-2, -1) * head_size**-0.5  # [2, 5, 5]
    tril = torch.tril(torch.ones(T, T))  # [5, 5]
    wei_1 = wei.masked_fill(tril == 0, float("-inf"))  # [2, 5, 5]
    wei_2 = wei_1.softmax(-1)  # [2, 5, 5]
    out = wei_2 @ v  # [2, 5, 3]
    loss = ((out - target) ** 2).mean()  # []
    saved = (out, target, v, wei_2, tril, k, q, x, head_size)
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (out, target, v, wei_2, tril, k, q, x, head_size) = saved

    # loss = ((out - target) ** 2).mean()
    dout = 2 * (out - target) * (dloss / out.numel())  # [2, 5, 3]

    # out = wei_2 @ v
    dwei_2 = dout @ v.mT  # [2, 5, 5]
    dv = wei_2.mT @ dout  # [2, 5, 3]

    # wei_2 = wei_1.softmax(-1)
    dwei_1 = wei_2 * (dwei_2 - (dwei_2 * wei_2).sum(dim=-1, keepdim=True))  # [2, 5, 5]

    # wei_1 = wei.masked_fill(tril == 0, float("-inf"))
    dwei = dwei_1.masked_fill(tril == 0, 0)  # [2, 5, 5]

    # wei = q @ k.transpose(-2, -1) * head_size**-0.5
    dq = head_size**-0.5 * dwei @ k.transpose(-2, -1).mT  # [2, 5, 3]
    dk = (q.mT @ (head_size**-0.5 * dwei)).transpose(-2, -1)  # [2, 5, 3]

    # v = x @ Wv
    dWv = x.flatten(end_dim=-2).T @ dv.flatten(end_dim=-2)  # [7, 3]

    # q = x @ Wq
    dWq = x.flatten(end_dim=-2).T @ dq.flatten(end_dim=-2)  # [7, 3]

    # k = x @ Wk
    dWk = x.flatten(end_dim=-2).T @ dk.flatten(end_dim=-2)  # [7, 3]

    return {"dWk": dWk, "dWq": dWq, "dWv": dWv}
