"""Large values, small floats, constant results: what is simplified overflows no sooner than before."""

import pytest
import torch

import handgrad as hg
from simplify.adversary import function_of, holds, shortened, tensor
from simplify.cases import CASES
from simplify.running import autograd, has_simplify, run_at, traced

pytestmark = pytest.mark.skipif(not has_simplify(), reason="this build has no simplifier")
LARGE = {
    "softmax, shifted": "z = x - x.max(1, keepdim=True).values\ne = z.exp()\ns = e.sum(1, keepdim=True)\ny = e / s",
    "softmax, shifted, None": "z = x - x.amax(1)[:, None]\ne = z.exp()\ny = e / e.sum(1)[:, None]",
    "softmax, cut shift": "e = (x - x.detach().amax(1, keepdim=True)).exp()\ny = e / e.sum(1, keepdim=True)",
    "softmax": "y = x.softmax(1)",
    "softmax through logsumexp": "y = (x - x.logsumexp(1, keepdim=True)).exp()",
    "log-softmax, shifted": "z = x - x.amax(1, keepdim=True)\ny = z - z.exp().sum(1, keepdim=True).log()",
    "log-softmax": "y = x.log_softmax(1)",
    "logsumexp, shifted": "m = x.amax(1, keepdim=True)\ne = (x - m).exp()\ns = e.sum(1, keepdim=True)\ny = s.log() + m",
    "logsumexp": "y = x.logsumexp(1)",
    "cross-entropy": "loss = F.cross_entropy(x, label)",
    "cross-entropy through logsumexp": "loss = (x.logsumexp(1) - x[range(4), label]).mean()",
    "cross-entropy, log_softmax": "loss = -x.log_softmax(1)[range(4), label].mean()",
    "cross-entropy, shifted": """
        z = x - x.max(1, keepdim=True).values
        e = z.exp()
        s = e.sum(1, keepdim=True)
        logprobs = z - s.log()
        loss = -logprobs[range(4), label].mean()
        """,
    "binary cross-entropy": "loss = F.binary_cross_entropy_with_logits(x, t)",
    "binary, softplus": "loss = (F.softplus(x) - x * t).mean()",
    "binary, magnitudes": "loss = (x.clamp(min=0) - x * t + torch.log1p(torch.exp(-x.abs()))).mean()",
    "sigmoid": "y = torch.sigmoid(x)",
    "sigmoid of e to the minus x": "e = (-x.abs()).exp()\ny = 1 / (1 + e)",
    "tanh": "y = x.tanh()",
    "silu": "s = x.sigmoid()\ny = x * s",
    "softplus": "y = F.softplus(x)",
    "logsigmoid": "y = F.logsigmoid(x)",
    "masked": "y = x.masked_fill(mask, -torch.inf).softmax(1)",
    "masked, shifted": """
        z = x.masked_fill(mask, -torch.inf)
        e = (z - z.amax(1, keepdim=True)).exp()
        y = e / e.sum(1, keepdim=True)
        """,
    "RMS": "r = (x.square().mean(1, keepdim=True) + 1e-6) ** -0.5\ny = x * r",
    "product of tiny and huge": "p = x.softmax(1)\ny = p * p.log_softmax(1)",
}


def extremes():
    """Return arguments with logits of ordinary size, then of a thousand."""
    x, t = tensor(4, 6), tensor(4, 6, seed=1).sigmoid()
    label, mask = torch.tensor([0, 5, 2, 2]), torch.ones(4, 6, dtype=torch.bool).triu(1)
    for scale, shift in ((1, 0), (1000, 0), (1, 1000), (1, -1000), (700, 50), (1e-3, 0)):
        yield {"x": x * scale + shift, "t": t, "label": label, "mask": mask}
    spread = torch.tensor([-1000.0, 1000, 0, 999, 1000, -999]).double().expand(4, 6).clone()
    yield {"x": spread, "t": t, "label": label, "mask": mask}


@pytest.mark.parametrize("lines", LARGE.values(), ids=list(LARGE))
def test_no_overflow_where_there_was_none(lines):
    holds(lines, *extremes(), leaves=["x"])


