"""A cast that changes nothing at the traced dtype is kept: at another one it does."""

from __future__ import annotations

import pytest
import torch

import handgrad as hg


def rms_norm(x, w, eps=1e-6):
    xf = x.float()
    return (xf * torch.rsqrt(xf.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * w


def named_dtype(x, w, eps=1e-6):
    dtype = x.dtype
    x = x.to(torch.float32)
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return w * y.to(dtype)


def by_keyword(x, w):
    scores = x.to(dtype=torch.float32).exp()
    return (scores / scores.sum(-1, keepdim=True)).type_as(w) * w


def weights(q, k):
    return (q @ k.mT).float().softmax(-1).to(q) @ k


NARROW = {
    rms_norm: ((4, 8), (8,)),
    named_dtype: ((4, 8), (8,)),
    by_keyword: ((4, 8), (8,)),
    weights: ((2, 3, 5), (2, 3, 5)),
}


def drawn(shapes, dtype, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    found = [(scale * torch.randn(shape, generator=generator)).to(dtype) for shape in shapes]
    return [value.requires_grad_() for value in found]


@pytest.mark.parametrize("forward", NARROW, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_dtype(forward, dtype):
    f = hg.function(forward, *drawn(NARROW[forward], torch.float32))
    scale = 300.0 if forward in (rms_norm, named_dtype) else 1.0  # x**2 overflows float16
    mine, theirs = (drawn(NARROW[forward], dtype, scale) for _ in range(2))
    got, truth = f(*mine), forward(*theirs)
    assert got.dtype == truth.dtype
    torch.testing.assert_close(got, truth, rtol=0, atol=0)
    got.sum().backward()
    truth.sum().backward()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_lines_say_it():
    trace = hg.trace(lambda x, w: rms_norm(x, w).sum(), *drawn(NARROW[rms_norm], torch.float32))
    assert "x.float()" in " ".join(line.text for line in trace.lines)
    assert "type_as(x)" in hg.derive(trace).source
