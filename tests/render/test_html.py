"""The tables for notebooks: well formed, everything escaped."""

from html.parser import HTMLParser

import torch

from handgrad import derive, trace
from handgrad.render import html


class Checked(HTMLParser):
    """Collect the text, and refuse tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


def read(markup: str) -> str:
    parser = Checked()
    parser.feed(markup)
    parser.close()
    assert not parser.open
    return parser.text


def hinge(x, W):
    h = x @ W
    loss = torch.where(h < 1, 1 - h, 0 * h).sum()
    return loss


def test_a_trace_shows_its_lines_and_shapes_escaped():
    markup = html.trace_html(trace(hinge, torch.ones(5, 3), torch.ones(3, 2)))
    text = read(markup)
    assert "h &lt; 1" in markup
    assert "torch.where(h < 1, 1 - h, 0 * h)" in text
    assert "x [5, 3] float32\nW [3, 2] float32" in text
    assert "21 parameters in 2 leaves, 2 lines, ends in loss [] float32" in text


def test_a_backward_pass_shows_each_line_under_its_forward_line():
    backward = derive(trace(hinge, torch.ones(5, 3), torch.ones(3, 2)))
    weights = next(each.line.text for each in backward.lines if each.name == "dW")
    rows = read(html.backward_html(backward)).split("\n")
    assert rows.index("# h = x @ W") < rows.index(weights)
    assert f"{len(backward.lines)} lines; every gradient equals autograd's" in rows
