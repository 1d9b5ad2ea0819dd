"""A torch.autograd.Function for swiglu, its backward pass line by line.

Written by handgrad; every gradient was compared with autograd's, at two sets of sizes.
"""

import torch


class Swiglu(torch.autograd.Function):
    """swiglu, with a backward pass of its own.

    Saved: x, W1, W2, W3, gate, up.
    A second derivative is refused: gate and up are neither input nor output.
    """

    @staticmethod
    def forward(ctx, x, W1, W2, W3):
        if [t.ndim for t in (x, W1, W2, W3)] != [3, 2, 2, 2]:
            raise ValueError('this Function was written for x.ndim == 3, W1.ndim == 2, W2.ndim == 2 and W3.ndim == 2')
        gate = x @ W1  # [2, 3, 7]
        up = x @ W2  # [2, 3, 7]
        act = gate * torch.sigmoid(gate)  # [2, 3, 7]
        h = act * up  # [2, 3, 7]
        out = h @ W3  # [2, 3, 5]
        ctx.save_for_backward(x, W1, W2, W3, gate, up)
        return out

    @staticmethod
    def backward(ctx, dout):
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError('swiglu has no second derivative: gate and up are neither input nor output')
        x, W1, W2, W3, gate, up = ctx.saved_tensors
        needs = ctx.needs_input_grad
        dx = dW1 = dW2 = dW3 = None

        if any(needs[1:3]):
            up_1 = x.flatten(end_dim=-2).T  # [5, 6]

        act_1 = torch.sigmoid(gate)  # [2, 3, 7]
        act = gate * act_1  # [2, 3, 7]

        if needs[3]:
            h = act * up  # [2, 3, 7]
            # out = h @ W3
            dW3 = h.flatten(end_dim=-2).T @ dout.flatten(end_dim=-2)  # [7, 5]

        if any(needs[:3]):
            # out = h @ W3
            dh = dout @ W3.T  # [2, 3, 7]

        if needs[0] or needs[2]:
            # h = act * up
            dup = dh * act  # [2, 3, 7]

        if any(needs[:2]):
            # act = gate * torch.sigmoid(gate)
            dgate = dh * up * act_1 * (1 + gate - act)  # [2, 3, 7]

        if needs[2]:
            # up = x @ W2
            dW2 = up_1 @ dup.flatten(end_dim=-2)  # [5, 7]

        if needs[0]:
            # gate = x @ W1
            dx = dup @ W2.T + dgate @ W1.T  # [2, 3, 5]

        if needs[1]:
            # gate = x @ W1
            dW1 = up_1 @ dgate.flatten(end_dim=-2)  # [5, 7]

        return dx, dW1, dW2, dW3


def swiglu(x, W1, W2, W3):
    """Apply Swiglu."""
    return Swiglu.apply(x, W1, W2, W3)
