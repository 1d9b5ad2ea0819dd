"""A backward pass that is checked against a forward pass traced apart from it."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

import handgrad as hg
from agree import double
from handgrad.check.report import Verdict


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        return a.sign()

    @staticmethod
    def backward(ctx, da):
        return da


def affine_tanh(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x @ w)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    scripted = torch.jit.script(affine_tanh)


def verdicts(report):
    return {row.name: row.verdict.value.split(",")[0] for row in report.rows}


def test_a_function_with_a_backward_of_its_own_is_judged_by_that():
    def forward(x):
        h = Sign.apply(x)
        loss = (h * x).sum()
        return loss

    def right(x, h):
        dh = x
        dx = h + dh
        return {"dx": dx}

    trace = hg.trace(forward, double(3))
    assert hg.check(trace, "dh = x\ndx = h + dh").ok
    assert hg.check(trace, right).ok
    assert verdicts(hg.check(trace, "dh = x\ndx = h")) == {"dh": "correct", "dx": "wrong"}


def test_a_scripted_function_is_judged_by_its_own_gradient():
    def forward(x, w):
        h = scripted(x, w)
        loss = (h * h).sum()
        return loss

    trace = hg.trace(forward, double(4, 3), double(3, 2))
    text = "dh = 2 * h\ndz = dh * (1 - h**2)\ndx = dz @ w.T\n"
    assert hg.check(trace, text + "dw = x.T @ dz").ok
    assert verdicts(hg.check(trace, text + "dw = 2 * x.T @ dz"))["dw"] == "wrong"


def test_a_name_of_what_vmap_made_is_known_to_lines():
    def forward(x):
        u = torch.vmap(torch.sin)(x)
        loss = (u**2).sum() + x.sum()
        return loss

    report = hg.check(hg.trace(forward, double(3, 2)), "du = 2 * u\ndx = du * torch.cos(x) + 1")
    assert verdicts(report) == {"du": "correct", "dx": "correct"}


def squares(x, w, y):
    p = x @ w
    loss = ((p - y) ** 2).mean()
    return loss


SQUARES = "dp = 2 * (p - y) / p.numel()\ndw = x.T @ dp\ndx = dp @ w.T\n"


def squares_backward(x, w, y, p):
    dp = 2 * (p - y) / p.numel()
    dw = x.T @ dp
    return {"dp": dp, "dw": dw, "dx": dp @ w.T, "dy": -dp}


def test_a_line_that_reads_a_gradient_beside_it_is_right(tmp_path: Path):
    trace = hg.trace(squares, double(5, 3), double(3, 2, seed=1), double(5, 2, seed=2))
    file = tmp_path / "backward.py"
    file.write_text(SQUARES + "dy = -dp\n")
    for backward in (SQUARES + "dy = -dp", file, squares_backward):
        report = hg.check(trace, backward)
        assert {n: v for n, v in verdicts(report).items() if v != "correct"} == {}
        assert list(verdicts(report)) == ["dp", "dw", "dx", "dy"]


def test_a_line_that_reads_a_gradient_beside_it_and_is_wrong_is_told():
    trace = hg.trace(squares, double(5, 3), double(3, 2, seed=1), double(5, 2, seed=2))
    found = verdicts(hg.check(trace, SQUARES + "dy = -2 * dp"))
    assert found == {"dp": "correct", "dw": "correct", "dx": "correct", "dy": "wrong"}


def test_batch_norm_that_reads_the_sums_of_its_scale_and_shift_is_right():
    def forward(x, g, b, t):
        mu = x.mean(0)
        v = ((x - mu) ** 2).mean(0)
        rstd = (v + 1e-5) ** -0.5
        xh = (x - mu) * rstd
        y = xh * g + b
        loss = ((y - t) ** 2).mean()
        return loss

    args = double(6, 4), double(4, seed=1), double(4, seed=2), double(6, 4, seed=3)
    text = "dy = 2 * (y - t) / y.numel()\ndb = dy.sum(0)\ndg = (dy * xh).sum(0)\n"
    text += "dx = g * rstd / 6 * (6 * dy - db - xh * dg)"
    assert hg.check(hg.trace(forward, *args, wrt=["x", "g", "b"]), text).ok


def test_a_gradient_that_is_read_and_written_nowhere_is_given():
    def forward(x, b, c):
        h = x + b
        loss = (h.sin() * c).sum()
        return loss

    trace = hg.trace(forward, double(5, 3), double(3, seed=1), double(5, 3, seed=2), wrt=["x", "b"])
    report = hg.check(trace, "dx = h.cos() * c * dloss\ndb = dx.sum(0)")
    assert report.ok
    assert report.supplied == ("dloss",)


def test_what_is_simplified_reads_gradients_beside_and_is_right():
    def forward(x, b, c):
        h = x + b
        loss = (h.sin() * c).sum()
        return loss

    trace = hg.trace(forward, double(5, 3), double(3, seed=1), double(5, 3, seed=2))
    assert hg.check(trace, hg.simplify(hg.derive(trace)).source).ok


def test_a_number_that_the_forward_pass_took_is_no_mistake_of_a_derived_line():
    def forward(w):
        h = w * w.sum().item()
        loss = h.abs().sum()
        return loss

    for dtype in (torch.float32, torch.float64):
        trace = hg.trace(forward, double(3, 4).to(dtype))
        source = hg.derive(trace).source
        dh, dw = hg.check(trace, source).rows
        assert dh.verdict is Verdict.CORRECT
        assert dw.verdict is Verdict.UNCONFIRMED
        assert "a number is taken at line" in dw.note
        assert ".item()" in dw.note
        wrong = source.replace("dw =", "dw = 2 *")
        assert verdicts(hg.check(trace, wrong))["dw"] == "wrong"
