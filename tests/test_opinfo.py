"""PyTorch's own samples of every differentiable op: right, left to autograd and right, or refused."""

from __future__ import annotations

import pytest

from fuzzing.judge import FAILURES, REFUSED
from fuzzing.pool import answers

PARTS = 45
FEW = (
    "add",
    "var",
    "index_select",
    "nn.functional.group_norm",
    "masked_select",
    "take_along_dim",
    "std_mean",
    "flip",
)
LIMIT = 300.0  # seconds a job of some samples may take


def failing(found: dict[str, list[dict[str, object]]]) -> list[str]:
    """Return what is no right gradient and no refusal that says why."""
    return [
        f"{name}, sample {each['place']}: {each['kind']}, {str(each['text'])[:200]}\n{each['source']}"
        for name, samples in found.items()
        for each in samples
        if each["kind"] in FAILURES or (each["kind"] == REFUSED and not each["named"])
    ]


def run_few(names: list[str], most: int) -> dict[str, list[dict[str, object]]]:
    """Judge the first samples of some ops, in this process's child alone."""
    from fuzzing.opinfo import judged

    return {name: judged(name, 0, most, ["simplify"]) for name in names}


def run_part(part: int, most: int, stages: list[str]) -> dict[str, list[dict[str, object]]]:
    """Judge the samples of a part of the ops."""
    from fuzzing.opinfo import counts, verdicts

    return verdicts(counts(part, PARTS), stages, most, 1, LIMIT)


@pytest.mark.filterwarnings("ignore")
def test_samples_of_a_few_ops():
    pytest.importorskip("expecttest")
    ((_, found),) = answers(run_few, [(FEW, 4)], 1, LIMIT)
    assert set(found) == set(FEW), found
    assert all(found.values())
    assert not failing(found), "\n".join(failing(found))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_sample_of_every_differentiable_op(part):
    pytest.importorskip("expecttest")
    found = run_part(part, 10_000, ["simplify"])
    assert any(found.values())
    assert not failing(found), "\n".join(failing(found))


@pytest.mark.slow
@pytest.mark.native
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(PARTS))
def test_the_first_samples_of_every_differentiable_op_compiled(part):
    pytest.importorskip("expecttest")
    found = run_part(part, 3, ["compile"])
    assert not failing(found), "\n".join(failing(found))
