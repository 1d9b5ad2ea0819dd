"""Facts that are learned, and steps that are shown: each is used, each is true."""

import pytest
import torch

import handgrad as hg
from simplify.cases import CASES, PAIRS
from simplify.count import Count, needed
from simplify.running import autograd, backward_of, has_simplify, run_at, simplified, traced

pytestmark = pytest.mark.skipif(not has_simplify(), reason="this build has no simplifier")
ALL = [pytest.param(c, s, id=f"{c.name}: {s.name}") for c, s in PAIRS]
FIRST = [pytest.param(c, c.spellings[0], id=c.name) for c in CASES]
RELIES_ON_FACTS = [
    pytest.param(case, case.spellings[0], id=case.name)
    for case in CASES
    if case.name in ("softmax", "cross-entropy", "layer norm", "batch norm, unbiased")
]


def derived(case, spelling):
    return hg.derive(traced(case.function(spelling), case.draw(), case.leaves), strict=True)


def operations(case, backward):
    numbers = [name for name, how in case.arguments.items() if isinstance(how, str)]
    scalar = backward.trace.upstream.ndim == 0
    counter = Count(numbers, "d" + backward.trace.output if scalar else "")
    leaves = ["d" + name for name in backward.trace.leaves]
    return counter.lines(needed(backward.source, leaves))


def right(case, spelling, source):
    for place in range(len(case.sizes)):
        arguments = case.draw(place)
        function = case.function(spelling)
        found = run_at(source, traced(function, arguments, case.leaves))
        for name, gradient in autograd(function, arguments, case.leaves).items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("case", "spelling"), FIRST)
def test_without_a_fact_it_is_longer_and_right(case, spelling):
    backward, whole = backward_of(spelling.file)
    for fact in whole.facts:
        less = simplified(backward, without={fact})
        assert fact not in less.facts
        right(case, spelling, less.source)
        assert operations(case, less) >= operations(case, whole), f"{fact}\n{less.source}"


@pytest.mark.parametrize(("case", "spelling"), RELIES_ON_FACTS)
def test_some_fact_is_needed(case, spelling):
    backward, whole = backward_of(spelling.file)
    lengths = [operations(case, simplified(backward, without={fact})) for fact in whole.facts]
    assert max(lengths, default=0) > operations(case, whole)


@pytest.mark.parametrize(("case", "spelling"), RELIES_ON_FACTS)
def test_without_any_fact_it_is_longer_and_right(case, spelling):
    backward, whole = backward_of(spelling.file)
    none = simplified(backward, without=frozenset(whole.facts))
    right(case, spelling, none.source)
    assert operations(case, none) > operations(case, whole)


@pytest.mark.parametrize(("case", "spelling"), ALL)
def test_it_is_no_longer_than_what_was_derived(case, spelling):
    backward, after = backward_of(spelling.file)
    mine, old = ((operations(case, b), len(b.lines)) for b in (after, backward))
    assert mine <= old, after.source  # a line more only where it saves an operation
    assert mine[0] <= old[0]


@pytest.mark.parametrize(("case", "spelling"), FIRST)
def test_it_is_the_same_text_again(case, spelling):
    backward, after = backward_of(spelling.file)
    assert simplified(backward).source == after.source
    assert simplified(derived(case, spelling)).source == after.source


@pytest.mark.parametrize(("case", "spelling"), FIRST)
def test_simplifying_twice_changes_nothing(case, spelling):
    _, once = backward_of(spelling.file)
    assert operations(case, simplified(once)) <= operations(case, once)


@pytest.mark.parametrize(("case", "spelling"), FIRST)
def test_it_leaves_the_backward_pass_alone(case, spelling):
    backward = derived(case, spelling)
    before = backward.source
    after = simplified(backward)
    assert backward.source == before
    assert isinstance(after, hg.Backward)
    assert after.trace is backward.trace
    assert {name for name in after.run() if name[1:] in after.trace.leaves} == {
        name for name in backward.run() if name[1:] in after.trace.leaves
    }


def value(text, scope):
    """Run the right-hand side of a step; on paper whole numbers divide exactly."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return eval(text.split(" = ", 1)[-1], scope)
    finally:
        torch.set_default_dtype(usual)


@pytest.mark.parametrize(
    ("case", "spelling"),
    [
        pytest.param(c, s, id=f"{c.name}: {s.name}", marks=pytest.mark.slow if k else ())
        for c in CASES
        for k, s in enumerate(c.spellings)
    ],
)
def test_each_step_is_true(case, spelling):
    backward, after = backward_of(spelling.file)
    for place in range(len(case.sizes)):
        trace = traced(case.function(spelling), case.draw(place), case.leaves)
        scope = {**run_at(after.source, trace), **run_at(backward.source, trace)}
        for step in after.steps:
            assert step.because, step
            before, then = value(step.before, scope), value(step.after, scope)
            then = torch.as_tensor(then, dtype=before.dtype)
            assert then.ndim in (0, before.ndim), step  # a zero may be a number
            assert torch.allclose(before, then.expand_as(before), rtol=1e-9, atol=1e-12), step


@pytest.mark.parametrize(("case", "spelling"), FIRST)
def test_steps_lead_to_what_is_simplified(case, spelling):
    _, after = backward_of(spelling.file)
    if not after.steps:
        pytest.skip("no steps")
    shown = " ".join(step.after for step in after.steps)
    line = next(each for each in after.lines if each.name == case.asked[0])
    assert line.line.text.split(" = ", 1)[1] in shown
