"""Every field of every row of the op table, executed."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
from torch.overrides import TorchFunctionMode

from handgrad.index import parse
from handgrad.ir import Name
from handgrad.ops import TABLE
from handgrad.ops.term import Term, building, to_value
from handgrad.spell import spell
from loops import run_equation
from rows import SCOPE, Case, evaluate, gradients, make, upstream_of

CASES = [
    pytest.param(row, example, id=f"{row.name}-{k}")
    for row in TABLE.rows
    for k, example in enumerate(row.examples)
]
# torch warns of these calls; the rows describe them all the same
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using a target size",
    "ignore:reduction. 'mean' divides",
    "ignore:Using padding='same'",
)
over_table = pytest.mark.parametrize(("row", "example"), CASES)


def outputs(value):
    return list(value) if isinstance(value, (tuple, list)) else [value]


def seeded(run, **arguments):
    """Run with the generator at its start, so that a random row draws the same every time."""
    torch.manual_seed(0)
    return outputs(run(**arguments))


def close(a, b, rtol=1e-9, nan=False):
    assert tuple(a.shape) == tuple(b.shape)
    if not a.is_floating_point():
        assert torch.equal(a, b)
        return
    torch.testing.assert_close(a, b.to(a.dtype), rtol=rtol, atol=1e-11, equal_nan=nan)


def reference(case: Case, leaves):
    """Run the row's first spelling with autograd on fresh leaves."""
    by_id = {id(case.tensors[n]): leaf for n, leaf in leaves.items()}

    def swap(value):
        if isinstance(value, torch.Tensor):
            return by_id.get(id(value), value)
        if isinstance(value, (tuple, list)):
            return type(value)(swap(v) for v in value)
        return value

    return seeded(case.row.spellings[0].run, **{k: swap(v) for k, v in case.bound.items()})


def test_every_row_has_examples_and_unique_name():
    assert len(TABLE.by_name) == len(TABLE.rows)
    assert all(row.examples for row in TABLE.rows)


@over_table
def test_spellings_agree_and_are_recognised(row, example):
    case = make(row, example)
    expected = seeded(row.spellings[0].run, **case.bound)
    seen = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            found = TABLE.match(func, args, kwargs or {})
            seen.append(found[0] if found else None)
            return func(*args, **(kwargs or {}))

    for spelling in row.spellings:
        names = {p.name for p in spelling.params if not p.constant}
        left_out = {
            p.name: case.bound[p.name]
            for p in row.spellings[0].params
            if not p.constant and p.name not in names
        }
        if any(v is not None and v is not False for v in left_out.values()):
            continue  # this spelling cannot say what the example asks
        first = case.bound.get(spelling.params[0].name)
        if spelling.kind in ("method", "function") and isinstance(first, (int, float)):
            continue  # only operators take a plain number first
        seen.clear()
        with Watch():
            got = seeded(spelling.run, **{k: v for k, v in case.bound.items() if k in names})
        assert row in seen, f"{spelling.text} is not recognised as {row.name}, but as {seen}"
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)


WORDS = {"dtype", "out", "inplace", "size_average", "reduce", "momentum", "align_corners", "sparse"}
REFUSED = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError)
VALUES = (None, False, True, 0, 2, 0.5, "sum", "none", torch.float32)


def calls_of(row, bound):
    """Return the function and the arguments that torch reports for a call."""
    seen = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            found = TABLE.match(func, args, kwargs or {})
            seen.extend([(func, args, kwargs or {})] if found and found[0] is row else [])
            return func(*args, **(kwargs or {}))

    with Watch():
        row.spellings[0].run(**bound)
    return seen[:1]


def accepted(func):
    """Return the words that a function takes."""
    try:
        known = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return WORDS
    return {p.name for p in known if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", TABLE.rows, ids=lambda row: row.name)
def test_an_argument_is_left_out_only_if_it_changes_nothing(row):
    for example in row.examples:
        try_words(row, make(row, example))


def try_words(row, case):
    for func, args, kwargs in calls_of(row, case.bound):
        for word, value in itertools.product(sorted(accepted(func)), VALUES):
            torch.manual_seed(0)
            try:
                expected = outputs(func(*args, **{**kwargs, word: value}))
            except REFUSED:
                continue
            found = TABLE.match(func, args, {**kwargs, word: value})
            if found is None or expected == [NotImplemented]:
                continue
            got = seeded(found[0].spellings[0].run, **found[1])
            for a, b in zip(got, expected, strict=True):
                same = a.shape == b.shape and torch.allclose(a, b, 1e-9, 1e-11, equal_nan=True)
                assert same, f"{word}={value}"


@over_table
def test_printed_text_runs_to_the_same(row, example):
    case = make(row, example)
    expected = seeded(row.spellings[0].run, **case.bound)
    got = outputs(evaluate(case.call, case.tensors))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, equal_nan=True)


