"""The trained network: calibration, losses, sampling."""

import pytest
import torch
import torch.nn.functional as F

from handgrad.models import character_mlp as seed
from handgrad.train import Calibrated, Vocabulary, calibrate, evaluate, mean_loss, sample

VOCABULARY = Vocabulary(tuple(".abcd"))


@pytest.fixture
def data():
    g = torch.Generator().manual_seed(3)
    X = torch.randint(0, 5, (1009, 3), generator=g)
    return seed.parameters(5, g, n_hidden=7), X, torch.randint(0, 5, (1009,), generator=g)


@pytest.mark.parametrize("chunk", [10, 1009, 5000])
def test_calibration_is_over_all_examples_in_chunks_of_any_size(data, monkeypatch, chunk):
    monkeypatch.setattr(evaluate, "CHUNK", chunk)
    parameters, X, Y = data
    network = calibrate(parameters, X)
    hprebn = seed.before_norm(parameters["C"], X, parameters["W1"], parameters["b1"])
    torch.testing.assert_close(network.mean, hprebn.mean(0, keepdim=True))
    torch.testing.assert_close(network.variance, hprebn.var(0, keepdim=True))
    truth = float(F.cross_entropy(network.logits(X), Y))
    assert mean_loss(network, X, Y) == pytest.approx(truth, rel=1e-5)


def test_variance_far_from_zero_keeps_its_digits(data):
    parameters, X, _ = data
    far = {**parameters, "b1": parameters["b1"] + 1e4}
    hprebn = seed.before_norm(far["C"], X, far["W1"], far["b1"]).double()
    truth = hprebn.var(0, keepdim=True).float()
    torch.testing.assert_close(calibrate(far, X).variance, truth)


def test_one_example_has_no_variance(data):
    network = calibrate(data[0], data[1][:1])
    assert float(network.variance.abs().max()) == 0
    assert mean_loss(network, data[1], data[2]) is not None


def test_no_examples_have_no_loss(data):
    network = calibrate(data[0], data[1])
    assert mean_loss(network, data[1][:0], data[2][:0]) is None


def test_samples_are_the_same_for_the_same_seed(data):
    network = calibrate(data[0], data[1])
    first = sample(network, VOCABULARY, 20, seed=5)
    assert first == sample(network, VOCABULARY, 20, seed=5)
    assert first != sample(network, VOCABULARY, 20, seed=6)
    assert len(first) == 20
    assert set("".join(first)) <= set("abcd")


def test_a_word_without_end_is_cut(data):
    never = {**data[0], "b2": torch.tensor([-1e4, 0.0, 0.0, 0.0, 0.0])}
    words = sample(calibrate(never, data[1]), VOCABULARY, 2, seed=5)
    assert [len(word) for word in words] == [evaluate.LONGEST] * 2


def test_nothing_is_sampled_from_parameters_that_are_not_finite(data):
    broken = {**data[0], "W2": data[0]["W2"] * float("nan")}
    network = Calibrated(broken, torch.zeros(1, 7), torch.ones(1, 7))
    assert sample(network, VOCABULARY, 2, seed=5) == ()
