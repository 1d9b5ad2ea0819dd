"""Forward and backward pass of gpt_block, line by line.

Written by handgrad; every gradient was compared with autograd's, at two sets of sizes.
"""

import torch
import torch.nn.functional as F


def forward(x, target, ln1_w, ln1_b, Wqkv, Wproj, ln2_w, ln2_b, Wfc, bfc, Wout, bout, C, n_head, T):
    if (
        [t.ndim for t in (x, target, ln1_w, ln1_b, Wqkv, Wproj, ln2_w, ln2_b, Wfc, bfc,
        Wout, bout)] != [3, 3, 1, 1, 2, 2, 1, 1, 2, 1, 2, 1]
    ):
        raise ValueError('this file was written for x.ndim == 3, target.ndim == 3, ln1_w.ndim == 1 and 9 more')
    if (
        [t for t in (x.shape[2], ln1_w.shape[0], ln1_b.shape[0], Wqkv.shape[1],
        Wproj.shape[0], ln2_w.shape[0], ln2_b.shape[0], Wfc.shape[1], Wout.shape[0],
        bout.shape[0], target.shape[2], Wqkv.shape[0], Wproj.shape[1])] != [6, 6, 6, 6, 6,
        6, 6, 6, 6, 6, 6, 18, 6]
    ):
        raise ValueError('this file was written for x.shape[2] == 6, ln1_w.shape[0] == 6, ln1_b.shape[0] == 6 and 10 more: no other size was found that the forward pass takes')
    x_1 = F.layer_norm(x, (C,), weight=ln1_w, bias=ln1_b)  # [2, 5, 6]
    qkv = F.linear(x_1, Wqkv)  # [2, 5, 18]
    qkv_1 = qkv.unflatten(-1, (3, n_head, C // n_head)).permute(2, 0, 3, 1, 4)  # [3, 2, 3, 5, 2]
    q, k, v = qkv_1.unbind()  # [2, 3, 5, 2], [2, 3, 5, 2], [2, 3, 5, 2]
    scores = q @ k.mT / (C // n_head) ** 0.5  # [2, 3, 5, 5]
    future = torch.ones(T, T).triu(diagonal=1) == 1  # [5, 5]
    scores_1 = scores.masked_fill(future, float("-inf"))  # [2, 3, 5, 5]
    weights = scores_1.softmax(-1)  # [2, 3, 5, 5]
    heads = (weights @ v).transpose(1, 2).flatten(start_dim=2)  # [2, 5, 6]
    x_2 = x + F.linear(heads, Wproj)  # [2, 5, 6]
    x_3 = F.layer_norm(x_2, (C,), weight=ln2_w, bias=ln2_b)  # [2, 5, 6]
    h = F.gelu(F.linear(x_3, Wfc, bfc), approximate="tanh")  # [2, 5, 24]
    x_4 = x_2 + F.linear(h, Wout, bout)  # [2, 5, 6]
    loss = F.mse_loss(x_4, target)  # []
    saved = (
        x_4, target, Wout, h, x_3, Wfc, bfc, x_2, ln2_w, Wproj, heads, weights, v, future, k, q,
        qkv, Wqkv, x_1, x, C, n_head,
    )
    return loss, saved


def backward(dloss, saved):
    """Return the gradient of every leaf, given dloss."""
    (
        x_4, target, Wout, h, x_3, Wfc, bfc, x_2, ln2_w, Wproj, heads, weights, v, future, k, q,
        qkv, Wqkv, x_1, x, C, n_head,
    ) = saved

    # loss = F.mse_loss(x_4, target)
    dx_4 = 2/x_4.numel() * (x_4 - target) * dloss  # [2, 5, 6]

    # x_4 = x_2 + F.linear(h, Wout, bout)
    dh = dx_4 @ Wout  # [2, 5, 24]
    dWout = dx_4.flatten(end_dim=-2).T @ h.flatten(end_dim=-2)  # [6, 24]
    dbout = dx_4.sum(dim=(0, 1))  # [6]

    # h = F.gelu(F.linear(x_3, Wfc, bfc), approximate="tanh")
    h_1 = F.linear(x_3, Wfc, bfc)  # [2, 5, 24]
    h_2 = torch.tanh((2/torch.pi)**0.5 * (h_1 + 0.044715 * h_1**3))  # [2, 5, 24]
    dh_1 = dh * (0.5 * (1 + h_2) + 0.5 * h_1 * (1 - h_2**2) * ((2/torch.pi)**0.5 * (1 + 0.134145 * h_1**2)))  # [2, 5, 24]
    dx_3 = dh_1 @ Wfc  # [2, 5, 6]
    dWfc = dh_1.flatten(end_dim=-2).T @ x_3.flatten(end_dim=-2)  # [24, 6]
    dbfc = dh_1.sum(dim=(0, 1))  # [24]

    # x_3 = F.layer_norm(x_2, (C,), weight=ln2_w, bias=ln2_b)
    x_3_1 = torch.rsqrt(x_2.var(dim=-1, unbiased=False, keepdim=True) + 1e-5)  # [2, 5, 1]
    dx_3_1 = dx_3 * ln2_w  # [2, 5, 6]
    x_3_2 = (x_2 - x_2.mean(dim=-1, keepdim=True)) * x_3_1  # [2, 5, 6]
    dx_2 = (
        dx_4
        + x_3_1 * (dx_3_1 - dx_3_1.mean(dim=-1, keepdim=True) - x_3_2 * (dx_3_1 * x_3_2).mean(dim=-1, keepdim=True))
    )  # [2, 5, 6]
    dln2_w = (dx_3 * x_3_2).sum(dim=(0, 1))  # [6]
    dln2_b = dx_3.sum(dim=(0, 1))  # [6]

    # x_2 = x + F.linear(heads, Wproj)
    dheads = dx_2 @ Wproj  # [2, 5, 6]
    dWproj = dx_2.flatten(end_dim=-2).T @ heads.flatten(end_dim=-2)  # [6, 6]

    # heads = (weights @ v).transpose(1, 2).flatten(start_dim=2)
    dheads_1 = dheads.reshape_as((weights @ v).transpose(1, 2)).transpose(1, 2)  # [2, 3, 5, 2]
    dweights = dheads_1 @ v.mT  # [2, 3, 5, 5]
    dv = weights.mT @ dheads_1  # [2, 3, 5, 2]

    # weights = scores_1.softmax(-1)
    dscores_1 = weights * (dweights - (dweights * weights).sum(dim=-1, keepdim=True))  # [2, 3, 5, 5]

    # scores_1 = scores.masked_fill(future, float("-inf"))
    dscores = dscores_1.masked_fill(future, 0)  # [2, 3, 5, 5]

    # scores = q @ k.mT / (C // n_head) ** 0.5
    dq = dscores / (C // n_head) ** 0.5 @ k  # [2, 3, 5, 2]
    dk = (dscores / (C // n_head) ** 0.5).mT @ q  # [2, 3, 5, 2]

    # q, k, v = qkv_1.unbind()
    dqkv_1 = torch.stack([dq, dk, dv])  # [3, 2, 3, 5, 2]

    # qkv_1 = qkv.unflatten(-1, (3, n_head, C // n_head)).permute(2, 0, 3, 1, 4)
    dqkv = dqkv_1.permute(1, 3, 0, 2, 4).reshape_as(qkv)  # [2, 5, 18]

    # qkv = F.linear(x_1, Wqkv)
    dx_1 = dqkv @ Wqkv  # [2, 5, 6]
    dWqkv = dqkv.flatten(end_dim=-2).T @ x_1.flatten(end_dim=-2)  # [18, 6]

    # x_1 = F.layer_norm(x, (C,), weight=ln1_w, bias=ln1_b)
    dln1_w = (dx_1 * ((x - x.mean(dim=-1, keepdim=True)) * torch.rsqrt(x.var(dim=-1, unbiased=False, keepdim=True) + 1e-5))).sum(dim=(0, 1))  # [6]
    dln1_b = dx_1.sum(dim=(0, 1))  # [6]

    return {"dln1_w": dln1_w, "dln1_b": dln1_b, "dWqkv": dWqkv, "dWproj": dWproj, "dln2_w": dln2_w, "dln2_b": dln2_b, "dWfc": dWfc, "dbfc": dbfc, "dWout": dWout, "dbout": dbout}
