"""`derive --output`, `simplify --output`: the written file at other sizes than the traced ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import handgrad as hg
from emit.styles import CASES
from handgrad.emit import module
from handgrad.trace.files import trace_file


def written(name: str, form: str = "derived"):
    """Return a case, the text of its file, and the file's names."""
    case = next(case for case in CASES if case.name == name)
    args = case.make(**case.sizes)
    up = torch.ones_like(case.forward(*args))
    backward = hg.derive(hg.trace(case.forward, *args, upstream=up))
    text = module(backward if form == "derived" else hg.simplify(backward))
    scope: dict[str, Any] = {}
    exec(text, scope)
    return case, text, scope


@pytest.mark.parametrize("form", ["derived", "simplified"])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("scaled_by_sqrt", {"N": 2, "M": 3, "D": 16}),
        ("rotary", {"T": 3, "D": 4}),
        ("residual", {"N": 2, "D": 5}),
    ],
)
def test_right_at_other_sizes(name, sizes, form):
    case, text, scope = written(name, form)
    assert "at two sets of sizes" in text
    args = [value.requires_grad_() for value in case.make(**sizes)]
    numbers = hg.trace(case.forward, *args, upstream=case.forward(*args)).program.scalars
    output, saved = scope["forward"](*args, *numbers.values())
    torch.testing.assert_close(output, case.forward(*args))
    found = scope["backward"](torch.ones_like(output), saved)
    truth = torch.autograd.grad(case.forward(*args).sum(), args)
    for mine, theirs in zip(found.values(), truth, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("name", "sizes", "words"),
    [
        ("running_sum", {"T": 4}, r"x\.shape\[1\] == 3: the forward pass loops over it"),
        ("layer_norm_literal", {"D": 5}, r"x\.shape\[2\] == 4.*: no other size was found"),
        ("branch_far_away", {"D": 50}, r"x\.shape\[1\] <= 40"),
    ],
)
def test_what_is_baked_in_is_named(name, sizes, words):
    case, _, scope = written(name)
    args = case.make(**{**case.sizes, **sizes})
    numbers = {"n": 3} if name == "branch_far_away" else {}
    with pytest.raises(ValueError, match=f"this file was written for {words}"):
        scope["forward"](*args, *numbers.values())


def test_a_number_that_the_lines_take_for_granted_is_told():
    assert "Its lines are for depth=2." in written("layers_as_number")[1]


def test_a_file_without_a_function_says_so(tmp_path: Path):
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\nx = torch.randn(3, 4)\nW = torch.randn(4, 2, requires_grad=True)\n"
        "h = x @ W\nloss = (h**2).mean()\n",
        encoding="utf-8",
    )
    text = module(hg.derive(trace_file(str(path))))
    assert "at the traced sizes alone" in text
    scope: dict[str, Any] = {}
    exec(text, scope)
    with pytest.raises(ValueError, match=r"x \[3, 4\].*a file's top level"):
        scope["forward"](torch.randn(5, 4), torch.randn(4, 2))


def test_a_modules_own_tensors_keep_their_sizes():
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
    trace = hg.trace(net, torch.randn(5, 4), upstream=torch.ones(5, 3))
    scope: dict[str, Any] = {}
    exec(module(hg.derive(trace)), scope)
    x = torch.randn(7, 4)
    output, _ = scope["forward"](x, *net.parameters())
    torch.testing.assert_close(output, net(x))
    with pytest.raises(ValueError, match=r"weight \[3, 4\]"):
        scope["forward"](x, torch.randn(2, 4), torch.randn(2))
