"""What a file defines and never calls, and what has no loss: judged all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handgrad.check.judging import result

PAIRS = """import numpy as np


def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1).dot(w) + b
    return out, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    dx = dout.dot(w.T).reshape(x.shape)
    dw = x.reshape(x.shape[0], -1).T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    a = x.dot(Wx) + prev_h.dot(Wh) + b
    i, f, o = (1 / (1 + np.exp(-a[:, k * H:(k + 1) * H])) for k in range(3))
    g = np.tanh(a[:, 3 * H:])
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (i, f, o, g, x, Wx, Wh, prev_c, prev_h, next_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    i, f, o, g, x, Wx, Wh, prev_c, prev_h, next_c = cache
    t = np.tanh(next_c)
    dc = dnext_c + dnext_h * o * (1 - t ** 2)
    da = np.hstack((dc * g * i * (1 - i), dc * prev_c * f * (1 - f),
                    dnext_h * t * o * (1 - o), dc * i * (1 - g ** 2)))
    return da.dot(Wx.T), da.dot(Wh.T), dc * f, x.T.dot(da), prev_h.T.dot(da), da.sum(axis=0)


def embedding_forward(x, W):
    return W[x], (x, W.shape)


def embedding_backward(dout, cache):
    x, shape = cache
    dW = np.zeros(shape)
    np.add.at(dW, x, dout)
    return dW


def softmax_loss(x, y):
    p = np.exp(x - np.max(x, axis=1, keepdims=True))
    p /= np.sum(p, axis=1, keepdims=True)
    n = x.shape[0]
    loss = -np.sum(np.log(p[np.arange(n), y])) / n
    dx = p.copy()
    dx[np.arange(n), y] -= 1
    dx /= n
    return loss, dx


class Dense:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)
        self.b = np.zeros(n_out)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = dout.sum(axis=0)
        return dout @ self.W.T


class ReLU:
    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask
"""
MISTAKES = [  # what is right, what is wrong
    ("db = np.sum(dout, axis=0)", "db = np.sum(dout, axis=1)"),
    (
        "dw = x.reshape(x.shape[0], -1).T.dot(dout)",
        "dw = x.reshape(x.shape[0], -1).T.dot(dout) / 3",
    ),
    ("(1 - t ** 2)", "(1 - t)"),
    ("np.add.at(dW, x, dout)", "dW[x] = dout"),
    ("    dx /= n\n", ""),
    ("self.dW = self.x.T @ dout", "self.dW = 2 * self.x.T @ dout"),
    ("return dout * self.mask", "return dout * (self.mask + 0.5)"),
]
DELTAS = """import numpy as np
np.random.seed(1)
X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
y = np.array([[0, 1, 1, 0]]).T
syn0 = 2 * np.random.random((3, 4)) - 1
syn1 = 2 * np.random.random((4, 1)) - 1
for j in range(60000):
    l1 = 1 / (1 + np.exp(-np.dot(X, syn0)))
    l2 = 1 / (1 + np.exp(-np.dot(l1, syn1)))
    l2_delta = (y - l2) * (l2 * (1 - l2))
    l1_delta = l2_delta.dot(syn1.T) * (l1 * (1 - l1))
    syn1 += l1.T.dot(l2_delta)
    syn0 += X.T.dot(l1_delta)
"""

CHARACTERS = """import numpy as np
rng = np.random.default_rng(0)
V, H, T = 4, 3, 2
Wxh, Whh = rng.standard_normal((H, V)) * 0.1, rng.standard_normal((H, H)) * 0.1
Why = rng.standard_normal((V, H)) * 0.1
bh, by = np.zeros((H, 1)), np.zeros((V, 1))
def lossFun(inputs, targets, hprev):
    xs, hs, ys, ps = {}, {}, {}, {}
    hs[-1] = np.copy(hprev)
    loss = 0
    for t in range(len(inputs)):
        xs[t] = np.zeros((V, 1))
        xs[t][inputs[t]] = 1
        hs[t] = np.tanh(np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t-1]) + bh)
        ys[t] = np.dot(Why, hs[t]) + by
        ps[t] = np.exp(ys[t]) / np.sum(np.exp(ys[t]))
        loss += -np.log(ps[t][targets[t], 0])
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1
        dWhy += np.dot(dy, hs[t].T)
        dby += dy
        dh = np.dot(Why.T, dy) + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        dbh += dhraw
        dWxh += np.dot(dhraw, xs[t].T)
        dWhh += np.dot(dhraw, hs[t-1].T)
        dhnext = np.dot(Whh.T, dhraw)
    for dparam in [dWxh, dWhh, dWhy, dbh, dby]:
        np.clip(dparam, -5, 5, out=dparam)
    return loss, dWxh, dWhh, dWhy, dbh, dby, hs[len(inputs)-1]
