"""The line that is named, where lines that make names of the user's own have a part in it."""

from __future__ import annotations

import linecache
from itertools import count

import pytest
import torch

import handgrad as hg
from agree import double
from handgrad.check.report import Report
from handgrad.trace import Trace

FORWARD = """\
def forward(x, W1, b1, W2, y):
    h = torch.tanh(x @ W1 + b1)
    out = torch.sigmoid(h @ W2)
    loss = ((out - y) ** 2).mean() + (h**3).sum()
    return loss
"""
RIGHT = """\
pre = h @ W2
p = torch.sigmoid(pre)
err = 2 * (out - y) / out.numel() * dloss
s = err * p * (1 - p)
dW2 = h.T @ s
dh = s @ W2.T
dh += 3 * h**2 * dloss
u = 1 - h**2
t = dh * u
dW1 = x.T @ t
db1 = t.sum(0)
"""
NUMBER = count()


def trace(dtype: torch.dtype = torch.float64) -> Trace:
    """Return a forward pass of two layers with a second use of the first."""
    file = f"<culprit {next(NUMBER)}>"
    linecache.cache[file] = (len(FORWARD), None, FORWARD.splitlines(keepends=True), file)
    scope: dict = {"torch": torch}
    exec(compile(FORWARD, file, "exec"), scope)
    shapes = {"x": (5, 3), "W1": (3, 7), "b1": (7,), "W2": (7, 2), "y": (5, 2)}
    given = {n: double(*s, seed=k).to(dtype) for k, (n, s) in enumerate(shapes.items())}
    return hg.trace(scope["forward"], **given, wrt=["W1", "b1", "W2"])


def checked(*changes: tuple[str, str], dtype: torch.dtype = torch.float64) -> Report:
    """Return the report of the right backward pass with some lines changed."""
    source = RIGHT
    for old, new in changes:
        assert source.count(old) == 1
        source = source.replace(old, new)
    return hg.check(trace(dtype), source)


def lines(report: Report) -> set[str]:
    """Return the lines that are named."""
    return {row.line for row in report.rows if not row.verdict.good}


def test_the_right_lines_are_right():
    assert not lines(checked())
    assert not lines(checked(dtype=torch.float32))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pre = h @ W2", "pre = h @ W2 * 1.000001"),
        ("pre = h @ W2", "pre = (h @ W2).mT"),
        ("pre = h @ W2", "pre = (h @ W2).sum(0, keepdim=True)"),
        ("p = torch.sigmoid(pre)", "p = torch.tanh(pre)"),
        ("err = 2 * ", "err = 1 * "),
        ("err = 2 * (out - y) / out.numel() * dloss", "err = (2 * (out - y) / out.numel()).abs()"),
        ("s = err * p * (1 - p)", "s = (err * p * (1 - p)).unsqueeze(0)"),
        ("s = err * p * (1 - p)", "s = err * p * (2 - p)"),
        ("u = 1 - h**2", "u = 1 - h"),
        ("t = dh * u", "t = dh"),
        ("t = dh * u", "t = (dh * u).flip(0)"),  # its sum over the rows stays as it was
    ],
)
def test_a_mistake_far_up_is_named_where_it_is(old, new):
    written = next(row for row in RIGHT.replace(old, new).splitlines() if row.startswith(new))
    assert lines(checked((old, new))) == {written}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dh = s @ W2.T", "dh = s @ W2.T * 1.01"),
        ("dh = s @ W2.T", "dh = (s @ W2.T).unsqueeze(0)"),
        ("dh += 3 * h**2", "dh += 2 * h**2"),
        ("pre = h @ W2", "pre = x @ W1 * 1.01\npre += b1\npre = torch.tanh(pre) @ W2"),
        ("pre = h @ W2", "pre = x @ W1\npre += b1.abs()\npre = torch.tanh(pre) @ W2"),
    ],
)
def test_the_one_term_of_a_sum_that_is_wrong_is_named(old, new):
    named = lines(checked((old, new)))
    assert len(named) == 1
    assert named <= set(RIGHT.replace(old, new).splitlines()) - set(RIGHT.splitlines())


def test_the_wrong_term_of_a_recomputed_sum_is_named():
    body = "a = x @ W1 * 1.01\na += b1\n"
    assert lines(checked(("u = 1 - h**2", body + "u = 1 - torch.tanh(a) ** 2"))) <= {
        "a = x @ W1 * 1.01",
        "u = 1 - torch.tanh(a) ** 2",
    }


def test_a_last_line_with_the_wrong_name_is_not_blamed_on_that_name():
    assert lines(checked(("db1 = t.sum(0)", "db1 = dh.sum(0)"))) == {"db1 = dh.sum(0)"}
    assert lines(checked(("dh = s @ W2.T", "dh = err @ W2.T"))) == {"dh = err @ W2.T"}


def test_a_copy_is_not_blamed_for_what_it_copies():
    changed = checked(("t = dh * u", "v = dh * (1 - h)\nt = v"), ("u = 1 - h**2\n", ""))
    assert lines(changed) == {"v = dh * (1 - h)"}


def test_the_line_that_overwrites_a_part_is_named():
    found = checked(("dh = s @ W2.T", "dh = s[:, :1] @ W2.T[:1]\ndh = s[:, 1:] @ W2.T[1:]"))
    assert lines(found) == {"dh = s[:, 1:] @ W2.T[1:]"}


def test_two_wrong_lines_are_not_blamed_on_a_right_name_that_both_read():
    named = lines(checked(("x.T @ t", "(x.T @ t).mT"), ("t.sum(0)", "torch.ones_like(t).sum(0)")))
    assert named == {"dW1 = (x.T @ t).mT", "db1 = torch.ones_like(t).sum(0)"}


def test_a_line_that_raises_by_a_mistake_above_may_have_one_of_its_own():
    named = lines(
        checked(("dh = s @ W2.T", "dh = (s @ W2.T).mT[:, None]"), ("db1 = t.", "db1 = 2 * t."))
    )
    assert named == {"dh = (s @ W2.T).mT[:, None]", "db1 = 2 * t.sum(0)"}


def test_the_line_that_makes_another_dtype_is_named():
    found = checked(("t = dh * u", "t = (dh * u).double()"), dtype=torch.float32)
    assert lines(found) == {"t = (dh * u).double()"}


def test_nan_is_not_taken_for_random_numbers():
    found = checked(("u = 1 - h**2", "u = torch.log(h - h) * (h - h)"))
    told = [row.diagnosis.text for row in found.rows if row.diagnosis]
    assert not any("random" in text for text in told)
    assert lines(found) == {"u = torch.log(h - h) * (h - h)"}
