"""Reports as blocks: plain and Markdown forms of one text, and the picture of a loss."""

import math

import pytest

from handgrad.ninja import Trained
from handgrad.render.blocks import Code, Columns, Heading, Paragraph, Picture, as_markdown, as_plain
from handgrad.render.curve import loss_png, of_journey
from handgrad.train import Training

TABLE = Columns(("line", "count"), (("a|b", "1,000"), ("", "7")), right=(1,), code=(0,))


def test_plain():
    blocks = [Heading("Title", 1), Heading("Part"), Paragraph("Text."), Code("a = b\n"), TABLE]
    assert as_plain([*blocks, Picture("x.png", "x")]) == (
        "Title\n=====\n\nPart\n----\n\nText.\n\n    a = b\n\n"
        "  line  count\n  a|b   1,000\n            7\n\n"
    )


def test_plain_paragraphs_are_filled():
    lines = as_plain([Paragraph("word " * 40)]).splitlines()
    assert max(map(len, lines)) <= 80


def test_markdown():
    blocks = [Heading("Title", 1), Paragraph("Look.", warning=True), Code("a = b\n"), TABLE]
    assert as_markdown([*blocks, Picture("x.png", "x")]) == (
        "# Title\n\n**Look.**\n\n```python\na = b\n```\n\n"
        "| line | count |\n| --- | ---: |\n| `a\\|b` | 1,000 |\n|  | 7 |\n\n"
        "![x](x.png)\n"
    )


@pytest.mark.parametrize(
    ("losses", "validation"),
    [
        ((3.0,), 2.4),
        ((3.0, math.inf), None),
        ((math.nan,), math.nan),
        ((0.0, 0.0, 0.0), 0.0),
        ((2.0,) * 50, 2.0),
        (tuple(3 - step / 500 for step in range(500)), 2.4),
    ],
)
def test_a_picture_of_any_losses(losses, validation):
    training = Training({}, losses, steps=len(losses), seconds=1.0)
    found = {"train": 2.3, "validation": validation, "test": None}
    picture = loss_png(of_journey(Trained(training, "eager", found, (), ())))
    assert picture.startswith(b"\x89PNG")
    assert b"Written by handgrad" in picture[:4096]


def test_a_picture_of_a_training_that_ended_early():
    training = Training({}, (3.0, 2.9, 2.8), steps=100, seconds=1.0, stopped="interrupted")
    curve = of_journey(Trained(training, "eager", {"validation": 2.8}, (), ()))
    assert loss_png(curve).startswith(b"\x89PNG")
