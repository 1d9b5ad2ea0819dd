"""The last suspect: what is missing, as a formula."""

import pytest
import torch

import handgrad as hg
from handgrad.models import character_mlp


@pytest.fixture(scope="module")
def seed():
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape):
        return torch.randn(shape, generator=generator)

    C, W1, b1, gain = drawn(27, 10), drawn(30, 64), drawn(64), drawn(1, 64)
    bias, W2, b2 = drawn(1, 64), drawn(64, 27), drawn(27)
    X = torch.randint(0, 27, (32, 3), generator=generator)
    Y = torch.randint(0, 27, (32,), generator=generator)
    return hg.trace(character_mlp.small_steps, C, X, Y, W1, b1, gain, bias, W2, b2, 32)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dlogits = F.softmax(logits, 1) / n", "has too much by 1/n * F.one_hot(Yb"),
        (
            "dcounts = counts_sum_inv*dprobs + 2*dcounts_sum + counts",
            "lacks (-dcounts_sum - counts)",
        ),
    ],
)
def test_what_is_missing_is_told_as_a_term(seed, line, said):
    (row,) = [row for row in hg.check(seed, line).rows if row.verdict == "wrong"]
    assert row.diagnosis is not None
    assert row.diagnosis.kind == "missing term"
    assert said in row.diagnosis.text
    assert hg.check(seed, row.diagnosis.suggestion).rows[0].verdict != "wrong"


def test_what_is_not_plain_torch_is_not_built(seed):
    report = hg.check(seed, "dlogits = (lambda: probs / n)()")
    assert all(row.diagnosis is None or row.diagnosis.kind != "missing term" for row in report.rows)
