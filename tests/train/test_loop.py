"""The training loop: what it does to the parameters, what it records, how it ends."""

import math
import signal
import threading

import pytest
import torch

from agree import double
from handgrad.errors import BadInput
from handgrad.train import Moment, by_autograd, train

START = {"w": double(5), "b": double(1, seed=1)}


def squares(w, b, x, y):
    return ((x @ w + b - y) ** 2).mean()


def by_hand(values):
    x, off = values["x"], values["x"] @ values["w"] + values["b"] - values["y"]
    dw, db = 2 * x.T @ off / len(x), 2 * off.mean(0, keepdim=True)
    return (off**2).mean(), {"w": dw, "b": db}


def batches(seed: int = 7):
    g = torch.Generator().manual_seed(seed)

    def draw():
        x = torch.randn((4, 5), generator=g, dtype=torch.float64)
        return {"x": x, "y": x.sum(1) + 3}

    return draw


def test_train_is_gradient_descent_at_two_rates():
    steps = 6
    run = train(by_hand, START, batches(), steps)
    expected = {name: value.clone() for name, value in START.items()}
    draw, losses = batches(), []
    for step in range(steps):
        loss, gradients = by_hand({**expected, **draw()})
        losses.append(float(loss))
        for name in expected:
            expected[name] -= (0.1 if step < steps / 2 else 0.01) * gradients[name]
    assert run.losses == tuple(losses)
    assert not run.stopped
    for name, value in expected.items():
        torch.testing.assert_close(run.parameters[name], value)


def test_train_leaves_the_given_parameters_alone():
    before = {name: value.clone() for name, value in START.items()}
    train(by_hand, START, batches(), 3)
    assert all(torch.equal(START[name], before[name]) for name in START)


def test_the_same_gradients_end_at_the_same_place():
    race = train(by_hand, START, batches(), 50, beside=by_hand).race
    assert race is not None
    assert race.difference == 0
    assert race.seconds > 0
    assert race.rival_seconds > 0


def test_autograd_beside_ends_within_rounding():
    beside = by_autograd(squares, ("w", "b"))
    race = train(by_hand, START, batches(), 50, beside=beside).race
    assert race is not None
    assert race.difference < 1e-12


def test_a_wrong_gradient_is_seen_in_the_race():
    def wrong(values):
        loss, found = by_hand(values)
        return loss, {**found, "b": found["b"] * 1.01}

    race = train(wrong, START, batches(), 20, beside=by_autograd(squares, ("w", "b"))).race
    assert race is not None
    assert race.difference > 1e-4


def test_every_step_is_told():
    told: list[Moment] = []
    run = train(by_hand, START, batches(), 5, on_step=told.append)
    assert [(each.step, each.steps) for each in told] == [(k, 5) for k in range(1, 6)]
    assert tuple(each.loss for each in told) == run.losses


def test_ratios_are_the_updates_over_the_parameters():
    run = train(by_hand, START, batches(), 1)
    _, found = by_hand({**START, **batches()()})
    after = START["w"] - 0.1 * found["w"]
    ratio = math.log10((0.1 * found["w"]).std() / after.std())
    assert run.ratios["w"][0] == pytest.approx(ratio)


@pytest.mark.parametrize("steps", [1, 3, 199, 200, 201, 1000])
def test_ratios_are_written_down_at_most_two_hundred_times(steps):
    run = train(by_hand, START, batches(), steps)
    assert run.ratio_steps[0] == 1
    assert len(run.ratio_steps) <= 200
    assert {len(found) for found in run.ratios.values()} == {len(run.ratio_steps)}


@pytest.mark.parametrize("steps", [0, -1])
def test_no_step_to_do(steps):
    with pytest.raises(BadInput, match=f"cannot train for {steps} steps"):
        train(by_hand, START, batches(), steps)


# How it ends early


def press_at(step: int, times: int = 1):
    def on_step(moment: Moment):
        if moment.step == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return on_step


def test_ctrl_c_ends_after_the_step_and_keeps_everything():
    before = signal.getsignal(signal.SIGINT)
    run = train(by_hand, START, batches(), 50, beside=by_hand, on_step=press_at(3))
    whole = train(by_hand, START, batches(), 50, rate=lambda *_: 0.1)
    assert run.stopped == "interrupted"
    assert run.losses == whole.losses[:3]
    assert run.steps == 50
    assert run.race is not None
    assert run.race.difference == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_at_the_last_step_is_no_interruption():
    assert not train(by_hand, START, batches(), 3, on_step=press_at(3)).stopped


def test_ctrl_c_twice_in_one_step_ends_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(by_hand, START, batches(), 50, on_step=press_at(3, times=2))
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_it_trains_as_well():
    found = []
    thread = threading.Thread(target=lambda: found.append(train(by_hand, START, batches(), 3)))
    thread.start()
    thread.join()
    assert len(found[0].losses) == 3


def test_a_loss_that_is_not_finite_ends_it():
    run = train(by_hand, START, batches(), 5000, rate=lambda *_: 1e3)
    assert run.stopped in ("the loss became inf", "the loss became nan")
    assert len(run.losses) < 5000
