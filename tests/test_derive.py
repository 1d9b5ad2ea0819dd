"""What derive promises beyond right numbers: proof, residuals, names, marks where a rule is missing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

import handgrad as hg
from agree import double
from handgrad.derive.verify import Rounding
from handgrad.emit import module
from handgrad.errors import Mismatch, NoRule, Undecided


def forward(x, W, b):
    h = torch.tanh(x @ W + b)
    loss = (h * h).mean()
    return loss


@pytest.fixture
def trace():
    return hg.trace(forward, double(5, 3), double(3, 7, seed=1), double(7, seed=2))


def test_line_that_is_not_autograds_gradient_is_never_shown(trace):
    for name in ("W", "h"):
        off = {**trace.grads, name: trace.grads[name] * 1.001}
        with pytest.raises(Mismatch, match="not autograd's gradient"):
            hg.derive(dataclasses.replace(trace, grads=off))


def test_gradient_without_a_line_is_never_passed_over():
    trace = hg.trace(lambda x, d: (x * d.detach()).sum(), double(3), double(3, seed=1))
    extra = {**trace.grads, "d": torch.ones(3).double()}
    with pytest.raises(Mismatch, match="the derived dd is not autograd's gradient"):
        hg.derive(dataclasses.replace(trace, grads=extra))


def test_residuals_are_what_is_read_for_its_value():
    def summed(x, y):
        s = x.sum(0, keepdim=True)
        loss = (s * y).sum()
        return loss

    backward = hg.derive(hg.trace(summed, double(5, 3), double(1, 3, seed=1)))
    assert set(backward.residuals) == {"s", "y"}  # of x the shape alone
    assert "x" in backward.inputs


def test_op_without_a_rule_is_one_marked_line():
    def sinc(x):
        y = torch.sinc(x) * 2
        loss = (y * y).sum()
        return loss

    trace = hg.trace(sinc, double(5))
    backward = hg.derive(trace)
    assert [name for name, _ in backward.opaque] == ["torch.sinc"]
    assert "torch.autograd.functional.vjp(lambda z: torch.sinc(z), x, 2 * dy)" in backward.source
    torch.testing.assert_close(backward.run()["dx"], trace.grads["x"])
    with pytest.raises(NoRule, match="no rule for torch"):
        hg.derive(trace, strict=True)


def test_nan_is_named_at_the_line_where_it_first_appears():
    def logs(x):
        y = x - 1
        z = y.log()
        loss = z.sum()
        return loss

    with pytest.raises(Undecided, match="z is NaN at 1 of 2 entries, first at"):
        hg.derive(hg.trace(logs, torch.tensor([0.5, 2.0])))


def test_parts_needed_twice_are_computed_once():
    def gated(x, W):
        y = torch.sigmoid(x @ W) * torch.tanh(x @ W)
        loss = y.sum()
        return loss

    source = hg.derive(hg.trace(gated, double(5, 3), double(3, 7, seed=1))).source
    assert source.count("torch.sigmoid(") == 1
    assert source.count("torch.tanh(") == 1


def test_rounding_reaches_as_far_as_what_cancels():
    def ones(x):
        shares = x / x.sum(0)
        y = shares.sum(0)
        return y

    for seed in range(5):
        trace = hg.trace(ones, double(5, 3, seed=seed) * 1e-9, upstream=double(3))
        left = float(trace.grads["x"].abs().max())  # 0, but for rounding
        assert left <= Rounding(hg.derive(trace)).reach["dx"] < 1


def test_rounding_does_not_hide_a_wrong_line(trace):
    reach = Rounding(hg.derive(trace)).reach
    assert max(reach.values()) < 1e-11


def of_the_output(x):
    dloss = torch.tanh(x)
    h = dloss * dloss
    loss = (h**2).sum() + dloss.sum()
    return loss


def of_an_argument(x, dx):
    return (x * dx + dx**2).sum()


def of_a_gradient(x, dx):
    ddx = x * dx
    h = ddx.tanh() * dx
    dh = h * h
    return (dh * ddx).sum()


def a_number(x, dx=0.5):
    return ((x * dx) ** 2 + dx * x.sin()).sum()


@pytest.mark.parametrize(
    ("forward", "count"),
    [(of_the_output, 1), (of_an_argument, 2), (of_a_gradient, 2), (a_number, 1)],
)
def test_what_is_called_as_a_gradient_gets_another_name(forward, count):
    args = [double(3, seed=k) for k in range(count)]
    trace = hg.trace(forward, *args)
    for backward in (hg.derive(trace), hg.simplify(hg.derive(trace))):
        scope: dict[str, Any] = {}
        exec(module(backward), scope)
        _, saved = scope["forward"](*args, *trace.program.scalars.values())
        found = scope["backward"](torch.ones((), dtype=torch.float64), saved)
        for name, leaf in zip(trace.leaves, args, strict=True):
            torch.testing.assert_close(found[f"d{name}"], trace.grads[name])
            assert leaf.shape == found[f"d{name}"].shape
    given = [value.clone().requires_grad_() for value in args]
    assert torch.autograd.gradcheck(lambda *own: hg.function(forward, *args)(*own), given)
