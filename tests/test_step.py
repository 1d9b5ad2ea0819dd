"""The compiled step: any traced program's loss and gradients by one function of plain PyTorch."""

import ast

import pytest
import torch

import handgrad as hg
from agree import double
from handgrad.derive.step import compile_step
from handgrad.models import character_mlp as seed


def batch(n: int, g: torch.Generator):
    return {
        "Xb": torch.randint(0, 27, (n, 3), generator=g),
        "Yb": torch.randint(0, 27, (n,), generator=g),
        "n": n,
    }


def by_autograd(forward, values, leaves):
    fresh = {n: values[n].clone().requires_grad_() for n in leaves}
    loss = forward(**{**values, **fresh})
    return loss, dict(zip(leaves, torch.autograd.grad(loss, list(fresh.values())), strict=True))


@pytest.fixture(scope="module")
def network():
    g = torch.Generator().manual_seed(1)
    values = seed.parameters(27, g, n_hidden=7, dtype=torch.float64)
    step = compile_step(hg.derive(hg.trace(seed.small_steps, **values, **batch(11, g))))
    return step, values, g


@pytest.mark.parametrize("n", [11, 2, 5])  # 11 is the size that was traced
def test_step_gives_autograd_s_loss_and_gradients(network, n):
    step, values, g = network
    given = {**values, **batch(n, g)}
    loss, gradients = step(given)
    truth, truths = by_autograd(seed.small_steps, given, tuple(values))
    torch.testing.assert_close(loss, truth.detach())
    assert set(gradients) == set(values)
    for name, gradient in truths.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-10, atol=1e-12)


def test_step_leaves_its_inputs_alone(network):
    step, values, g = network
    before = {name: value.clone() for name, value in values.items()}
    step({**values, **batch(11, g)})
    assert all(torch.equal(values[name], before[name]) for name in values)


def test_nothing_is_left_for_autograd(network):
    step, values, g = network
    given = {name: value.clone().requires_grad_() for name, value in values.items()}
    loss, gradients = step({**given, **batch(11, g)})
    assert not loss.requires_grad
    assert not any(gradient.requires_grad for gradient in gradients.values())


def test_source_is_one_function_without_calls_of_handgrad(network):
    (function,) = ast.parse(network[0].source).body
    assert isinstance(function, ast.FunctionDef)
    assert "handgrad" not in network[0].source


def test_a_leaf_that_the_loss_does_not_depend_on_has_no_gradient():
    def forward(a, b, unused):
        other = unused.exp()
        return ((a + 0 * other.detach()) * b).sum()

    given = {"a": double(3), "b": double(3, seed=1), "unused": double(3, seed=2)}
    step = compile_step(hg.derive(hg.trace(forward, **given)))
    _, gradients = step(given)
    assert set(gradients) == {"a", "b"}
    torch.testing.assert_close(gradients["a"], given["b"])


def test_an_upstream_gradient_stays_the_trace_s():
    def forward(x):
        return x**2

    x, dy = double(3), double(3, seed=1)
    step = compile_step(hg.derive(hg.trace(forward, x, upstream=dy)))
    y, gradients = step({"x": x})
    torch.testing.assert_close(y, x**2)
    torch.testing.assert_close(gradients["x"], 2 * x * dy)
