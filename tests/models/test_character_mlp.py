"""The seed network: its parameters as published, its forms equal to each other."""

import pytest
import torch

from handgrad.models import character_mlp as seed


def drawn(dtype=torch.float64):
    g = torch.Generator().manual_seed(seed.SEED)
    values = seed.parameters(27, g, dtype=dtype)
    Xb = torch.randint(0, 27, (seed.BATCH, seed.BLOCK_SIZE), generator=g)
    Yb = torch.randint(0, 27, (seed.BATCH,), generator=g)
    return values, Xb, Yb


def test_parameters_are_drawn_in_the_published_order_and_scale():
    g = torch.Generator().manual_seed(2147483647)
    C = torch.randn((27, 10), generator=g)
    W1 = torch.randn((30, 200), generator=g) * (5 / 3) / (30**0.5)
    b1 = torch.randn(200, generator=g) * 0.1
    W2 = torch.randn((200, 27), generator=g) * 0.1
    b2 = torch.randn(27, generator=g) * 0.1
    found = drawn(torch.float32)[0]
    for name, value in {"C": C, "W1": W1, "b1": b1, "W2": W2, "b2": b2}.items():
        assert torch.equal(found[name], value), name
    assert {name: tuple(found[name].shape) for name in ("bngain", "bnbias")} == {
        "bngain": (1, 200),
        "bnbias": (1, 200),
    }
    assert found["bngain"].mean() == pytest.approx(1, abs=0.05)
    assert all(bool((value != 0).all()) for value in found.values())


def test_one_seed_settles_every_parameter():
    first, second = drawn()[0], drawn()[0]
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_short_form_has_the_loss_of_the_small_steps():
    values, Xb, Yb = drawn()
    small = seed.small_steps(**values, Xb=Xb, Yb=Yb, n=seed.BATCH)
    assert float(seed.short(**values, Xb=Xb, Yb=Yb)) == pytest.approx(float(small), rel=1e-12)


def test_prediction_with_a_batch_s_own_statistics_is_the_batch_s_loss():
    values, Xb, Yb = drawn()
    hprebn = seed.before_norm(values["C"], Xb, values["W1"], values["b1"])
    mean, variance = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True)
    logits = seed.predict(values, Xb, mean, variance)
    loss = torch.nn.functional.cross_entropy(logits, Yb)
    assert float(loss) == pytest.approx(float(seed.short(**values, Xb=Xb, Yb=Yb)), rel=1e-12)
