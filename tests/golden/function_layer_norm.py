"""A torch.autograd.Function for layer_norm, its backward pass line by line.

Written by handgrad; every gradient was compared with autograd's, at two sets of sizes.
"""

import torch


class LayerNorm(torch.autograd.Function):
    """layer_norm, with a backward pass of its own.

    Saved: w, rstd, xhat.
    A second derivative is refused: rstd and xhat are neither input nor output.
    """

    @staticmethod
    def forward(ctx, x, w, b, eps=1e-5):
        if x.ndim != 3 or w.ndim != 1 or b.ndim != 1:
            raise ValueError('this Function was written for x.ndim == 3, w.ndim == 1 and b.ndim == 1')
        mu = x.mean(-1, keepdim=True)  # [3, 5, 1]
        diff = x - mu  # [3, 5, 7]
        var = (diff**2).mean(-1, keepdim=True)  # [3, 5, 1]
        rstd = (var + eps) ** -0.5  # [3, 5, 1]
        xhat = diff * rstd  # [3, 5, 7]
        out = xhat * w + b  # [3, 5, 7]
        ctx.save_for_backward(w, rstd, xhat)
        return out

    @staticmethod
    def backward(ctx, dout):
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError('layer_norm has no second derivative: rstd and xhat are neither input nor output')
        w, rstd, xhat = ctx.saved_tensors
        needs = ctx.needs_input_grad
        dx = dw = db = None

        if needs[1]:
            # out = xhat * w + b
            dw = (dout * xhat).sum(dim=(0, 1))  # [7]

        if needs[2]:
            # out = xhat * w + b
            db = dout.sum(dim=(0, 1))  # [7]

        if needs[0]:
            # out = xhat * w + b
            dxhat = dout * w  # [3, 5, 7]
            # mu = x.mean(-1, keepdim=True)
            dx = rstd * (dxhat - dxhat.mean(dim=-1, keepdim=True) - xhat * (xhat * dxhat).mean(dim=-1, keepdim=True))  # [3, 5, 7]

        return dx, dw, db, None


def layer_norm(x, w, b, eps=1e-5):
    """Apply LayerNorm."""
    return LayerNorm.apply(x, w, b, eps)
