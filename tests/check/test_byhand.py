"""Asking autograd in a backward pass by hand is pointed out, by whatever name it is asked."""

from __future__ import annotations

import pytest
import torch

import handgrad as hg
from handgrad.check.byhand import remarked
from handgrad.check.report import Row
from handgrad.check.ways import file_judge, reported

FORWARD = """\
import torch
{head}
x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
W = torch.tensor([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], requires_grad=True)
h = x @ W
loss = (h**2).mean()
dh = 2 * h / h.numel()
{body}
"""


def row_of(tmp_path, body: str, head: str = "", name: str = "dW") -> Row:
    """Return the row of a gradient of a file with these lines."""
    path = tmp_path / "net.py"
    path.write_text(FORWARD.format(head=head, body=body))
    judge = file_judge(str(path))
    report = remarked(reported(judge), judge)
    return next(row for row in report.rows if row.name == name)


def on_a_copy(call: str) -> str:
    """Return lines that ask autograd on a copy that requires a gradient."""
    return (
        f"with torch.enable_grad():\n    V = W.detach().clone().requires_grad_()\n    dW = {call}\n"
    )


@pytest.mark.parametrize(
    ("head", "call", "says"),
    [
        ("", "torch.autograd.grad((x @ V * dh).sum(), V)[0]", "torch.autograd.grad"),
        ("from torch.autograd import grad", "grad((x @ V * dh).sum(), V)[0]", "torch.autograd.grad"),
        ("from torch.autograd import *", "grad((x @ V * dh).sum(), V)[0]", "torch.autograd.grad"),
        ("import torch.autograd as ag", "ag.grad((x @ V * dh).sum(), V)[0]", "torch.autograd.grad"),
        ("from torch import autograd as A", "A.grad((x @ V * dh).sum(), V)[0]", "torch.autograd.grad"),
        ("g = torch.autograd.grad", "g((x @ V * dh).sum(), V)[0]", "torch.autograd.grad"),
        (
            "from functools import partial; g = partial(torch.autograd.grad, retain_graph=True)",
            "g((x @ V * dh).sum(), V)[0]",
            "torch.autograd.grad",
        ),
        ("t = torch", "getattr(t.autograd, 'gr' + 'ad')((x @ V * dh).sum(), V)[0]", "torch.autograd.grad"),
        ("from torch.func import vjp", "vjp(lambda w: x @ w, V)[1](dh)[0]", "torch.func.vjp"),
        ("", "torch.func.grad(lambda w: (x @ w * dh).sum())(V)", "torch.func.grad"),
        (
            "from torch.func import grad as slope",
            "slope(lambda w: (x @ w * dh).sum())(V)",
            "torch.func.grad",
        ),
        (
            "from torch.autograd.functional import vjp as pull",
            "pull(lambda w: x @ w, V, dh)[1]",
            "torch.autograd.functional.vjp",
        ),
        (
            "def mine(y, w):\n    from torch.autograd import grad as hidden\n    return hidden(y, w)[0]",
            "mine((x @ V * dh).sum(), V)",
            "torch.autograd.grad",
        ),
        (
            "from torch.func import jacrev",
            "jacrev(lambda w: (x @ w * dh).sum())(V)",
            "torch.func.jacrev",
        ),
    ],
)  # fmt: skip
def test_asking_autograd_is_pointed_out_by_what_is_called(tmp_path, head, call, says):
    row = row_of(tmp_path, on_a_copy(call), head)
    assert row.verdict.good
    assert f"asks autograd: {says}" in row.note.split("; ")[0] + ";"
    assert row.note.endswith(says)
    assert "cheat" not in row.note


HELPERS = """\
import threading
from concurrent.futures import ThreadPoolExecutor
import torch

def by_grad(x, V, dh):
    with torch.enable_grad():
        W = V.detach().clone().requires_grad_()
        return torch.autograd.grad((x @ W * dh).sum(), W)[0]

def by_backward(x, V, dh):
    with torch.enable_grad():
        W = V.detach().clone().requires_grad_()
        (x @ W * dh).sum().backward()
        return W.grad

def by_vjp(x, V, dh):
    return torch.func.vjp(lambda w: x @ w, V)[1](dh)[0]

def by_functional(x, V, dh):
    return torch.autograd.functional.vjp(lambda w: x @ w, V, dh)[1]

def by_the_engine(x, V, dh):
    with torch.enable_grad():
        W = V.detach().clone().requires_grad_()
        y = (x @ W * dh).sum()
    engine = torch.autograd.Variable._execution_engine
    one = (torch.ones_like(y),)
    return engine.run_backward((y,), one, False, False, (W,), allow_unreachable=True, accumulate_grad=False)[0]

def in_a_thread(x, V, dh):
    found = []
    thread = threading.Thread(target=lambda: found.append(by_grad(x, V, dh)))
    thread.start()
    thread.join()
    return found[0]

POOL = ThreadPoolExecutor(1)
POOL.submit(int).result()

def in_a_pool(x, V, dh):
    return POOL.submit(by_grad, x, V, dh).result()

class Layer:
    def backward(self, x, V, dh):
        return by_grad(x, V, dh)

layer = Layer()

def by_hand(x, V, dh):
    return x.T @ dh

def kept(V):
    V.requires_grad_()
    return V.grad

KEPT = torch.zeros(3, 2, requires_grad=True)
KEPT.grad = torch.zeros(3, 2)

def read_only(x, V, dh):
    return x.T @ dh + KEPT.grad
"""


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("mine.by_grad(x, W, dh)", "torch.autograd.grad"),
        ("mine.by_backward(x, W, dh)", "torch.Tensor.backward"),
        ("mine.by_vjp(x, W, dh)", "torch.func.vjp"),
        ("mine.by_functional(x, W, dh)", "torch.autograd.functional.vjp"),
        ("mine.by_the_engine(x, W, dh)", "torch.autograd"),
        ("mine.in_a_thread(x, W, dh)", "torch.autograd.grad"),
        ("mine.in_a_pool(x, W, dh)", "torch.autograd"),
        ("mine.layer.backward(x, W, dh)", "torch.autograd.grad"),
        ("mine.read_only(x, W, dh)", "torch.Tensor.grad"),
        ("mine.by_hand(x, W, dh)", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["head", "tail"])
