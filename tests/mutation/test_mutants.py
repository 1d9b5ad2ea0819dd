"""The checker against mistakes: how many it catches, and whether it names the line."""

from __future__ import annotations

import pytest

from mutation.freeform import free_form
from mutation.harness import Outcome, Rewrite, drawn, outcome


def shares(
    count: int, seed: int, mistakes_each: int = 1, rewrite: Rewrite | None = None
) -> tuple[float, float, list[Outcome]]:
    """Return the shares caught and named, and the outcomes that were not both."""
    found = [outcome(mutant) for mutant in drawn(count, seed, mistakes_each, rewrite)]
    left = [each for each in found if not each.named or not each.caught]
    caught = sum(each.caught for each in found) / count
    return caught, sum(each.named for each in found) / count, left


def told(left: list[Outcome]) -> str:
    return "\n".join(map(str, left))


@pytest.mark.slow
def test_mistakes_in_one_line():
    caught, named, left = shares(16, seed=1)
    assert caught == 1.0, told(left)
    assert named >= 0.95, told(left)


@pytest.mark.slow
def test_mistakes_in_fused_lines():
    caught, named, left = shares(10, seed=5, rewrite=free_form)
    assert caught == 1.0, told(left)
    assert named >= 0.75, told(left)


@pytest.mark.slow
def test_two_mistakes():
    caught, named, left = shares(8, seed=3, mistakes_each=2)
    assert caught == 1.0, told(left)
    assert named >= 0.85, told(left)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_thousand_mistakes_in_one_line():
    caught, named, left = shares(2000, seed=0)
    assert caught >= 0.995, told(left)
    assert named >= 0.98, told(left)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_mistakes_in_fused_lines():
    caught, named, left = shares(1000, seed=1, rewrite=free_form)
    assert caught >= 0.99, told(left)
    assert named >= 0.90, told(left)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_hundred_pairs():
    caught, named, left = shares(300, seed=2, mistakes_each=2)
    assert caught == 1.0, told(left)
    assert named >= 0.95, told(left)
