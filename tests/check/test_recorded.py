"""Right code is accepted and a wrong line named, however the file is written."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from handgrad.check.judging import result
from handgrad.errors import BadInput

HEAD = """\
import torch
torch.manual_seed(3)
x, y = torch.randn(5, 4), torch.randn(5, 2)
"""
TWO = """\
W1, b1 = torch.randn(4, 3, requires_grad=True), torch.randn(3, requires_grad=True)
W2 = torch.randn(3, 2, requires_grad=True)
"""
MSE = "loss = ((out - y) ** 2).mean()\ndout = 2 * (out - y) / out.numel()\n"

# a right file, and the line of it that is exchanged for a wrong one
WAYS: dict[str, tuple[str, str, str]] = {
    "a name bound again": (
        HEAD
        + TWO
        + "h = x @ W1 + b1\nh = torch.tanh(h)\nout = h @ W2\n"
        + MSE
        + "dW2 = h.T @ dout\n"
        "dh = dout @ W2.T\ndh = dh * (1 - h**2)\ndW1 = x.T @ dh\ndb1 = dh.sum(0)\n",
        "dh = dh * (1 - h**2)",
        "dh = dh * (1 - h)",
    ),
    "dicts": (
        HEAD + "p = {'W1': torch.randn(4, 3), 'W2': torch.randn(3, 2)}\n"
        "h = torch.relu(x @ p['W1'])\nout = h @ p['W2']\n" + MSE + "grads = {}\n"
        "grads['W2'] = h.T @ dout\ndh = dout @ p['W2'].T\ndh[h <= 0] = 0\ngrads['W1'] = x.T @ dh\n",
        "dh[h <= 0] = 0",
        "dh[h < 0] = 0",
    ),
    "functions with caches": (
        HEAD
        + TWO
        + """
def affine(a, w, b):
    return a @ w + b, (a, w)

def affine_backward(dout, cache):
    a, w = cache
    da = dout @ w.T
    dw = a.T @ dout
    db = dout.sum(0)
    return da, dw, db

z, first = affine(x, W1, b1)
h = torch.sigmoid(z)
out, second = affine(h, W2, torch.zeros(2))
"""
        + MSE
        + """
dh, dW2, _ = affine_backward(dout, second)
dz = dh * h * (1 - h)
dx, dW1, db1 = affine_backward(dz, first)
""",
        "    db = dout.sum(0)",
        "    db = dout.mean(0)",
    ),
    "layer classes in a list": (
        HEAD
        + """
class Linear:
    def __init__(self, n, m):
        self.W = torch.randn(n, m) * 0.5
    def __call__(self, a):
        self.a = a
        return a @ self.W
    def backward(self, dout):
        self.dW = self.a.T @ dout
        return dout @ self.W.T

class Tanh:
    def __call__(self, a):
        self.out = torch.tanh(a)
        return self.out
    def backward(self, dout):
        return dout * (1 - self.out**2)

layers = [Linear(4, 3), Tanh(), Linear(3, 2)]
out = x
for layer in layers:
    out = layer(out)
"""
        + MSE
        + """
dz = dout
for layer in reversed(layers):
    dz = layer.backward(dz)
""",
        "        return dout * (1 - self.out**2)",
        "        return dout * (1 - self.out)",
    ),
    "states through time in a dict": (
        HEAD
        + """
Wx, Wh = torch.randn(4, 3) * 0.5, torch.randn(3, 3) * 0.5
hs = {-1: torch.zeros(1, 3)}
for t in range(5):
    hs[t] = torch.tanh(x[t : t + 1] @ Wx + hs[t - 1] @ Wh)
loss = (hs[4] ** 2).sum()
dWx, dWh = torch.zeros_like(Wx), torch.zeros_like(Wh)
dh = 2 * hs[4]
for t in reversed(range(5)):
    draw = (1 - hs[t] ** 2) * dh
    dWx += x[t : t + 1].T @ draw
    dWh += hs[t - 1].T @ draw
    dh = draw @ Wh.T
""",
        "    dWh += hs[t - 1].T @ draw",
        "    dWh += hs[t].T @ draw",
    ),
    "a function that returns the loss and the gradients": (
        HEAD
        + """
