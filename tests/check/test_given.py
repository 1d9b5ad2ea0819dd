"""A backward pass that is checked against a forward pass traced apart from it."""

from __future__ import annotations

import warnings

import torch

import handgrad as hg
from agree import double


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
