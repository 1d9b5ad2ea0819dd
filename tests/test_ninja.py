"""The journey: its four exercises on a few words."""

import json
import math

import pytest
import torch

from handgrad import ninja
from handgrad.errors import BadInput
from handgrad.simplify.count import count
from handgrad.train import load_words

STEPS = 30


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "words.txt"
    path.write_text("\n".join(load_words()[:300]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def journey(words, told):
    return ninja.journey(STEPS, words, on_result=told.append)


def test_every_part_is_told_as_it_comes(journey, told):
    assert [type(part).__name__ for part in told] == [
        "Setup",
        "LineByLine",
        "InOneGo",
        "InOneGo",
        "Plan",
        "Trained",
    ]


def test_every_variable_and_parameter_is_judged_right(journey):
    rows = journey.line_by_line.report.rows
    trace = journey.line_by_line.trace
    assert {row.name for row in rows} == {"d" + name for name in trace.grads if name != "loss"}
    assert set(journey.setup.parameters) <= {row.name[1:] for row in rows}
    assert journey.report.ok
    assert len(journey.report.rows) == len(rows) + 3


def test_cross_entropy_becomes_one_line(journey):
    found = journey.cross_entropy
    assert found.form.forward[-1] == "loss = -logprobs[range(n), Yb].mean()"
    assert [each.line.text for each in found.form.lines] == [
        "dlogits = (probs - F.one_hot(Yb, num_classes=logits.shape[1])) / n"
    ]
    assert len(found.replaces) == 8
    assert found.replaces[0] == "dlogprobs"
    assert found.replaces[-1] == "dlogits"
    assert found.library is None


def test_the_maxima_get_no_gradient_and_it_is_said_why(journey):
    steps = [step for step in journey.cross_entropy.steps if step.name == "dlogit_maxes"]
    assert steps[-1].after == "dlogit_maxes = 0"
    assert "the sums of the one-hot of Yb and probs over dim 1 are both 1" in steps[-1].because


def test_batch_norm_becomes_one_line_no_longer_than_the_published_one(journey):
    found = journey.batch_norm
    (line,) = found.form.lines
    published = (
        "bngain*bnvar_inv/n * (n*dhpreact - dhpreact.sum(0)"
        " - n/(n-1)*bnraw*(dhpreact*bnraw).sum(0))"
    )
    assert line.name == "dhprebn"
    assert count(line.line.text.partition(" = ")[2], {"n": 32}) <= count(published, {"n": 32})
    assert found.replaces[0] == "dbnraw"
    assert found.replaces[-1] == "dhprebn"
    assert "dbngain" not in found.replaces
    assert found.steps[-1].after == line.line.text
    assert found.library is not None
    assert found.library.lines[-1].name == "dhprebn"


def test_every_step_was_checked_at_two_sets_of_sizes(journey):
    steps = journey.cross_entropy.steps + journey.batch_norm.steps
    assert {step.sets for step in steps} == {2}


def test_training_is_raced_by_autograd_and_measured(journey):
    found = journey.trained
    assert len(found.training.losses) == STEPS
    assert found.training.race.difference < 1e-5
    assert found.losses["train"] < 3.4 < found.training.losses[0] + 1
    assert list(found.losses) == ["train", "validation", "test"]
    assert len(found.samples) == len(found.known) == 20


def test_native_code_trains_as_eager_torch_does(journey, words):
    eager = ninja.journey(STEPS, words, backend="eager")
    assert (journey.plan.backend, eager.plan.backend) == ("native", "eager")
    assert eager.trained.training.race.steps == journey.trained.training.race.steps == STEPS
    both = zip(eager.trained.training.losses, journey.trained.training.losses, strict=True)
    assert all(abs(one - other) < 1e-5 for one, other in both)


def test_without_a_compiler_there_are_fewer_steps_and_a_line_says_why(monkeypatch, words):
    monkeypatch.setenv("CC", "no-such-compiler")
    plans = []

    def stop(part):
        if isinstance(part, ninja.Plan):
            plans.append(part)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ninja.journey(None, words, on_result=stop)
    assert plans[0].backend == "eager"
    assert plans[0].steps == ninja.STEPS["eager"]
    assert "no-such-compiler is not to be found" in plans[0].note


def test_there_is_no_other_backend(words):
    with pytest.raises(BadInput, match="no backend 'gpu'"):
        ninja.journey(1, words, backend="gpu")


def test_the_same_seed_gives_the_same_journey(journey, words):
    again = ninja.journey(STEPS, words)
    assert again.trained.training.losses == journey.trained.training.losses
    assert again.trained.samples == journey.trained.samples
    other = ninja.journey(1, words, seed=1)
    assert other.trained.training.losses[0] != journey.trained.training.losses[0]


def test_the_number_of_threads_is_put_back(journey, words, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    ninja.trained(journey.setup, journey.line_by_line.backward, 1)
    assert asked == [1, 3]


def test_all_of_it_is_plain_data(journey):
    data = json.loads(json.dumps(journey.to_dict(), allow_nan=False))
    assert data["ok"] is True
    assert data["data"]["words"] == 300
    assert data["training"]["done"] == STEPS
    assert data["training"]["race"]["in_parameter"] in journey.setup.parameters


def test_numbers_that_are_not_finite_are_none_in_plain_data(journey, monkeypatch):
    broken = {name: value * math.inf for name, value in journey.setup.parameters.items()}
    monkeypatch.setitem(journey.setup.__dict__, "parameters", broken)
    found = ninja.trained(journey.setup, journey.line_by_line.backward, 5)
    assert found.training.stopped == "the loss became nan"
    assert found.samples == ()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["losses"]["train"] is None


@pytest.mark.parametrize("count", [2, 3, 6])
def test_very_few_words_will_do(tmp_path, count):
    path = tmp_path / "few.txt"
    path.write_text("\n".join("abcdef"[:count]))
    found = ninja.journey(2, path)
    assert found.report.ok
    assert (found.trained.losses["test"] is None) == (count == 2)


@pytest.mark.parametrize(("steps", "seed"), [(0, 1), (-1, 1), (1, 2**64), (1, -(2**70))])
def test_bad_numbers(words, steps, seed):
    with pytest.raises(BadInput) as caught:
        ninja.journey(steps, words, seed)
    assert caught.value.hint


def test_smooth_means_over_equal_windows_the_last_may_be_short():
    assert ninja.smooth((1.0, 3.0, 5.0, 7.0, 9.0), points=2) == ([3, 5], [3.0, 8.0])
    assert ninja.smooth((1.0, 3.0), points=100) == ([1, 2], [1.0, 3.0])
