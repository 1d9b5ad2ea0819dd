"""Whole programs: native code equals PyTorch on random forward passes and on every example."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.native.lower.step import lower_step
from handgrad.native.write.unit import write_unit
from handgrad.trace.files import trace_file
from native.against import distance, native_gradients
from strategies import random_forward

pytestmark = [pytest.mark.native, pytest.mark.filterwarnings("ignore::UserWarning")]
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
FIRST = {"mlp", "mlp_layer_norm", "rnn", "gru", "conv_net", "gpt", "logistic_regression", "svm"}
SINGLE = torch.finfo(torch.float32).eps


def judge_double(seed):
    forward, arguments, source = random_forward(seed)
    trace = hg.trace(forward, **arguments)
    loss, gradients = native_gradients(trace)
    truth = trace.values[trace.output]
    assert distance(loss, truth, max(1.0, float(truth.abs()))) < 1e-12, source
    for name, gradient in gradients.items():
        truth = trace.grads[name]
        if truth.numel():
            scale = max(float(truth.abs().max()), 1e-3)
            assert distance(gradient, truth, scale) < 1e-12, f"d{name}\n{source}"


def judge_single(seed):
    """Compare native with eager single precision, by how far each is from double precision.

    The scale is that of the largest cotangent: where summands cancel to 0, and torch's happen to do
    so exactly, what is left is rounding of what they were.
    """
    forward, arguments, source = random_forward(seed)
    floats = {n: t for n, t in arguments.items() if t.is_floating_point()}
    single = {**arguments, **{n: t.float() for n, t in floats.items()}}
    exact = {**arguments, **{n: single[n].double() for n in floats}}
    trace, truth = hg.trace(forward, **single), hg.trace(forward, **exact)
    _, gradients = native_gradients(trace)
    scale = max(float(each.abs().max()) for each in truth.grads.values() if each.numel())
    for name, gradient in gradients.items():
        want, eager = truth.grads[name], trace.grads[name]
        if not want.numel():
            continue
        allowed = 8 * (distance(eager, want, 1.0) + SINGLE * scale)
        assert distance(gradient, want, 1.0) <= allowed, f"d{name}\n{source}"


@pytest.mark.parametrize("seed", range(10))
def test_random_program_in_double_precision(seed):
    judge_double(seed)


@pytest.mark.parametrize("seed", range(25, 33))
def test_random_program_in_single_precision(seed):
    judge_single(seed)


def test_a_tensor_may_have_the_name_of_a_loop():
    i0, i1 = torch.tensor([1, 0, 2, 1, 2, 0, 1]), torch.randn(3, dtype=torch.float64)

    def forward(i0, i1):
        at = i1[i0]
        return (F.silu(at) * at).sum()

    trace = hg.trace(forward, i0=i0, i1=i1.requires_grad_())
    _, gradients = native_gradients(trace)
    torch.testing.assert_close(gradients["i1"], trace.grads["i1"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1500))
def test_random_program_at_length(seed):
    judge_double(seed)
    judge_single(seed)


@pytest.mark.parametrize(
    "path",
    [
        path if path.stem in FIRST else pytest.param(path, marks=pytest.mark.slow)
        for path in EXAMPLES
    ],
    ids=[path.stem for path in EXAMPLES],
)
def test_every_example(path):
    trace = trace_file(str(path))
    loss, gradients = native_gradients(trace)
    truth = trace.values[trace.output]
    assert distance(loss, truth, max(1.0, float(truth.abs().max()))) < 1e-5
    for name, gradient in gradients.items():
        truth = trace.grads[name]
        assert distance(gradient, truth, max(float(truth.abs().max()), 1e-3)) < 2e-5, name


@pytest.mark.parametrize("size", [3, 4, 5, 7, 8, 11, 16])
def test_a_sum_of_what_is_read_backwards(size):
    def forward(x, w):
        inside = x / (x**2 + 1)
        return (inside.flip(1) * 4.5).mean() + (w.flip(0, 1) * 2.5).sum()

    x, w = (torch.randn(3, size, dtype=torch.float64, requires_grad=True) for _ in range(2))
    trace = hg.trace(forward, x=x, w=w)
    loss, _ = native_gradients(trace)
    assert distance(loss, trace.values[trace.output], 1.0) < 1e-12


def test_every_sum_is_marked_as_one():
    w = torch.randn(9, 8, dtype=torch.float64, requires_grad=True)
    trace = hg.trace(lambda w: (w[:, 0].flip(0) * 2).sum(), w=w)
    step = lower_step(hg.derive(trace), ("w",))
    head, _, rest = write_unit(step, {"loss": step.output}).source.partition("sum_ += ")
    assert rest
    assert "reduction(+:sum_)" in "".join(head.splitlines(keepends=True)[-3:])
