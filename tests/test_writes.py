"""Writes in place: whatever writes to which part of what memory, the gradient is autograd's."""

from __future__ import annotations

import linecache

import pytest
import torch

import handgrad as hg

BODIES = {
    "the whole of another": ["m = torch.zeros_like(h)", "m[:] = h", "out = m * h"],
    "the whole by an ellipsis": ["m = torch.zeros_like(h)", "m[...] = h", "out = m * h"],
    "a number into a slice": ["h[::2] = 0.1", "out = h"],
    "a tensor into a slice": ["h[::2] = x[::2] * 3", "out = h * x"],
    "added to a column": ["h[:, 1] += x[:, 0]", "out = h"],
    "rows and all columns": [
        *("rows = torch.tensor([0, 2])", "o = torch.zeros(4, 3).double()"),
        *("o[rows, :] = x[rows]", "out = o * o"),
    ],
    "columns of all rows": [
        *("cols = torch.tensor([0, 2])", "o = torch.zeros(4, 3).double()"),
        *("o[:, cols] = x[:, cols]", "out = o * o"),
    ],
    "columns of some rows": [
        *("cols = torch.tensor([0, 2])", "o = torch.zeros(4, 3).double()"),
        *("o[1:3, cols] = x[1:3, cols]", "out = o * o"),
    ],
    "repeated places": [
        "h[torch.tensor([0, 0, 1]), torch.tensor([1, 1, 2])] = x[0]",
        "out = h",
    ],
    "a number where a mask is": ["h[h > 0] = 0", "out = h"],
    "entries where a mask is": ["h[h > 0] = x[h > 0] * 2", "out = h"],
    "rows that a mask picks": ["h[x[:, 0] > 0] = 2.5", "out = h"],
    "lists of rows": ["h[[0, 2]] = x[[1, 3]]", "out = h"],
    "unset memory, row by row": [
        *("o = torch.empty(4, 3, dtype=x.dtype)", "for i in range(4):"),
        *("    o[i] = x[i] * 2", "out = o"),
    ],
    "transposed in place": ["h.t_()", "out = h @ x"],
    "an axis more": ["h.unsqueeze_(0)", "out = h * 2"],
    "an axis less of a view": ["k = h.unsqueeze(0)", "k.squeeze_(0)", "out = k * h"],
    "through a row": ["v = h[0]", "v.mul_(3)", "out = h * x"],
    "through a flat view": ["v = h.view(-1)", "v[2] = 0", "out = h * x"],
    "through rows, twice": ["v = h[1:]", "v += 1", "v *= x[1:]", "out = h * v.sum()"],
    "under a column": ["v = h[:, 0]", "h.mul_(2)", "out = h * v.sum()"],
    "under another view": ["a = h[0]", "b = h[0]", "a.add_(1)", "out = h * b"],
    "through a transpose": ["v = h.t()", "v[0, 1] = 0.0", "out = h * x"],
    "into a row, from there": ["h[0] *= x[1]", "h[:, 0] -= 2", "out = h"],
    "an array into all rows": ["m = torch.zeros(4, 3).double()", "m.copy_(h[0])", "out = m * h"],
    "with out=": [
        *("m = torch.zeros(4, 3).double()", "with torch.no_grad():"),
        *("    torch.mul(h, 2, out=m)", "out = m * h"),
    ],
    "a diagonal": ["h[:3].fill_diagonal_(0.0)", "out = h"],
    "through a diagonal": ["h.diagonal().mul_(2)", "out = h * x"],
    "drawn in place": ["n = torch.empty(4, 3).uniform_(0, 1)", "out = h * n"],
    "accumulated": [
        "o = torch.zeros(5, 3).double()",
        "o.index_put_((torch.tensor([0, 0, 1, 2]),), h, accumulate=True)",
        "out = o * o",
    ],
}


def function(body: list[str]):
    """Return a forward pass with its source where tracebacks look for it."""
    lines = ["def forward(x):", "    h = x * 2 + 0.3", *(f"    {line}" for line in body)]
    lines += ["    loss = (out * out.detach().cos()).sum()", "    return loss"]
    text = "import torch\n" + "\n".join(lines) + "\n"
    file = f"<writes {abs(hash(text))}>"
    linecache.cache[file] = len(text), None, text.splitlines(True), file
    scope: dict[str, object] = {}
    exec(compile(text, file, "exec"), scope)
    return scope["forward"]


@pytest.mark.parametrize("name", BODIES)
def test_what_is_written_in_place_has_autograds_gradient(name):
    forward = function(BODIES[name])
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    torch.manual_seed(1)
    truth = torch.autograd.grad(forward(leaf), leaf)[0]
    torch.manual_seed(1)
    found = hg.derive(hg.trace(forward, x)).run()["dx"]
    torch.testing.assert_close(found, truth)
