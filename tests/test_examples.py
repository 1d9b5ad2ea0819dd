"""Forward passes of real models, as people write them: traced, derived, equal to autograd."""

from pathlib import Path

import pytest
import torch

import handgrad as hg
from handgrad.emit import module
from handgrad.simplify.count import count
from handgrad.trace.files import trace_file

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.fixture
def in_double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_there_are_examples():
    assert len(EXAMPLES) >= 25


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_equals_autograd(path, in_double):
    trace = trace_file(str(path))
    backward = hg.derive(trace, strict=True)
    found = backward.run()
    for name in trace.leaves:
        truth = trace.grads[name]
        off = float((found["d" + name] - truth).abs().max())
        assert off <= 1e-10 * float(truth.abs().max()), f"d{name} off by {off}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_emitted_file_runs_by_itself(path, in_double):
    trace = trace_file(str(path))
    text = module(hg.derive(trace))
    assert "handgrad" not in text.split('"""')[2]
    scope: dict = {}
    exec(compile(text, "<emitted>", "exec"), scope)
    given = {n.name: trace.values[n.name] for n in trace.program.inputs} | trace.program.scalars
    loss, saved = scope["forward"](**given)
    torch.testing.assert_close(loss, trace.values[trace.output])
    for name, grad in scope["backward"](torch.ones_like(loss), saved).items():
        torch.testing.assert_close(grad, trace.grads[name[1:]])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_simplified_example_does_less_and_equals_autograd(path, in_double):
    trace = trace_file(str(path))
    backward = hg.derive(trace)
    short = hg.simplify(backward)
    before, after = operations(backward), operations(short)
    assert (after, len(short.lines)) <= (before, len(backward.lines)), short.source
    found = short.run()
    for name in trace.leaves:
        truth = trace.grads[name]
        off = float((found["d" + name] - truth).abs().max())
        assert off <= 1e-10 * float(truth.abs().max()), f"d{name} off by {off}"


def operations(backward):
    scalars = backward.trace.program.scalars
    return sum(count(each.line.text.partition(" = ")[2], scalars) for each in backward.lines)
