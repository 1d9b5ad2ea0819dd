"""The counter of operations, and the lines that a gradient needs."""

import pytest

from simplify.count import Count, needed

COUNTS = {
    "x": 0,
    "2": 0,
    "1 / (n - 1)": 0,
    "x.shape[0] * n**0.5": 0,
    "x.numel() - len(x.shape)": 0,
    "x + y": 1,
    "n * x": 1,
    "x / n": 1,
    "2 / (n - 1) * x": 1,
    "x**2": 1,
    "x.mean(1, keepdim=True)": 1,
    "(x * y).sum((0, 1))": 2,
    "-x": 1,
    "-x * y": 2,
    "x - -y": 1,
    "-x + y": 1,
    "-(x - y)": 1,
    "-2 * x": 1,
    "x - y - z": 2,
    "torch.where(x > 20, 1, torch.sigmoid(x))": 3,
    "x.max(1, keepdim=True).values": 1,
    "x[:, None]": 1,
    "x[range(n), y]": 1,
    "x[torch.arange(n), y]": 2,
    "x @ w.mT": 2,
    "F.one_hot(y, x.shape[1])": 1,
    "torch.cat([x, y + 1])": 2,
    "torch.zeros_like(x).index_put([torch.arange(n), y], -dy / n, accumulate=True)": 3,
    "x * torch.finfo(x.dtype).eps": 1,
    "~x & y": 2,
    "x.expand(n, -1).reshape(x.shape)": 2,
    "dy / n": 0,
    "dy * (x - y)": 1,
    "(x - y) / n * dy": 2,
    "dy / n * (x - y)": 2,
    "x / math.sqrt(x.shape[1])": 1,
}


@pytest.mark.parametrize("text", COUNTS)
def test_operations(text):
    assert Count({"n"}, "dy").lines(text) == COUNTS[text]


def test_operations_of_lines_add_up():
    assert Count({"n"}).lines("a = x + n\nb = a * a\nc = b\n") == 2


def test_an_unknown_node_is_refused():
    with pytest.raises(ValueError, match="no count for"):
        Count().lines("y = [a for a in x]")


def test_lines_needed():
    source = "a = x + 1\nb = a * x\nc = y * 2\nd = b + c\n"
    assert needed(source, ["b"]) == "a = x + 1\nb = a * x\n"
    assert needed(source, ["d"]) == source


def test_a_name_assigned_again_needs_its_last_line_only():
    assert needed("a = x\na = y\nb = a\n", ["b"]) == "a = y\nb = a\n"