n, p = 0, 0
mWxh, mWhh, mWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
mbh, mby = np.zeros_like(bh), np.zeros_like(by)
smooth_loss = -np.log(1.0/V)*T
data = [0, 1, 2, 3, 2, 0] * 3
while n < 1000:
    if p + T + 1 >= len(data) or n == 0:
        hprev = np.zeros((H, 1))
        p = 0
    inputs, targets = data[p:p+T], data[p+1:p+T+1]
    loss, dWxh, dWhh, dWhy, dbh, dby, hprev = lossFun(inputs, targets, hprev)
    smooth_loss = smooth_loss * 0.999 + loss * 0.001
    grads, mems = [dWxh, dWhh, dWhy, dbh, dby], [mWxh, mWhh, mWhy, mbh, mby]
    for param, dparam, mem in zip([Wxh, Whh, Why, bh, by], grads, mems):
        mem += dparam * dparam
        param += -0.1 * dparam / np.sqrt(mem + 1e-8)
    p += T
    n += 1
"""


def judged(text: str, folder: Path) -> dict[str, Any]:
    """Judge a text as a file; return its report."""
    path = folder / "net.py"
    path.write_text(text)
    return result(str(path), None)["report"]


def guilty(report: dict[str, Any]) -> set[int]:
    """Return the lines of which something is wrong."""
    bad = ("wrong", "right value, wrong shape")
    return {row["number"] for row in report["rows"] if row["verdict"] in bad}


def test_what_a_file_only_defines_is_called_on_made_inputs(tmp_path: Path):
    report = judged(PAIRS, tmp_path)
    assert report["ok"], report["rows"]
    assert len(report["rows"]) >= 16
    assert any("lstm_step_forward" in each and "Wh [5, 20]" in each for each in report["told"])


@pytest.mark.parametrize(("right", "wrong"), MISTAKES)
def test_a_mistake_in_what_a_file_only_defines_is_found(right: str, wrong: str, tmp_path: Path):
    assert right in PAIRS
    line = PAIRS[: PAIRS.index(right)].count("\n") + 1
    found = guilty(judged(PAIRS.replace(right, wrong), tmp_path))
    assert found & ({line} if wrong else {line - 1, line - 2})


def test_the_examples_of_a_file_are_its_inputs(tmp_path: Path):
    text = "import torch\ndef scale_forward(x, k):\n    return x * k[2], (x, k)\n"
    text += "def scale_backward(dout, cache):\n    x, k = cache\n    dx = dout * k[2]\n"
    text += "    return dx\ndef examples():\n"
    text += "    return {'scale_forward': (torch.ones(4), [1.0, 2.0, 3.0])}\n"
    assert judged(text, tmp_path)["ok"]


def test_a_backward_pass_without_a_loss_starts_from_its_error(tmp_path: Path):
    report = judged(DELTAS, tmp_path)
    assert report["ok"]
    names = {row["name"] for row in report["rows"]}
    assert names == {"l2_delta", "l1_delta", "update of syn1", "update of syn0"}


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("(l1 * (1 - l1))", "(1 - l1 * l1)", 11),
        ("X.T.dot(l1_delta)", "X.T.dot(l1_delta * l1)", 13),
        ("l1.T.dot(l2_delta)", "(1 - l1).T.dot(l2_delta)", 12),
    ],
)
def test_a_mistake_in_a_backward_pass_without_a_loss(
    right: str, wrong: str, line: int, tmp_path: Path
):
    assert guilty(judged(DELTAS.replace(right, wrong), tmp_path)) == {line}


def test_a_wrong_gradient_with_an_odd_name_does_not_vanish(tmp_path: Path):
    text = "import numpy as np\nnp.random.seed(0)\n"
    text += "X, Y = np.random.randn(6, 5), np.random.randn(6, 2)\n"
    text += "weight_h, weight_out = np.random.randn(4, 5), np.random.randn(2, 4)\n"
    text += "a_h = np.tanh(X @ weight_h.T)\nout = a_h @ weight_out.T\n"
    text += "loss = np.sum((out - Y) ** 2)\nd_out = 2 * (out - Y)\n"
    text += "d_loss__d_w_out = d_out.T @ a_h\n"
    text += "d_loss__d_w_h = (d_out @ weight_out * (1 + a_h)).T @ X\n"
    assert guilty(judged(text, tmp_path)) == {10}


def test_a_file_beside_it_is_recorded_too(tmp_path: Path):
    (tmp_path / "layers.py").write_text(PAIRS)
    text = "import numpy as np\nfrom layers import Dense, ReLU\nnp.random.seed(0)\n"
    text += "X, y = np.random.randn(5, 3), np.random.randn(5, 2)\n"
    text += "net = [Dense(3, 4), ReLU(), Dense(4, 2)]\nout = X\n"
    text += "for layer in net:\n    out = layer.forward(out)\n"
    text += "loss = np.mean((out - y) ** 2)\ngrad = 2 * (out - y) / y.size\n"
    text += "for layer in reversed(net):\n    grad = layer.backward(grad)\n"
    assert judged(text, tmp_path)["ok"]
    (tmp_path / "layers.py").write_text(PAIRS.replace("self.x.T @ dout", "0.5 * self.x.T @ dout"))
    assert not judged(text, tmp_path)["ok"]


def test_a_second_loss_to_compare_with_is_not_the_one(tmp_path: Path):
    text = "import torch\nx, W = torch.randn(5, 3), torch.randn(3, 2)\n"
    text += "y = torch.tensor([0, 1, 1, 0, 1])\nlogits = x @ W\nprobs = logits.softmax(1)\n"
    text += "loss = -probs[range(5), y].log().mean()\nprint(loss.item())\n"
    text += (
        "dlogits = probs.clone()\ndlogits[range(5), y] -= 1\ndlogits /= 5\nW_grad = x.T @ dlogits\n"
    )
    text += "loss_ce = torch.nn.functional.cross_entropy(logits, y)\nprint(loss_ce)\n"
    assert judged(text, tmp_path)["ok"]


def test_each_pair_counts_where_the_file_gives_examples(tmp_path: Path):
    text = "import torch\n"
    for k, factor in ((1, "2 * "), (2, "3 * ")):
        text += f"def f{k}_forward(x):\n    return 2 * x, x\n"
        text += f"def f{k}_backward(dout, cache):\n    dx = {factor}dout\n    return dx\n"
    text += "def examples():\n"
    text += "    return {'f1_forward': (torch.ones(4),), 'f2_forward': (torch.ones(4),)}\n"
    assert guilty(judged(text, tmp_path)) == {10}


def test_a_pair_that_cannot_be_called_is_told_and_hides_no_other(tmp_path: Path):
    text = PAIRS[: PAIRS.index("def lstm")]
    text += "def odd_forward(x):\n    return x * 2, x\n\n\n"
    text += "def odd_backward(dout, cache):\n    raise ValueError('not yet')\n"
    report = judged(text, tmp_path)
    rows = {row["name"]: row for row in report["rows"]}
    assert not report["ok"]
    assert rows["dx"]["verdict"].startswith("correct")
    odd = rows["odd_forward and odd_backward"]
    assert odd["verdict"] == "cannot confirm"
    assert odd["number"] == text[: text.index("def odd_backward")].count("\n") + 1
    assert "ValueError" in odd["note"]


def test_what_is_never_called_does_not_count_beside_a_backward_pass(tmp_path: Path):
    text = "import torch\ndef odd_forward(x):\n    return x * 2, x\n"
    text += "def odd_backward(dout, cache):\n    raise ValueError('not yet')\n"
    text += "x, W = torch.randn(5, 3), torch.randn(3, 2)\nout = x @ W\nloss = (out**2).sum()\n"
    text += "dout = 2 * out\ndW = x.T @ dout\n"
    report = judged(text, tmp_path)
    assert report["ok"]
    assert {row["name"] for row in report["rows"]} == {"dout", "dW"}


@pytest.mark.parametrize("most", ["5", "0.05"])
def test_a_character_model_that_clips_and_steps_by_adagrad_is_right(most: str, tmp_path: Path):
    report = judged(CHARACTERS.replace("-5, 5, out", f"-{most}, {most}, out"), tmp_path)
    assert report["ok"], report["rows"]
    assert {"dWxh", "dWhh", "dWhy", "dbh"} <= {row["name"] for row in report["rows"]}