def loss_fun(params, x, y):
    h = torch.relu(x @ params["W"])
    loss = ((h - params["c"]) ** 2).sum() / 5
    dh = 2 * (h - params["c"]) / 5
    grads = {"c": -dh.sum(0), "W": x.T @ (dh * (h > 0))}
    return loss, grads

if __name__ == "__main__":
    loss, grads = loss_fun({"W": torch.randn(4, 3), "c": torch.randn(3)}, x, y)
""",
        '    grads = {"c": -dh.sum(0), "W": x.T @ (dh * (h > 0))}',
        '    grads = {"c": dh.sum(0), "W": x.T @ (dh * (h > 0))}',
    ),
    "NumPy, columns, and 1/m only at the end": (
        """\
import numpy as np
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((4, 6)), (rng.random((1, 6)) > 0.5) * 1.0
W1, b1 = rng.standard_normal((3, 4)) * 0.5, np.zeros((3, 1))
W2, b2 = rng.standard_normal((1, 3)) * 0.5, np.zeros((1, 1))
m = X.shape[1]
A1 = np.tanh(W1 @ X + b1)
Z2 = W2 @ A1 + b2
A2 = 1 / (1 + np.exp(-Z2))
cost = -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m
dZ2 = A2 - Y
dW2 = np.dot(dZ2, A1.T) / m
db2 = np.sum(dZ2, axis=1, keepdims=True) / m
dZ1 = np.dot(W2.T, dZ2) * (1 - np.power(A1, 2))
dW1 = np.dot(dZ1, X.T) / m
db1 = np.sum(dZ1, axis=1, keepdims=True) / m
""",
        "dW1 = np.dot(dZ1, X.T) / m",
        "dW1 = np.dot(dZ1, X.T)",
    ),
    "several rounds with an update": (
        HEAD + "W = torch.randn(4, 2)\nfor step in range(3):\n    out = torch.tanh(x @ W)\n"
        "    loss = ((out - y) ** 2).mean()\n    dout = 2 * (out - y) / out.numel()\n"
        "    dz = dout * (1 - out**2)\n    dW = x.T @ dz\n    W -= 0.1 * dW\n",
        "    dz = dout * (1 - out**2)",
        "    dz = dout * (1 - out)",
    ),
    "gradients of one's own naming, compared at the end": (
        HEAD + TWO + "h = torch.tanh(x @ W1 + b1)\nout = h @ W2\nloss = ((out - y) ** 2).mean()\n"
        "loss.backward()\ndef cmp(name, mine, t):\n    print(name, torch.allclose(mine, t.grad))\n"
        "with torch.no_grad():\n    delta2 = 2 * (out - y) / out.numel()\n"
        "    grad_W2 = h.T @ delta2\n    delta1 = (delta2 @ W2.T) * (1 - h * h)\n"
        "    grad_W1 = x.T @ delta1\n    grad_b1 = delta1.sum(0)\ncmp('W1', grad_W1, W1)\n",
        "    grad_b1 = delta1.sum(0)",
        "    grad_b1 = delta1.mean(0)",
    ),
}


def judged(text: str, folder: Path) -> dict[str, Any]:
    """Check a file and return what came of it."""
    path = folder / "net.py"
    path.write_text(textwrap.dedent(text))
    return result(str(path), None)["report"]


@pytest.mark.parametrize("way", WAYS)
def test_right_code_is_accepted(way: str, tmp_path: Path):
    report = judged(WAYS[way][0], tmp_path)
    assert report["ok"], report["rows"]
    assert len(report["rows"]) > 1


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_line_is_named(way: str, tmp_path: Path):
    text, right, wrong = WAYS[way]
    assert text.count(right + "\n") == 1
    report = judged(text.replace(right + "\n", wrong + "\n"), tmp_path)
    bad = [row for row in report["rows"] if row["verdict"] == "wrong" and not row["inherits"]]
    number = text.split("\n").index(right) + 1
    assert {row["number"] for row in bad} == {number}, report["rows"]


def test_names_and_lines_are_the_persons_own(tmp_path: Path):
    text, right, wrong = WAYS["dicts"]
    text = text.replace("dh[h <= 0] = 0\n", "dz = dh * h\n").replace("x.T @ dh", "x.T @ dz")
    report = judged(text, tmp_path)
    names = [row["name"] for row in report["rows"]]
    assert "grads['W2']" in names
    assert any(row["line"] == "dz = dh * h" and row["verdict"] == "wrong" for row in report["rows"])
    told = "".join(str(row["diagnosis"]) for row in report["rows"])
    assert "own_" not in told


def test_another_convention_is_no_mistake(tmp_path: Path):
    text, *_ = WAYS["NumPy, columns, and 1/m only at the end"]
    names = {row["name"] for row in judged(text, tmp_path)["rows"]}
    assert names == {"dW1", "db1", "dW2", "db2"}


def test_a_swapped_pair_of_leaves_is_seen(tmp_path: Path):
    text = (
        HEAD
        + "A, B = torch.randn(5, 4, requires_grad=True), torch.randn(4, 5, requires_grad=True)\n"
    )
    text += "out = A @ B\nloss = (out**2).sum()\ndout = 2 * out\ndB, dA = dout @ B.T, A.T @ dout\n"
    assert not judged(text, tmp_path)["ok"]


def test_a_file_that_only_defines_says_what_to_do(tmp_path: Path):
    with pytest.raises(BadInput):
        judged("import torch\n\ndef f_forward(x):\n    return x * 2, x\n", tmp_path)


LOST = (
    HEAD
    + """