def test_a_helper_of_another_module_is_seen_through(tmp_path, monkeypatch, call, says, place):
    name = f"helpers_{abs(hash((call, place, str(tmp_path))))}"
    (tmp_path / f"{name}.py").write_text(HELPERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    line = f"import {name} as mine"
    head, body = (line, "") if place == "head" else ("", line + "\n")
    row = row_of(tmp_path, f"{body}dW = {call}", head)
    assert row.verdict.good, row
    number = 8 if place == "head" else 9
    told = f"line {number} asks autograd: {says}" if says else ""
    assert row.note.removesuffix(".grad" * ("pool" in call)) == told


def test_the_engine_and_the_profilers_are_as_they_were(tmp_path):
    import sys
    import threading

    engine = torch.autograd.Variable._execution_engine
    row_of(tmp_path, on_a_copy("torch.autograd.grad((x @ V * dh).sum(), V)[0]"))
    row_of(tmp_path, "dW = missing(W)")
    assert torch.autograd.Variable._execution_engine is engine
    assert sys.getprofile() is None
    assert threading.getprofile() is None


def test_an_alias_among_the_backward_lines_is_seen_through(tmp_path):
    body = "ask = torch.autograd.grad\n" + on_a_copy("ask((x @ V * dh).sum(), V)[0]")
    assert row_of(tmp_path, body).note == "line 9 asks autograd: torch.autograd.grad"


def test_backward_on_a_copy_is_pointed_out_with_the_gradient_that_is_read(tmp_path):
    body = (
        "with torch.enable_grad():\n"
        "    V = W.detach().clone().requires_grad_()\n"
        "    (x @ V * dh).sum().backward()\n"
        "    dW = V.grad\n"
    )
    note = row_of(tmp_path, body).note
    assert "asks autograd: torch.Tensor.backward" in note
    assert "asks autograd: V.grad" in note


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("from torch.autograd import grad", "dW = grad(loss, W)[0]"),
        ("import torch.autograd as ag", "dW = ag.grad(loss, W)[0]"),
        ("g = torch.autograd.grad", "dW = g(h, W)[0]"),
        ("from torch.autograd import grad", "dW = missing(W) + grad(loss, W)[0]"),
        ("", "dW = missing(loss.backward())"),
        ("", "dW = missing(torch.Tensor.backward(loss))"),
    ],
)
def test_a_line_that_raises_is_read_by_what_its_names_stand_for(tmp_path, head, line):
    row = row_of(tmp_path, line, head)
    assert not row.verdict.good
    assert "asks autograd: torch." in row.note


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("def grad(a, b):\n    return a.T @ b", "dW = grad(x, dh)"),
        ("def vjp(a, b):\n    return a.T @ b", "dW = vjp(x, dh)"),
        (
            "class Linear:\n    def backward(self, dy):\n        return x.T @ dy\nlinear = Linear()",
            "dW = linear.backward(dh)",
        ),
        (
            "class Linear:\n    def backward(self, dy):\n        return missing(dy)\nlinear = Linear()",
            "dW = linear.backward(dh)",
        ),
        ("class Linear:\n    grad = 1.0", "dW = Linear.grad * x.T @ dh"),
        ("from torch.autograd import grad", "dW = x.T @ dh"),
    ],
)
def test_what_only_has_such_a_name_is_not_pointed_out(tmp_path, head, line):
    assert "autograd" not in row_of(tmp_path, line, head).note


def test_only_the_lines_that_make_a_gradient_count_for_it(tmp_path):
    body = on_a_copy("torch.autograd.grad((x @ V * dh).sum(), V)[0]")
    assert row_of(tmp_path, body, name="dh").note == ""


def test_a_profiler_that_runs_already_goes_on(tmp_path):
    import sys

    seen = []
    sys.setprofile(lambda *event: seen.append(event[1]))
    try:
        row_of(tmp_path, "dW = x.T @ dh")
        before = len(seen)
        hg.trace(lambda x: (x * x).sum(), x=torch.ones(2))
        assert len(seen) > before
    finally:
        sys.setprofile(None)


def test_what_cannot_be_seen_into_is_known_by_any_name():
    import numpy

    from handgrad.check.byhand import foreign

    assert foreign(numpy)
    assert foreign(numpy.linalg)
    assert foreign(numpy.asarray)
    assert not foreign(torch)
    assert not foreign(None)
