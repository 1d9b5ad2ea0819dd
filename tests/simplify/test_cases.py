"""Textbook gradients: each spelling simplifies to no more operations than the textbook's form."""

import pytest
import torch

import handgrad as hg
from simplify.cases import CASES, PAIRS
from simplify.count import Count, needed
from simplify.running import autograd, backward_of, has_simplify, run_at, simplified, traced

ALL = [pytest.param(c, s, id=f"{c.name}: {s.name}") for c, s in PAIRS]
later = pytest.mark.skipif(not has_simplify(), reason="this build has no simplifier")


def trace_of(case, spelling):
    return traced(case.function(spelling), case.draw(), case.leaves)


def counter(case, trace):
    numbers = [name for name, how in case.arguments.items() if isinstance(how, str)]
    return Count(numbers, "d" + trace.output if trace.upstream.ndim == 0 else "")


def agrees(case, spelling, source, numbers=()):
    """Compare lines with autograd at every size, shape and all."""
    for place in range(len(case.sizes)):
        arguments = case.draw(place)
        forward = case.function(spelling)
        more = {name: arguments[name] for name in numbers}
        found = run_at(source, traced(forward, arguments, case.leaves), **more)
        truth = autograd(forward, arguments, case.leaves)
        for name in case.asked:
            torch.testing.assert_close(found[name], truth[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("case", "spelling"), ALL)
def test_textbook_form_is_right(case, spelling):
    trace = trace_of(case, spelling)
    numbers = [n for n, how in case.arguments.items() if isinstance(how, str)]
    agrees(case, spelling, spelling.textbook, numbers)
    assert counter(case, trace).lines(spelling.textbook) == spelling.operations


@pytest.mark.parametrize(("case", "spelling"), ALL)
def test_derived_is_right_at_all_sizes(case, spelling):
    agrees(case, spelling, hg.derive(trace_of(case, spelling), strict=True).source)


@later
@pytest.mark.parametrize(("case", "spelling"), ALL)
def test_simplified_is_right_at_all_sizes(case, spelling):
    _, after = backward_of(spelling.file)
    agrees(case, spelling, after.source)


@later
@pytest.mark.parametrize(("case", "spelling"), ALL)
def test_simplified_is_as_short_as_the_textbook(case, spelling):
    backward, after = backward_of(spelling.file)
    count = counter(case, backward.trace)
    source = needed(after.source, case.asked)
    if count.lines(source) > spelling.operations:
        # lines that other gradients share cost these: ask for what the textbook gives alone
        leaves = [name[1:] for name in case.asked]
        trace = traced(case.function(spelling), case.draw(), leaves)
        source = simplified(hg.derive(trace, strict=True)).source
    assert count.lines(source) <= spelling.operations, source


def test_every_case_has_two_spellings():
    assert [case.name for case in CASES if len(case.spellings) < 2] == []