def backward(params, cache, dout):
    h = cache["h"]
    grads = {"W2": h.T @ dout}
    dz = (dout @ params["W2"].T) * (1 - h**2)
    grads["W1"] = 3 * (x.T @ dz)
    return grads

params = {"W1": torch.randn(4, 3) * 0.5, "W2": torch.randn(3, 2) * 0.5}
for step in range(2):
    h = torch.tanh(x @ params["W1"])
    out = h @ params["W2"]
    loss = ((out - y) ** 2).mean()
    grads = backward(params, {"h": h}, 2 * (out - y) / out.numel())
    for k in params:
        params[k] = params[k] - 0.1 * grads[k]
"""
)


def test_a_gradient_that_an_update_uses_up_does_not_vanish(tmp_path: Path):
    rows = judged(LOST, tmp_path)["rows"]
    wrong = [row["name"] for row in rows if row["verdict"] == "wrong"]
    assert wrong == ["grads['W1']"]
    assert judged(LOST.replace("3 * (x.T @ dz)", "x.T @ dz"), tmp_path)["ok"]


def test_what_is_called_a_gradient_and_is_none_is_not_confirmed(tmp_path: Path):
    text = HEAD + "W = torch.randn(4, 2)\nfor _ in range(1):\n    loss = ((x @ W) ** 2).sum()\n"
    text += "    grads = {}\n    grads['first'] = torch.ones(7)\n    dW = x.T @ (2 * (x @ W))\n"
    report = judged(text, tmp_path)
    assert [row["verdict"] for row in report["rows"]] == ["correct", "cannot confirm"]


def test_conditions_are_made_anew_at_other_points(tmp_path: Path):
    text = HEAD + "W = torch.randn(4, 3)\nz = x @ W\nh = z.clone()\nh[h < 0] = 0\n"
    text += "loss = (h**2).sum()\ndh = 2 * h\ndz = dh.clone()\ndz[z <= 0] = 0\ndW = x.T @ dz\n"
    assert judged(text, tmp_path)["ok"]


def test_a_device_is_no_hindrance(tmp_path: Path):
    text = HEAD + 'd = torch.device("cpu")\nW = torch.ones(4, 2, device=d)\nfor _ in range(1):\n'
    text += "    loss = ((x @ W) ** 2).sum()\n    dW = 2 * x.T @ (x @ W)\n"
    assert judged(text, tmp_path)["ok"]


def test_a_gradient_that_is_read_as_a_mere_sum_is_no_upstream(tmp_path: Path):
    text = HEAD + "g, b = torch.rand(4), torch.rand(4)\nfor _ in range(1):\n    n = 5\n"
    text += "    s = x.std(0, unbiased=False)\n    xn = (x - x.mean(0)) / s\n    out = g * xn + b\n"
    text += "    loss = (out**3).sum()\n    dout = 3 * out**2\n    db = dout.sum(0)\n"
    text += "    dg = (dout * xn).sum(0)\n    dx = g / (n * s) * (n * dout - db - xn * dg)\n"
    report = judged(text, tmp_path)
    assert report["ok"], report["rows"]
    assert {"db", "dg", "dx"} <= {row["name"] for row in report["rows"]}
    wrong = judged(text.replace("- db - xn", "- xn"), tmp_path)
    assert [row["name"] for row in wrong["rows"] if row["verdict"] == "wrong"] == ["dx"]


OUT_OF_SIGHT = {
    "a number": ("np.sum(out**2) * float(np.sum(W * W))", "2 * out * float(np.sum(W * W))"),
    "NumPy's own": ("np.sum(np.apply_along_axis(abs, 0, W)) + np.sum(out**2)", "2 * out"),
}


@pytest.mark.parametrize("way", OUT_OF_SIGHT)
def test_a_path_that_nobody_saw_is_never_verified(way: str, tmp_path: Path):
    loss, dout = OUT_OF_SIGHT[way]
    text = "import numpy as np\nrng = np.random.default_rng(0)\n"
    text += "X, W, b = rng.random((5, 4)), rng.random((4, 2)), rng.random(2)\nout = X @ W\n"
    text += f"loss = {loss} + np.sum(b * b)\ndout = {dout}\ndW = X.T @ dout\ndb = 2 * b\n"
    found = {row["name"]: row["verdict"] for row in judged(text, tmp_path)["rows"]}
    assert found["dW"] == "cannot confirm"
    assert found["db"].startswith("correct")


def test_a_right_gradient_of_python_numbers_is_not_called_wrong(tmp_path: Path):
    text = HEAD + "W = torch.randn(4, 2)\nfor _ in range(1):\n    out = x @ W\n"
    text += "    loss = (out**2).sum()\n    dout = 2 * out\n    dW = torch.tensor([[sum(\n"
    text += "        float(x[n, i] * dout[n, j]) for n in range(5)) for j in range(2)]\n"
    text += "        for i in range(4)])\n"
    found = {row["name"]: row["verdict"] for row in judged(text, tmp_path)["rows"]}
    assert found == {"dout": "correct", "dW": "cannot confirm"}


def test_a_hook_in_a_loop_is_refused(tmp_path: Path):
    text = HEAD + "W = torch.randn(4, 2, requires_grad=True)\nfor _ in range(1):\n    h = x @ W\n"
    text += "    h.register_hook(lambda g: g * 2)\n    loss = (h**2).sum()\n"
    text += "    dh = 2 * h\n    dW = x.T @ dh\n"
    with pytest.raises(BadInput, match="passes something that is no line"):
        judged(text, tmp_path)


ENDLESS = """import numpy as np
rng = np.random.default_rng(0)
X, y, W, b = rng.random((6, 4)), rng.random((6, 2)), rng.random((4, 2)), np.zeros(2)
n, smooth = 0, 1.0
while n < 10**9:
    out = np.tanh(X @ W + b)
    loss = np.sum((out - y) ** 2)
    dout = 2 * (out - y)
    dpre = dout * RULE
    dW = X.T @ dpre
    db = dpre.sum(0)
    smooth = smooth * 0.999 + loss * 0.001
    W, b, n = W - 0.01 * dW, b - 0.01 * db, n + 1
"""


@pytest.mark.parametrize(("rule", "right"), [("(1 - out**2)", True), ("(1 - out)", False)])
def test_of_training_without_end_the_first_round_is_judged(rule: str, right: bool, tmp_path: Path):
    rows = judged(ENDLESS.replace("RULE", rule), tmp_path)["rows"]
    found = {row["name"]: row["verdict"].startswith("correct") for row in rows}
    assert found == {"dout": True, "dpre": right, "dW": True, "db": True}
