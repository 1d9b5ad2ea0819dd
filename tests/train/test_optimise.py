"""Optimisers and schedules: what torch.optim does, and the rates of the exercise."""

import pytest
import torch
import torch.nn.functional as F

from handgrad.trace import trace
from handgrad.train.backends import backend_for
from handgrad.train.settings import Settings, settle

DECAY = {"weight_decay": 0.1}


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("sgd", {}, torch.optim.SGD),
        ("sgd", DECAY, torch.optim.SGD),
        ("sgd", {"momentum": 0.9}, torch.optim.SGD),
        ("sgd", {"momentum": 0.9, "nesterov": True, **DECAY}, torch.optim.SGD),
        ("adagrad", DECAY, torch.optim.Adagrad),
        ("rmsprop", DECAY, torch.optim.RMSprop),
        ("adam", DECAY, torch.optim.Adam),
        ("adamw", DECAY, torch.optim.AdamW),
    ],
)
@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("backend", ["eager", pytest.param("native", marks=pytest.mark.native)])
def test_each_is_that_of_torch(name, options, theirs, clip, backend):
    g = torch.Generator().manual_seed(5)
    X, Y = (torch.randint(0, 7, size, generator=g) for size in ((50, 3), (50,)))
    start = {"C": torch.randn((7, 5), generator=g, dtype=torch.float64)}
    start["W"] = torch.randn((15, 7), generator=g, dtype=torch.float64)
    settings = Settings(optimizer=name, clip=clip / 10, backend=backend, **options)
    traced = trace(forward, **start, Xb=X[:11], Yb=Y[:11], wrt=["C", "W"])
    made, note = backend_for(traced, start, settings)
    assert (made.name, note) == (backend, "")
    leaves = {key: tensor.clone().requires_grad_() for key, tensor in start.items()}
    other = theirs(leaves.values(), lr=0.01, **options)
    chosen = torch.randint(0, 50, (20, 11), generator=g)
    for rows in chosen:
        other.zero_grad()
        loss = forward(**leaves, Xb=X[rows], Yb=Y[rows])
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(leaves.values(), clip / 10)
        other.step()
    losses = made.run((X, Y), chosen, 0, [0.01] * 20)
    assert losses[-1] == pytest.approx(float(loss.detach()), rel=1e-11)
    for key, leaf in leaves.items():
        torch.testing.assert_close(made.parameters[key], leaf.detach(), rtol=1e-10, atol=1e-11)


def forward(C, W, Xb, Yb):
    h = torch.tanh(C[Xb].flatten(1))
    logits = h @ W
    loss = F.cross_entropy(logits, Yb)
    return loss


def test_the_rate_of_the_exercise():
    settings = settle({"steps": 200_000})
    assert [settings.rate(step) for step in (0, 99_999, 100_000, 199_999)] == [0.1, 0.1, 0.01, 0.01]


def test_a_cosine_comes_down_to_a_tenth_and_stays():
    settings = settle({"steps": 100, "schedule": "cosine", "lr": 1.0})
    rates = [settings.rate(step) for step in range(151)]
    assert rates[0] == 1.0
    assert rates[50] == pytest.approx(0.55)
    assert rates[100] == rates[150] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


def test_a_constant_rate_is_constant():
    settings = settle({"schedule": "constant"})
    assert {settings.rate(step) for step in range(0, 20_000, 999)} == {0.1}


def test_the_model_has_its_own_optimiser_and_rate_unless_another_is_asked_for():
    assert (settle({"model": "gpt"}).optimizer, settle({"model": "gpt"}).lr) == ("adamw", 1e-3)
    assert settle({"model": "gpt", "optimizer": "sgd"}).lr == 0.1
    assert settle({"optimizer": "adam"}).lr == 1e-3