@pytest.mark.parametrize("lines", LARGE.values(), ids=list(LARGE))
def test_finite_in_float32(lines):
    given = [
        {n: v.float() if v.is_floating_point() else v for n, v in g.items()} for g in extremes()
    ]
    source = shortened(lines, ["x"], **given[0]).source
    for values in given:
        function = function_of(lines, values)
        truth = autograd(function, values, ["x"])["dx"]
        mine = run_at(source, traced(function, values, ["x"]))["dx"]
        assert mine.dtype == torch.float32
        assert bool((mine.isfinite() | ~truth.isfinite()).all()), source
        near = torch.isclose(mine, truth, rtol=1e-3, atol=1e-5)
        assert bool((near | ~truth.isfinite()).all()), source


@pytest.mark.parametrize(
    ("case", "spelling"),
    [pytest.param(c, c.spellings[0], id=c.name) for c in CASES],
)
def test_float32_stays_float32(case, spelling):
    given = {
        name: v.float() if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for name, v in case.draw().items()
    }
    truth = autograd(case.function(spelling), given, case.leaves)
    found = shortened(spelling.forward, case.leaves, **given).run()
    for name, gradient in truth.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], gradient, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize(
    "lines",
    [
        "p = x.softmax(1)\nloss = p.sum()",
        "e = x.exp()\np = e / e.sum(1, keepdim=True)\nloss = p.sum()",
        "d = x - x.mean(0, keepdim=True)\nloss = d.sum()",
        "y = (x - x).sum(1)",
        "d = x - x.mean(0)\ny = d.sum(0) * w",
        "a = x * w\ny = a - w * x",
        "y = x / x",
        "r = ((x * x).sum(1, keepdim=True)) ** -0.5\nu = x * r\ny = (u * u).sum(1)",
        "l = x.logsumexp(1, keepdim=True)\ny = (x - l).exp().sum(1)",
    ],
)
def test_a_gradient_that_is_nothing(lines):
    x, w = tensor(4, 6), tensor(4, 6, seed=1)
    holds(lines, {"x": x, "w": w}, {"x": tensor(3, 5, seed=2), "w": tensor(3, 5, seed=3)})


def test_soft_targets_in_float32_do_not_sum_to_one():
    lines = """
        q = 0.9 * F.one_hot(label, 6) + 0.1 / 6
        p = x.softmax(1)
        loss = -(q * p.log()).sum(1).mean()
        """
    x, label = tensor(4, 6), torch.tensor([0, 5, 2, 2])
    holds(lines, {"x": x, "label": label}, {"x": -x, "label": label})


def test_probabilities_given_are_not_known_to_sum_to_one():
    lines = "loss = -(q * x.log_softmax(1)).sum() / 4"
    x, q = tensor(4, 6), tensor(4, 6, seed=1).softmax(1)
    holds(lines, {"x": x, "q": q}, {"x": x, "q": q * 2}, {"x": x, "q": tensor(4, 6)}, leaves=["x"])


@pytest.mark.parametrize("gamma", [(5,), (1, 5)])
@pytest.mark.parametrize("keep", [True, False])
def test_each_gradient_has_its_own_rank(gamma, keep):
    lines = f"""
        mu = x.mean(0, keepdim={keep})
        var = x.var(0, keepdim={keep})
        xhat = (x - mu) * (var + 1e-5) ** -0.5
        y = gamma * xhat + beta
        """
    given = [
        {"x": tensor(n, 5), "gamma": tensor(*gamma, seed=1), "beta": tensor(*gamma, seed=2)}
        for n in (7, 4)
    ]
    holds(lines, *given)


def test_a_polynomial_that_cancels_is_not_multiplied_out():
    def forward(x):
        u = (torch.sin(torch.sin(x)).tanh() + 1) * 1e-3 + 1
        return (x**2).mean() + u.sin().sum()

    torch.manual_seed(230550)
    x = (torch.randn(5, 6, dtype=torch.float64) * 0.8).requires_grad_()
    assert "1002" not in hg.simplify(hg.trace(forward, x)).source
