"""What cancels inside a line is rounding, however large; a mistake beside it is still a mistake."""

from __future__ import annotations

import pytest
import torch

import handgrad as hg
from agree import double
from handgrad.check.assess import assess
from handgrad.check.compare import check_tensors
from handgrad.check.judge import Judge
from handgrad.check.report import Report
from handgrad.check.statements import statements
from handgrad.check.wide import SHAKE, Shaking, jumps
from handgrad.trace import Trace
from mutation.programs import scope_of


def variance(W, c):
    v = W.var(0)
    loss = (v * c).sum()
    return loss


START = "dv = dloss * c\n"
MULTIPLIED_OUT = (
    START + "dW = 2 / (W.shape[0] - 1) * dv * W - 2 / (W.shape[0] - 1) * dv * W.mean(0)"
)


def centred(W, k, c):
    v = ((W - W.mean(0, keepdim=True)) ** 2 * k).mean(0)
    loss = (v * c).sum()
    return loss


CENTRED = START + "dW = 2 / W.shape[0] * (dv * k) * W - 2 / W.shape[0] * (dv * (k * W.mean(0)))"


def probabilities(W):
    a = W * W.abs()
    h = (a - a.mean(0, keepdim=True)) * (a.var(0, keepdim=True, unbiased=False) + 0.1) ** -0.5
    p = h.softmax(-1)
    s = p.sum(0)
    loss = (s * 4.5).mean()
    return loss


SOFTMAX = """
ds = dloss * 4.5
dp = ds.expand_as(p)
dh = (dp - (dp * p).sum(dim=-1, keepdim=True)) * p
v = a.var(dim=0, unbiased=False, keepdim=True) + 0.1
c = a - a.mean(dim=0, keepdim=True)
dc = dh * v**-0.5
dv = (-0.5 * v**-1.5 * (dh * c).sum(dim=0, keepdim=True))
da = 2 / a.shape[0] * dv * c + (-dc).sum(dim=0, keepdim=True) / a.shape[0] + dc
dW = 2 * W.abs() * da
"""


def attention(q, k, va, c):
    e = torch.tanh(q.unsqueeze(1) + k)
    scores = (e * va).sum(2)
    w = scores.softmax(1)
    loss = (w * c).sum()
    return loss


SATURATED = """
dw = dloss * c
tmp = w * dw - (w * dw).sum(dim=1, keepdim=True) * w
x = tmp.unsqueeze(2) * va
dq = (x - e**2 * x).sum(1)
"""


def report(trace: Trace, source: str) -> Report:
    return assess(Judge(trace, statements(source)))


def verdicts(trace: Trace, source: str) -> dict[str, str]:
    return {row.name: row.verdict for row in report(trace, source).rows}


def computed(trace: Trace, source: str, name: str) -> torch.Tensor:
    """Return what a backward pass leaves."""
    scope = scope_of(trace)
    exec(source, scope)
    return scope[name]


@pytest.mark.parametrize("size", [1e-8, 1.0, 1e4, 1e8])
def test_difference_from_the_mean_of_equal_entries_multiplied_out(size):
    for entry in (0.37, 0.77, 1.3, 2.9):
        W = torch.full((7, 3), entry * size, dtype=torch.float64)
        trace = hg.trace(variance, W=W, c=double(3, seed=1))
        assert verdicts(trace, MULTIPLIED_OUT)["dW"] != "wrong", entry
        wrong = MULTIPLIED_OUT.replace("2 / (W.shape[0] - 1)", "2 / W.shape[0]")
        assert verdicts(trace, wrong)["dW"] == "wrong", entry


@pytest.mark.parametrize("seed", range(8))
def test_difference_from_the_mean_along_an_axis_of_one_multiplied_out(seed):
    W = 1e6 * (1e4 + double(1, 5, seed=seed))
    given = {"W": W, "k": double(5, seed=seed + 20), "c": double(5, seed=seed + 50)}
    found = verdicts(hg.trace(centred, **given), CENTRED)["dW"]
    assert found != "wrong"


@pytest.mark.parametrize("at", [2.0, 6.0, 8.0, 9.0])
def test_nearly_equal_factors_that_cancel_over_equal_entries(at):
    given = {"q": torch.full((2, 4), at), "k": torch.full((2, 7, 4), at)}
    given |= {"va": torch.full((4,), -0.1357), "c": double(2, 7)}
    trace = hg.trace(attention, **{n: v.double() for n, v in given.items()})
    assert verdicts(trace, SATURATED)["dq"] == "correct, rounding only"
    wrong = SATURATED.replace("e**2", "e**3")
    assert verdicts(trace, wrong)["dq"] == "wrong"


@pytest.mark.parametrize("spread", [1e-8, 1e-10, 1e-11])
def test_mistake_in_a_difference_from_the_mean_of_large_entries_given_as_a_tensor(spread):
    W = 1e8 * (1 + spread * double(7, 3))
    trace = hg.trace(variance, W=W, c=double(3, seed=1))
    dW = computed(trace, MULTIPLIED_OUT, "dW")
    assert check_tensors(trace, {"dW": dW}).ok
    assert not check_tensors(trace, {"dW": -dW}).ok
    assert not check_tensors(trace, {"dW": dW * 6 / 7}).ok


@pytest.mark.parametrize(("seed", "size"), [(11, 0.5), (14, 0.1), (21, 0.1), (53, 1.0)])
def test_zero_gradient_that_is_noise_in_float32(seed, size):
    W = (size * double(11, seed=seed)).float()
    found = report(hg.trace(probabilities, W=W), SOFTMAX)
    assert not any(r.inherits or r.verdict in ("wrong", "cannot confirm") for r in found.rows)


def test_mask_that_flips_is_no_rounding():
    assert jumps(1.0, 1.0)
    assert not jumps(1.0, 1 / 64)
    assert not jumps(0.0, 0.0)


def test_every_rounded_result_is_shaken_and_nothing_else():
    x = double(4, 3)
    with Shaking():
        same = [x.amax(0), x.mT, x.relu(), x.clone(), x[1], x.abs(), x.float()]
        moved = [x + 1, x.exp(), x.mean(0), x @ x.mT]
        x2 = x.clone()
        x2 += 1
    assert all(map(torch.equal, same, [x.amax(0), x.mT, x.relu(), x, x[1], x.abs(), x.float()]))
    for one, two in zip([*moved, x2], [x + 1, x.exp(), x.mean(0), x @ x.mT, x + 1], strict=True):
        assert 0 < float((one - two).abs().max()) <= 2 * SHAKE * float(two.abs().max())