@over_table
def test_rule_equals_autograd(row, example):
    case = make(row, example)
    wanted = case.wanted
    if not wanted:
        assert (
            not row.rules
            or not any(t.is_floating_point() for t in case.tensors.values())
            or row.structural
        ), f"{row.name}: no operand of this example has a rule"
        return
    names, cotangents = upstream_of(case.call)
    found = gradients(case.call, set(wanted), names)
    leaves = {n: case.tensors[n].clone().requires_grad_() for n in wanted}
    outs = reference(case, leaves)
    pairs = [(o, cotangents[n.name]) for o, n in zip(outs, names, strict=True) if o.requires_grad]
    expected = torch.autograd.grad(
        [o for o, _ in pairs], list(leaves.values()), [c for _, c in pairs], allow_unused=True
    )
    for name, truth in zip(leaves, expected, strict=True):
        truth = torch.zeros_like(leaves[name]) if truth is None else truth
        got = evaluate(found[name], case.tensors | cotangents)
        close(got, truth)
        assert got.dtype == truth.dtype


@over_table
def test_second_order_equals_autograd(row, example):
    case = make(row, example)
    wanted = case.wanted
    if not wanted or example.orders < 2:
        return
    names, cotangents = upstream_of(case.call)
    first = gradients(case.call, set(wanted), names)
    leaves = {n: case.tensors[n].clone().requires_grad_() for n in wanted}
    ups = {n: c.clone().requires_grad_() for n, c in cotangents.items()}
    outs = reference(case, leaves)
    pairs = [(o, ups[n.name]) for o, n in zip(outs, names, strict=True) if o.requires_grad]
    try:
        truths = torch.autograd.grad(
            [o for o, _ in pairs],
            list(leaves.values()),
            [c for _, c in pairs],
            create_graph=True,
            allow_unused=True,
        )
    except RuntimeError:
        return
    generator = torch.Generator().manual_seed(3)
    for name, truth in zip(leaves, truths, strict=True):
        if truth is None or not truth.requires_grad or isinstance(first[name], Name):
            continue
        v = torch.randn(truth.shape, generator=generator, dtype=torch.float64).to(truth.dtype)
        inputs = {**leaves, **{n: u for n, u in ups.items() if any(u is c for _, c in pairs)}}
        try:
            again = torch.autograd.grad(
                truth, list(inputs.values()), v, allow_unused=True, retain_graph=True
            )
        except (RuntimeError, NotImplementedError):
            continue  # torch itself has no second derivative here
        up = Name("ddx", tuple(truth.shape), truth.dtype)
        second = gradients(first[name], set(inputs), [up])
        values = case.tensors | cotangents | {"ddx": v}
        for key, expected in zip(inputs, again, strict=True):
            expected = torch.zeros_like(inputs[key]) if expected is None else expected
            got = evaluate(second[key], values) if key in second else torch.zeros_like(inputs[key])
            close(got, expected, rtol=1e-8, nan=True)  # NaN just where torch's own is


@over_table
def test_index_notation_equals_the_op(row, example):
    if row.index is None:
        return
    case = make(row, example)
    expected = row.spellings[0].run(**case.bound)
    close(run_equation(parse(row.index), case.bound, tuple(expected.shape)), expected)


@over_table
def test_same_as_equals_the_op(row, example):
    if row.same_as is None:
        return
    case = make(row, example)
    got = eval(row.same_as, {**SCOPE, **case.bound})
    close(got, row.spellings[0].run(**case.bound))


@over_table
def test_fold_equals_the_op(row, example):
    if row.fold is None:
        return
    case = make(row, example)
    with building(TABLE):
        from handgrad.ops.table import ask

        folded = ask(row.fold, {k: to_value(v) for k, v in case.call.args.items()})
    if isinstance(folded, Term):
        close(evaluate(folded.expr, case.tensors), row.spellings[0].run(**case.bound))


def test_zeros_drop_out_of_a_sum_unless_they_stretch_it():
    wide = Term(Name("wide", (3, 4), torch.float64))
    row = Term(Name("row", (4,), torch.float64))
    with building(TABLE):
        assert spell((wide + torch.zeros_like(row)).expr) == "wide"
        assert spell((torch.zeros_like(row) + wide).expr) == "wide"
        assert spell((row + torch.zeros_like(wide)).expr) == "row + torch.zeros_like(wide)"


def test_batch_norm_in_training_leaves_the_running_statistics_out():
    mean, variance = torch.zeros(3), torch.ones(3)
    found = TABLE.match(
        torch.nn.functional.batch_norm, (torch.ones(2, 3), mean, variance), {"training": True}
    )
    assert found is not None
    assert not {"running_mean", "running_var"} & set(found[1])


def test_cross_entropy_is_short_only_where_no_target_is_ignored():
    cross_entropy = torch.nn.functional.cross_entropy
    x = torch.zeros(2, 3)

    def name(*target, **options):
        found = TABLE.match(cross_entropy, (x, torch.tensor(target)), options)
        return found and found[0].name

    assert name(0, 2) == "cross_entropy"
    assert name(0, -100) == "cross_entropy_ignoring"
    assert name(0, 2, ignore_index=1) == "cross_entropy_ignoring"
    with pytest.raises(RuntimeError, match="non-negative"):  # what the short form says if one comes
        torch.nn.functional.one_hot(torch.tensor([0, -100]), 3)
