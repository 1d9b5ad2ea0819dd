"""What emitted Functions save: no more than autograd, the fewest bytes, nothing slow made again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from emit.forwards import ALL, SIX, leaves_of, rms_norm, saved_bytes, swiglu, tensor
from handgrad.derive import BackwardLine
from handgrad.emit.direct import direct, read_from
from handgrad.emit.effort import SLOW, passes
from handgrad.emit.shapes import renamed
from handgrad.ir import Line, Name


@pytest.mark.parametrize("name", ALL)
def test_it_saves_no_more_than_autograd(name):
    forward, args = ALL[name]
    f = hg.function(forward, *args)
    mine, mine_inner = saved_bytes(f, leaves_of(args))
    theirs, theirs_inner = saved_bytes(forward, leaves_of(args))
    assert mine <= theirs
    assert mine_inner <= theirs_inner


def saved(name):
    """Return what the Function of a forward pass saves."""
    forward, args = ALL[name]
    return set(hg.function(forward, *args).residuals)


def test_what_is_saved():
    assert saved("linear") == {"x", "W"}
    assert saved("rms_norm") == {"x", "w", "rstd"}  # xhat is one product
    assert saved("layer_norm") == {"xhat", "w", "rstd"}
    assert saved("batch_norm") == {"raw", "gain", "inv"}
    assert saved("swiglu") == {"x", "W1", "W2", "W3", "gate", "up"}  # a sigmoid is four passes
    assert saved("cross_entropy") == {"probs", "y"}  # of two that are as large, what takes longer


def test_what_takes_long_to_make_is_saved():
    assert saved("gelu_tanh") == {"x", "t"}
    assert saved("gelu_erf") == {"x", "phi"}


def test_a_part_that_several_lines_read_is_made_once():
    source = hg.function(swiglu, *SIX["swiglu"][1]).source
    assert source.split("def backward")[1].split("# act")[0].count("sigmoid") == 1


def test_a_mask_is_saved_rather_than_what_it_is_made_from():
    def forward(x, W):
        return F.relu(x @ W)

    f = hg.function(forward, tensor(3, 5), tensor(5, 7))
    assert "> 0" in f.source.split("save_for_backward")[0]
    assert f.source.split("def backward")[0].count("x @ W") == 1


@pytest.mark.parametrize(
    ("forward", "count"),
    [
        (lambda x: x * 2, 1),
        (lambda x: x**-0.5, 1),
        (torch.abs, 1),
        (lambda x: x.sum(0), 1),
        (lambda x: x**1.7, SLOW),
        (lambda x: 2**x, SLOW),
        (torch.tanh, SLOW),
        (lambda x: x.softmax(0), SLOW),
        (F.gelu, SLOW),
    ],
)
def test_passes(forward, count):
    def called(x):
        y = forward(x)
        return y.sum()

    assert passes(hg.trace(called, tensor(5).abs()).lines[0].expr) == count


def test_a_product_is_not_made_again_for_one_sum():
    """`out` is neither saved nor made again: `dout * w` is there, and `out` is `xhat * w`."""
    backward = hg.function(rms_norm, *SIX["rms_norm"][1]).source.split("def backward")[1]
    assert "dxhat = dout * w" in backward
    assert "out = xhat * w  # [" not in backward


def test_a_second_name_is_dropped():
    x, w = SIX["rms_norm"][1]
    plain = hg.derive(hg.trace(rms_norm, x, w, upstream=tensor(3, 5, 7, seed=5)))
    xhat = Name("xhat", (3, 5, 7), torch.float64)
    other = {"xhat": Name("twin", xhat.shape, xhat.dtype)}
    lines = [BackwardLine(Line(("twin",), xhat, "twin = xhat"), "", 0)]
    for each in plain.lines:
        text, expr = renamed(each.line.text, {"xhat": "twin"}), read_from(each.line.expr, other)
        lines.append(replace(each, line=replace(each.line, text=text, expr=expr)))
    twice = replace(plain, lines=tuple(lines))
    assert "twin" in twice.source
    assert direct(twice).source == plain.source
