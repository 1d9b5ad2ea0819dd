"""The models that are trained by name: derived gradients, and predictions that fit the loss."""

import pytest
import torch
import torch.nn.functional as F

from handgrad.derive import derive
from handgrad.derive.step import compile_step
from handgrad.models import gpt
from handgrad.trace import trace
from handgrad.train import Vocabulary
from handgrad.train.data import windows
from handgrad.train.zoo import MODELS

VOCABULARY = Vocabulary(tuple(".abcd"))
WORDS = ["abcd", "dcba", "bad", "cab"] * 5


def setting(name: str):
    model = MODELS[name]
    generator = torch.Generator().manual_seed(3)
    parameters = model.parameters(len(VOCABULARY), generator, dtype=torch.float64)
    batch = model.batch(model.examples(WORDS, VOCABULARY), torch.arange(0, 35, 5))
    return model, parameters, batch


@pytest.mark.parametrize("name", MODELS)
def test_the_derived_step_is_autograd_s_without_gaps(name):
    model, parameters, batch = setting(name)
    values = {**parameters, **batch}
    backward = derive(trace(model.forward, **{n: values[n] for n in model.arguments}), strict=True)
    loss, found = compile_step(backward)(values)
    leaves = {key: tensor.clone().requires_grad_() for key, tensor in parameters.items()}
    truth = model.forward(**{n: {**leaves, **batch}[n] for n in model.arguments})
    truth.backward()
    torch.testing.assert_close(loss, truth.detach())
    assert found.keys() == parameters.keys()
    for key, leaf in leaves.items():
        torch.testing.assert_close(found[key], leaf.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if not model.calibrated])
def test_predictions_have_the_loss_of_the_forward_pass(name):
    model, parameters, batch = setting(name)
    values = {**parameters, **batch}
    logits = model.predict(parameters, batch["Xb"]).flatten(0, -2)
    loss = model.forward(**{n: values[n] for n in model.arguments})
    torch.testing.assert_close(F.cross_entropy(logits, batch["Yb"].flatten()), loss)


def test_gpt_sees_no_later_character():
    _, parameters, batch = setting("gpt")
    X = batch["Xb"]
    changed = X.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 5
    before, after = (gpt.predict(parameters, each) for each in (X, changed))
    torch.testing.assert_close(before[:, :20], after[:, :20])
    assert not torch.equal(before[:, 20:], after[:, 20:])
    torch.testing.assert_close(gpt.predict(parameters, X[:, :9]), before[:, :9])


def test_windows_are_every_stretch_with_what_follows():
    X, Y = windows(["ab", "c"], VOCABULARY, 3)
    assert X.tolist() == [[0, 1, 2], [1, 2, 0], [2, 0, 3]]
    assert Y.tolist() == [[1, 2, 0], [2, 0, 3], [0, 3, 0]]
    assert [len(part) for part in windows(["a"], VOCABULARY, 3)] == [0, 0]
    assert [len(part) for part in windows([], VOCABULARY, 3)] == [0, 0]
