"""Random programs with every construct: each gradient is right, or its refusal names a line."""

import pytest

from fuzzing.generator import generate
from fuzzing.judge import FAILURES, REFUSED, judge
from fuzzing.pool import answers
from fuzzing.work import judged

STAGES = ["simplify", "emit"]
LIMIT = 300.0  # seconds a program may take
FOUND = {  # numbers of programs that failed once, with what failed
    20223: "vmap read a name that was bound anew",
    20237: "torch.func's own calls were taken for the user's",
    21234: "an axis of no entries in the trial of sizes",
    21315: "meshgrid of a constant and a leaf",
    21882: "a text with vmap met a Term",
    22293: "a kernel of another size, its output padding kept",
    22408: "a write where a mask without axes is set",
    30073: "a name read first through an attribute",
    32053: "layer norm over one entry: autograd's own rounding",
    60229: "a line of simplify read one that was not there",
    40947: "an argument that need not be a leaf is written to",
}


def failing(seed, verdict):
    if verdict.kind in FAILURES or (verdict.kind == REFUSED and not verdict.named):
        return [f"{seed}: {verdict.kind} in {verdict.stage}\n{verdict.text[:800]}"]
    return []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", FOUND)
def test_a_program_that_failed_once(seed):
    assert not failing(seed, judge(generate(seed), STAGES))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(0, 20, 10))
def test_random_programs_are_right_or_refused_by_a_line(first):
    for seed in range(first, first + 10):
        assert not failing(seed, judge(generate(seed), STAGES))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(100_000, 110_000, 500))
def test_ten_thousand_random_programs_are_right_or_refused_by_a_line(first):
    jobs = [(seed, [], None) for seed in range(first, first + 500)]
    bad = [
        f"{job[0]}: {answer}" for job, answer in answers(judged, jobs, 1, LIMIT) if wrong(answer)
    ]
    assert not bad, "\n".join(bad)


def wrong(answer):
    return answer.get("kind") in FAILURES
