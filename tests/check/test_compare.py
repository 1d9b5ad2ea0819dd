"""Verdicts: shape and dtype first, then values against the size of their summands."""

from __future__ import annotations

import pytest
import torch

import handgrad as hg
from agree import double
from handgrad.errors import BadInput


def forward(x, W, b):
    h = torch.tanh(x @ W + b)
    top = h.max(1, keepdim=True).values
    loss = (h - top).exp().mean()
    return loss


@pytest.fixture
def trace():
    return hg.trace(forward, double(5, 3), double(3, 7, seed=1), double(7, seed=2))


def verdict(trace, **given):
    return hg.check(trace, given).rows[0].verdict


def test_autograds_own_gradients_are_correct(trace):
    report = hg.check(trace, {"d" + n: g for n, g in trace.grads.items()})
    assert report.ok
    assert report.exit_code == 0
    assert {row.verdict.value for row in report.rows} == {"correct"}


def test_last_bits_are_rounding_only(trace):
    assert verdict(trace, dW=trace.grads["W"] * (1 + 1e-14)) == "correct, rounding only"


def test_small_factor_is_wrong(trace):
    assert verdict(trace, dW=trace.grads["W"] * (1 + 1e-6)) == "wrong"


def test_tiny_gradient_of_opposite_sign_is_wrong():
    def tiny(x):
        loss = (1e-9 * x**2).sum()
        return loss

    made = hg.trace(tiny, double(5))
    assert verdict(made, dx=-made.grads["x"]) == "wrong"
    assert verdict(made, dx=made.grads["x"]) == "correct"


def test_wrong_shape_with_the_right_values(trace):
    row = hg.check(trace, {"dtop": trace.grads["top"].squeeze(1)}).rows[0]
    assert row.verdict == "right value, wrong shape"
    assert row.shape == (5,)
    assert row.expected_shape == (5, 1)


def test_values_that_only_broadcast_to_the_right_ones_are_wrong():
    def summed(x):
        loss = x.sum()
        return loss

    made = hg.trace(summed, double(5, 3))
    assert verdict(made, dx=torch.ones(5, 1, dtype=torch.float64)) == "wrong"
    assert verdict(made, dx=torch.ones(3, dtype=torch.float64)) == "wrong"


def test_dtype_comes_before_values(trace):
    row = hg.check(trace, {"dW": trace.grads["W"].float()}).rows[0]
    assert row.verdict == "wrong"
    assert "dtype" in row.note


def test_none_is_to_do(trace):
    report = hg.check(trace, {"dW": None, "db": trace.grads["b"]})
    assert [row.verdict.value for row in report.rows] == ["to do", "correct"]
    assert not report.ok
    assert report.exit_code == 1


def test_nan_in_other_places_is_wrong(trace):
    bad = trace.grads["W"].clone()
    bad[0, 0] = float("nan")
    assert verdict(trace, dW=bad) == "wrong"


def test_zero_upstream_is_untested():
    def dead(x, W):
        h = x @ W
        loss = (h * 0).sum()
        return loss

    made = hg.trace(dead, double(5, 3), double(3, 2, seed=1))
    report = hg.check(made, {"dW": torch.zeros(3, 2, dtype=torch.float64)})
    assert report.rows[0].verdict == "untested"
    assert report.exit_code == 5


def test_gradient_that_is_rounding_noise_is_judged_by_its_summands():
    def shifted(logits, b):
        moved = logits + b
        top = moved.max(1, keepdim=True).values
        safe = moved - top
        loss = (safe.exp().sum(1).log() - safe[:, 0]).mean()
        return loss

    made = hg.trace(shifted, double(5, 7).float(), double(7, seed=1).float())
    noise = made.grads["top"]
    assert float(noise.abs().max()) < 1e-6
    assert verdict(made, dtop=torch.zeros_like(noise)) == "correct, rounding only"
    assert verdict(made, dtop=noise + 0.01) == "wrong"


def test_unknown_name_suggests_the_nearest(trace):
    with pytest.raises(BadInput, match="did you mean dtop"):
        hg.check(trace, {"dtopp": None})
    with pytest.raises(BadInput, match="no gradient"):
        hg.check(trace, {"gradient": None})


def test_cmp_prints_the_notebooks_line(capsys):
    x = double(3, 4).float().requires_grad_()
    h = x * 2
    h.retain_grad()
    h.square().sum().backward()
    dh = 2 * h.detach()
    hg.cmp("h", dh, h)
    ex = torch.all(dh == h.grad).item()
    app = torch.allclose(dh, h.grad)
    maxdiff = (dh - h.grad).abs().max().item()
    s = "h"
    line = f"{s:15s} | exact: {ex!s:5s} | approximate: {app!s:5s} | maxdiff: {maxdiff}"
    assert capsys.readouterr().out == line + " | correct\n"


def test_cmp_measures_wrong_shapes_as_the_notebook_and_says_so(capsys):
    x = double(3, 1).float().requires_grad_()
    (x * torch.ones(3, 4)).sum().backward()
    hg.cmp("x", torch.full((3,), 4.0), x)
    assert capsys.readouterr().out == (
        "x               | exact: True  | approximate: True  | maxdiff: 0.0"
        " | right value, wrong shape (shape [3], should be [3, 1])\n"
    )


def test_cmp_takes_a_missing_gradient_as_to_do(capsys):
    x = double(3).requires_grad_()
    hg.cmp("x", None, x)
    assert capsys.readouterr().out.endswith("| to do\n")


def test_cmp_without_grad_is_untested(capsys):
    x = double(3).requires_grad_()
    hg.cmp("x", double(3), x)
    assert "untested (it has no .grad" in capsys.readouterr().out
