"""What a terminal shows, at several widths, without colour so that it can be read here."""

import io

import pytest
import torch
from rich.console import Console

from handgrad import derive, explain, trace
from handgrad.render import terminal

STACKED = """\
lines
  h = torch.tanh(x @ W + b)           [5, 2]  float32
      from x [5, 3], W [3, 2], b [2]  8 parameters
  top, place = h.max(dim=1)           top   [5]     float32
                                      place [5]     int64
      from h [5, 2]
  loss = top.mean()                   []      float32
      from top [5]"""


def forward(x, W, b):
    h = torch.tanh(x @ W + b)
    top, place = h.max(dim=1)
    loss = top.mean()
    return loss


@pytest.fixture
def traced():
    g = torch.Generator().manual_seed(3)
    x, W = torch.randn(5, 3, generator=g), torch.randn(3, 2, generator=g)
    return trace(forward, x, W, torch.zeros(2), wrt=["W", "b"])


def shown(renderable, width, **options) -> str:
    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    screen.print(renderable, **options)
    return "\n".join(line.rstrip() for line in screen.file.getvalue().splitlines())


def words(text: str) -> list[str]:
    return text.split()


def test_a_wide_terminal_has_one_table(traced):
    text = shown(terminal.Shapes(traced), 120)
    head, first, _, second, last = text.split("\n\n")[2].splitlines()
    assert words(head) == ["line", "makes", "reads", "params"]
    assert first.startswith("h = torch.tanh(x @ W + b)  h ")
    assert words(first)[-1] == "8"
    assert words(second) == ["place", "[5]", "int64"]
    assert words(last)[-2:] == ["top", "[5]"]
    assert text.endswith("8 parameters in 2 leaves, 3 lines, ends in loss [] float32")


def test_leaves_come_first_then_the_other_inputs(traced):
    leaves, inputs = shown(terminal.Shapes(traced), 80).split("\n\n")[:2]
    assert [words(row)[0] for row in leaves.splitlines()] == ["leaves", "W", "b"]
    assert [words(row)[0] for row in inputs.splitlines()] == ["inputs", "x"]


def test_a_narrow_terminal_has_each_line_above_what_it_reads(traced):
    text = shown(terminal.Shapes(traced), 60)
    assert text.split("\n\n")[2] == STACKED


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 200])
def test_nothing_is_wider_than_the_terminal_or_cut_off(traced, width):
    text = shown(terminal.Shapes(traced), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text
    if width >= 60:
        for line in traced.lines:
            assert line.text in text


def test_a_listing_keeps_its_lines_however_narrow(traced):
    source = derive(traced).source
    assert shown(terminal.listing(source), 20, soft_wrap=True).rstrip() == source.rstrip()


def test_reasons_are_fitted_to_the_width_but_shapes_stay_whole(traced):
    reasons = explain(derive(traced))
    text = terminal.explanation(reasons, 44).plain
    for reason in reasons:
        assert reason.line in text.splitlines()
    prose = [line for line in text.splitlines() if line.startswith("    ")]
    assert max(map(len, prose)) <= 44
    assert not any(line.count("[") != line.count("]") for line in prose)


def test_names_in_brackets_are_no_markup():
    def odd(x):
        red = x[0]
        loss = (red * x[[1, 0]]).sum()
        return loss

    found = trace(odd, torch.ones(2))
    assert "x[[1, 0]]" in shown(terminal.Shapes(found), 80)
