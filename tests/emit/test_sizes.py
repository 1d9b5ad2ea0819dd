"""Emitted Functions at other sizes, dtypes and values: what the user's function gives, or an error."""

from __future__ import annotations

import inspect

import pytest
import torch

import handgrad as hg
from emit.styles import CASES, Case
from handgrad.emit.function import Emitted
from handgrad.errors import BadInput

SAYS = ("this Function was written for", "this backward pass is right for")
QUICK = {
    "scaled_by_sqrt",
    "scaled_by_imported_sqrt",
    "rnn",
    "heads_of_equal_sizes",
    "heads_in_a_helper",
    "rotary",
    "limited_by_min",
    "one_name_in_two_helpers",
    "eps_by_dtype",
    "lowest_number_as_mask",
    "layer_norm_literal",
    "padded_in_a_helper",
    "batch_of_one",
    "conv_same",
}
VALUES = {"branch_on_a_value", "divided_by_an_item"}
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.2, torch.float16: 5e-2}


def variations(case: Case):
    """Yield arguments of other sizes, dtypes, values and numbers of axes."""
    for name, size in case.sizes.items():
        for other in {1, 2, size + 1, 2 * size, 3 * size, 47} - {size}:
            yield f"{name}={other}", {**case.sizes, name: other}, None
    yield "all", {name: 2 * size for name, size in case.sizes.items()}, None
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        yield str(dtype), case.sizes, lambda v, dtype=dtype: v.to(dtype)
    yield "negative", case.sizes, lambda v: -v
    yield "zeros", case.sizes, lambda v: 0 * v
    yield "large", case.sizes, lambda v: 10 * v
    yield "one axis more", case.sizes, lambda v: v[None]
    yield "one axis fewer", case.sizes, lambda v: v[0] if v.ndim > 1 else v


def is_real(value):
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def outcome(call, args):
    """Return the output and the gradients of all real arguments."""
    own = [v.detach().clone().requires_grad_() if is_real(v) else v for v in args]
    output = call(*own)
    up = torch.randn(output.shape, generator=torch.Generator().manual_seed(4)).to(output.dtype)
    leaves = [v for v in own if is_real(v)]
    found = torch.autograd.grad((output * up).sum(), leaves, allow_unused=True)
    zeros = [torch.zeros_like(v) if g is None else g for g, v in zip(found, leaves, strict=True)]
    return [output.detach(), *zeros]


def same(mine, theirs):
    reach = max(float(b.double().abs().nan_to_num(0, 0, 0).max()) for b in theirs if b.numel())
    for a, b in zip(mine, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if b.numel():
            far = TOLERANCES[b.dtype] * max(reach, 1e-3)
            torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=far, equal_nan=True)


def compare(case: Case):
    """Compare a Function with the forward pass everywhere; return how often it gave numbers."""
    f = hg.function(case.forward, *case.make(**case.sizes))
    equal = 0
    for name, sizes, change in variations(case):
        try:
            args = [change(v) if change and is_real(v) else v for v in case.make(**sizes)]
            theirs = outcome(case.forward, args)
        except Exception:  # these sizes are none for this forward pass
            continue
        try:
            mine = outcome(f, args)
        except ValueError as error:
            if not str(error).startswith(SAYS):
                raise AssertionError(name) from error
            continue
        same(mine, theirs)
        equal += 1
    return equal


@pytest.mark.parametrize("case", [c for c in CASES if c.name in QUICK], ids=lambda c: c.name)
def test_the_same_or_an_error_that_says_why(case):
    assert compare(case) > 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c for c in CASES if c.name not in QUICK | VALUES], ids=lambda c: c.name
)
def test_every_style(case):
    assert compare(case) > 3


@pytest.mark.parametrize("case", [c for c in CASES if c.name in VALUES], ids=lambda c: c.name)
def test_what_depends_on_values_is_refused(case):
    with pytest.raises(BadInput, match="a tensor's values"):
        hg.function(case.forward, *case.make(**case.sizes))


def emitted(name: str) -> tuple[type[Emitted], Case]:
    case = next(case for case in CASES if case.name == name)
    return hg.function(case.forward, *case.make(**case.sizes)), case


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scaled_by_sqrt", "1 / q.size(-1) ** 0.5"),
        ("scaled_by_imported_sqrt", "scale = 1.0 / d ** 0.5"),
        ("heads_in_a_helper", "h = heads"),
        ("scale_in_a_helper", "d = q.shape[2]"),
        ("limited_by_min", "m = min(k, x.shape[1])"),
        ("conv_same", "padding=w.shape[2] // 2"),
        ("eps_by_dtype", "torch.finfo(x.dtype).eps"),
        ("lowest_number_as_mask", "torch.finfo(x.dtype).min"),
    ],
)
def test_what_follows_the_sizes_is_recomputed(name, text):
    assert text in emitted(name)[0].source


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "rnn",
            {"T": 7},
            r"x\.shape\[1\] == 3: the forward pass loops over it \(line {for t in}\)",
        ),
        ("branch_far_away", {"D": 50}, r"x\.shape\[1\] <= 40: the forward pass branches on it"),
        ("one_name_in_two_helpers", {"N": 4}, r"x\.shape\[0\] == 3: line \d+ has it as a number"),
        (
            "padded_in_a_helper",
            {"T": 6},
            r"x\.shape\[1\] == 8: the forward pass branches on a size",
        ),
    ],
)
def test_what_is_baked_in_is_named(name, change, words):
    f, case = emitted(name)
    lines, first = inspect.getsourcelines(case.forward)
    loop = next((first + k for k, line in enumerate(lines) if "for t in" in line), 0)
    with pytest.raises(ValueError, match=words.replace("{for t in}", str(loop))):
        f(*case.make(**{**case.sizes, **change}))


def test_another_number_of_axes_is_refused():
    f, case = emitted("batch_norm_by_hand")
    with pytest.raises(ValueError, match=r"x\.ndim == 2"):
        f(*(v[None] if is_real(v) and v.ndim > 1 else v for v in case.make(**case.sizes)))


def test_the_file_says_whether_other_sizes_were_tried():
    assert "at two sets of sizes" in emitted("layer_norm_by_shape")[0].source
    module = torch.nn.Linear(4, 3)
    source = hg.function(module, torch.randn(5, 4)).source
    assert "weight.shape != (3, 4)" in source
