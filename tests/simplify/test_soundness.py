"""Random forward passes: what is simplified is autograd's gradient, and the judge of that is sharp."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

import handgrad as hg
from simplify.cases.declare import Case, real, spelling
from simplify.exact import run_exact
from simplify.random_forwards import random_program
from simplify.running import forward_lines, has_simplify, traced
from simplify.soundness import judge

BAD = ("wrong", "exception", "undecided", "unstable")
QUICK, SLOW = range(50), range(50, 1000)
later = pytest.mark.skipif(not has_simplify(), reason="this build has no simplifier")


class Edited:
    """A backward pass with one piece of text exchanged."""

    def __init__(self, backward: hg.Backward, old: str, new: str) -> None:
        assert old in backward.source
        self.source = backward.source.replace(old, new)


def verdict(forward: str, old: str, new: str) -> str:
    sizes = ({"n": 3, "V": 5}, {"n": 4, "V": 2}, {"n": 2, "V": 7})
    how = spelling("", forward, "", 0)
    arguments = {"x": real("n", "V"), "w": real("n", "V"), "n": "n", "V": "V"}
    return judge(Case("", arguments, sizes, (), (how,)), lambda b: Edited(b, old, new)).kind


@later
@pytest.mark.parametrize("seed", QUICK)
def test_random_program(seed):
    outcome = judge(random_program(seed))
    assert outcome.kind not in BAD, outcome.text


@later
@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW)
def test_random_program_at_length(seed):
    outcome = judge(random_program(seed))
    assert outcome.kind not in BAD, outcome.text


def test_a_seed_gives_the_same_program_again():
    for seed in range(20):
        first, again = random_program(seed), random_program(seed)
        assert first.spellings == again.spellings
        assert torch.equal(first.draw()["x"], again.draw()["x"])


@pytest.mark.parametrize("seed", range(40))
def test_fifty_digits_agree_with_torch(seed):
    program = random_program(seed)
    trace = traced(program.function(program.spellings[0]), program.draw())
    try:
        backward = hg.derive(trace, strict=True)
    except hg.HandgradError:
        return
    if any(bool((value == 0).any()) for value in trace.values.values()):
        return  # what is chosen by the sign of 0, a log of 1 say, may differ in more digits
    given = {**program.draw(), "d" + trace.output: trace.upstream}
    exact = run_exact(forward_lines(trace), backward.source, **given)
    for name, tensor in backward.run().items():
        mine = exact[name].real().data.astype(float)
        np.testing.assert_allclose(mine, tensor.numpy(), rtol=1e-8, atol=1e-9)


def test_the_judge_passes_a_right_edit():
    assert verdict("y = x * w + x", "dx = dy + dy * w", "dx = dy * (w + 1)") == "equal"


@pytest.mark.parametrize(
    ("forward", "old", "new"),
    [
        ("y = x * w", "dx = dy * w", "dx = -dy * w"),
        ("y = x * w", "dx = dy * w", "dx = dy * w * (1 + 2e-9)"),
        ("loss = (x * w).sum() / n", "dloss / n", "dloss / 3"),
        ("loss = (x * w).sum() / n", "dloss / n", "dloss / x.shape[0]**1.0000001"),
        ("y = x.sum(0, keepdim=True)", "dy.expand_as(x)", "dy"),
        ("y = (x * w).mean(0)", "* w", "* w.T"),
    ],
)
def test_the_judge_sees_a_wrong_edit(forward, old, new):
    assert verdict(forward, old, new) in ("wrong", "exception")


def test_the_judge_tells_rounding_from_wrong():
    forward = "z = x - x.mean()\ny = z * 1"
    found = judge_text(forward, "dx = dy - dy.mean() + 1e8 - 1e8")
    assert found in ("rounding", "unstable")
    assert judge_text(forward, "dx = dy - dy.mean() + 1e-8") == "wrong"


def judge_text(forward: str, text: str) -> str:
    sizes = ({"n": 3, "V": 5}, {"n": 4, "V": 2}, {"n": 2, "V": 7})
    how = spelling("", forward, "", 0)

    class Given:
        source = text + "\n"

    return judge(Case("", {"x": real("n", "V")}, sizes, (), (how,)), lambda _: Given()).kind


def test_digits():
    third = run_exact("y = x / 3", x=torch.ones(1, dtype=torch.float64))["y"].data[0]
    with mpmath.workdps(50):
        assert abs(3 * third - 1) < mpmath.mpf("1e-45")
