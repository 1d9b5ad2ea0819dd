"""A GRU that predicts the next value of a series at every step."""

import torch

torch.manual_seed(0)
batch, steps, n_in, n_hidden = 3, 5, 2, 7

series = torch.randn(batch, steps + 1, n_in)
Wx = torch.randn(n_in, 3 * n_hidden, requires_grad=True)
Wh = torch.randn(n_hidden, 2 * n_hidden, requires_grad=True)
Wn = torch.randn(n_hidden, n_hidden, requires_grad=True)
b = torch.randn(3 * n_hidden, requires_grad=True)
Wy = torch.randn(n_hidden, n_in, requires_grad=True)


def gru_cell(x, h, Wx, Wh, Wn, b):
    """Return the next hidden state [batch, n_hidden]."""
    n_hidden = h.shape[1]
    xr, xz, xn = (x @ Wx + b).split(n_hidden, dim=1)
    hr, hz = (h @ Wh).split(n_hidden, dim=1)
    r = torch.sigmoid(xr + hr)
    z = torch.sigmoid(xz + hz)
    n = torch.tanh(xn + (r * h) @ Wn)
    return (1 - z) * n + z * h


def forward(series, Wx, Wh, Wn, b, Wy):
    """Return the mean squared error of the predictions."""
    inputs = series[:, :-1]
    targets = series[:, 1:]
    h = torch.zeros(series.shape[0], Wn.shape[0])
    states = []
    for x in inputs.unbind(dim=1):
        h = gru_cell(x, h, Wx, Wh, Wn, b)
        states.append(h)
    hs = torch.stack(states, dim=1)  # [batch, steps, n_hidden]
    preds = hs @ Wy
    return ((preds - targets) ** 2).mean()
