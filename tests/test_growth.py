"""Work grows with the forward pass and no faster: counted, and with little room for recursion."""

import itertools
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

import handgrad as hg
from handgrad import spell
from handgrad.check import reference, runner
from handgrad.check.ways import check_file
from handgrad.ir import names, walk
from handgrad.simplify.coefficient import ONE, constant, symbol
from handgrad.trace import drafts, recorder
from handgrad.trace.files import trace_file

ROOM = 170  # frames more than there are: what recurses by depth needs as many as it is deep


@contextmanager
def little_room(frames: int = ROOM):
    """Let calls nest a little deeper than here, and no more."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def counting(monkeypatch: pytest.MonkeyPatch, owner, name: str) -> Counter:
    """Count the calls of a function."""
    calls, function = Counter(), getattr(owner, name)

    def counted(*args, **kwargs):
        calls[name] += 1
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def looped(x):
    for _ in range(180):
        h = x * 1.01
        x = h.tanh()
    return x.sum()


def recurrent(x):
    h = torch.zeros(2)
    for t in range(180):
        h = torch.tanh(x[t % 3] + h * 0.5)
    return h.sum()


def added(x):
    total = 0
    for k in range(180):
        total = total + torch.sin(x * k)
    return total.sum()


def added_at_once(x):
    return sum(torch.sin(x * k) for k in range(180)).sum()


def nested(x):
    held = [x]
    for _ in range(200):
        held[0] = torch.sin(held[0] * 1.01)
    return held[0].sum()


def used_often(x):
    return torch.stack([x * k for k in range(180)]).sum()


@pytest.mark.parametrize(
    "forward",
    [looped, recurrent, added, added_at_once, nested, used_often],
    ids=lambda f: f.__name__,
)
def test_depth_and_length_need_no_recursion(forward):
    x = torch.linspace(0.1, 0.9, 6, dtype=torch.float64).view(3, 2)
    hg.derive(hg.trace(forward, x.clone()))  # imports and caches are not what is tested
    with little_room():
        backward = hg.derive(hg.trace(forward, x))
    assert max(len(each.line.text) for each in backward.lines) < 4000
    assert all(reason.because for reason in hg.explain(backward))
    leaf = x.clone().requires_grad_()
    truth = torch.autograd.grad(forward(leaf), leaf)[0]
    torch.testing.assert_close(backward.run()["dx"], truth)


def sequential(layers: int):
    torch.manual_seed(0)
    parts = [nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU()] * layers
    net = nn.Sequential(*parts).double()

    def forward(x):
        return net(x).pow(2).mean()

    return forward, torch.randn(5, 3, dtype=torch.float64)


def test_a_shared_part_is_spelled_once_however_deep(monkeypatch):
    calls = counting(monkeypatch, spell, "spelled_node")
    found = []
    for layers in (10, 20, 40):
        forward, x = sequential(layers)
        trace = hg.trace(forward, x)
        calls.clear()
        hg.derive(trace)
        found.append(calls["spelled_node"])
    assert found[1] < 3 * found[0]
    assert found[2] < 3 * found[1]


def test_a_nested_expression_is_cut_into_lines_that_can_be_read():
    forward, x = sequential(12)
    trace = hg.trace(forward, x)
    assert max(len(line.text) for line in trace.lines) < 700
    assert len(trace.lines) > 2


def test_what_the_user_named_keeps_its_name_where_a_long_line_is_cut():
    def forward(x):
        y = sum(torch.sin(x * k) for k in range(60))
        return y.sum()

    trace = hg.trace(forward, torch.ones(2))
    torch.testing.assert_close(
        trace.values["y"], sum(torch.sin(torch.ones(2) * k) for k in range(60))
    )


def straight(tmp_path, count: int):
    forms = ("x{} * w", "x{}.tanh()", "x{} + w")
    lines = ["import torch", "w = torch.ones(2, requires_grad=True)", "x0 = torch.ones(2)"]
    lines += [f"x{k} = " + forms[k % 3].format(k - 1) for k in range(1, count)]
    path = tmp_path / f"net{count}.py"
    path.write_text("\n".join([*lines, f"loss = x{count - 1}.sum()"]) + "\n")
    return str(path)


def test_only_the_names_that_were_stored_are_looked_at(tmp_path, monkeypatch):
    looked = Counter()

    def counted(frame, only):
        for found in before(frame, only):
            looked["names"] += 1
            yield found

    before = recorder.frame_names
    monkeypatch.setattr(recorder, "frame_names", counted)
    found = []
    for count in (50, 100, 200):
        looked.clear()
        trace = trace_file(straight(tmp_path, count))
        assert f"x{count - 1}" in trace.values
        found.append(looked["names"])
    assert found[2] < 3 * found[1] < 9 * found[0]


STORES = {
    "in a loop": "for k in range(3):\n    y = x * k\n    z = y\n    x = z.sin()\nloss = x.sum()",
    "in a branch": "if x.ndim:\n    y = x * 2\nelse:\n    y = x\nloss = y.sum()",
    "of another's": "def f():\n    global y\n    y = x * 2\nf()\nz = y + 1\nloss = z.sum()",
    "after a handler": "try:\n    y = x.nothing\nexcept AttributeError:\n    y = x * 2\nloss = y.sum()",
    "in a with": "with torch.enable_grad():\n    y = x * 2\nloss = y.sum()",
    "by a write": "y = x * 2\ny[0] = 1.0\nz = y * 3\nloss = z.sum()",
    "by a walrus": "loss = (y := x * 2).sum()",
    "before it is known": "y = x\nloss = (y * 2).sum()",
}


@pytest.mark.parametrize("body", STORES.values(), ids=STORES)
def test_no_name_is_missed(tmp_path, body, monkeypatch):
    path = tmp_path / "net.py"
    path.write_text(f"import torch\nx = torch.ones(2, requires_grad=True)\n{body}\n")
    quick = trace_file(str(path))
    monkeypatch.setattr(recorder.Recorder, "stored", lambda *_: None)  # every name, every time
    whole = trace_file(str(path))
    assert [line.text for line in quick.lines] == [line.text for line in whole.lines]
    assert quick.aliases == whole.aliases


def answered(tmp_path, count: int):
    forms = ("dx{k} * w", "dx{k} * (1 - x{k} ** 2)", "dx{k}")
    source = Path(straight(tmp_path, count)).read_text().splitlines()
    source[1:3] = ["w = torch.ones(2)", "x0 = torch.ones(2, requires_grad=True)"]
    source.append(f"dx{count - 1} = torch.ones(2)")
    source += [f"dx{k - 1} = " + forms[k % 3].format(k=k) for k in range(count - 1, 0, -1)]
    path = tmp_path / f"answered{count}.py"
    path.write_text("\n".join(source) + "\n")
    return str(path)


def test_a_line_is_checked_by_what_it_reads_and_reaches_alone(tmp_path, monkeypatch):
    copies = counting(monkeypatch, runner.Copies, "copied")
    walks = counting(monkeypatch, reference, "reads")
    found = []
    for count in (20, 40, 80):
        copies.clear()
        walks.clear()
        assert check_file(answered(tmp_path, count))[1].ok
        found.append((copies["copied"], walks["reads"]))
    assert all(b < 3 * a for a, b in itertools.pairwise(copied for copied, _ in found))
    assert all(b < 3 * a for a, b in itertools.pairwise(walked for _, walked in found))


def test_a_long_list_is_one_argument(tmp_path, monkeypatch):
    calls = counting(monkeypatch, drafts.Drafts, "draft")
    found = []
    for rows in (10, 1000):
        path = tmp_path / f"net{rows}.py"
        path.write_text(
            f"import torch\nrows = [[0, 1, 2] for _ in range({rows})]\nX = torch.tensor(rows)\n"
            "W = torch.ones(3, 2, requires_grad=True)\nloss = (X[:4].float() @ W).sum()\n"
        )
        calls.clear()
        trace_file(str(path))
        found.append(calls["draft"])
    assert found[0] == found[1]


def test_walking_yields_operands_first_each_node_once():
    def forward(x):
        return ((x * x + x.sin()) * (x.sin() + 1)).sum()

    line = hg.trace(forward, torch.ones(2)).lines[-1]
    order = [id(node) for node in walk(line.expr)]
    assert len(order) == len(set(order))
    assert order[-1] == id(line.expr)
    assert names(line.expr) == ["x"]


def test_a_power_is_not_expanded_by_its_value():
    assert ONE**10**18 == ONE
    assert (constant(2) ** 5, constant(2) ** -2) == (constant(32), constant(4).inverse())
    assert symbol("n") ** 3 == symbol("n") * symbol("n") * symbol("n")


@pytest.mark.parametrize(
    "forward",
    [
        lambda s: s.masked_fill(torch.ones(4, 4, dtype=torch.bool).triu(1), -1e9).softmax(-1),
        lambda s: torch.exp(s * -1e9).sum(),
        lambda s: (2 * s) ** 2000,
        lambda s: s.exp() ** 5000,
        lambda s: torch.exp(100000 * torch.log(s)).sum(),
    ],
    ids=["a masked softmax", "an exponential", "a power", "a power of one", "of a logarithm"],
)
def test_a_large_number_in_an_exponent_is_a_number(forward):
    s = torch.rand(4, 4, dtype=torch.float64) * 1e-3
    trace = hg.trace(lambda s: forward(s).sum(), s)
    assert not hg.simplify(hg.derive(trace), seconds=60).notes


def test_an_unknown_op_runs_at_the_traced_sizes_only(monkeypatch):
    def forward(v, g):
        w = torch._weight_norm(v, g, 0)
        return (w * w).sum()

    seen = set()
    original = torch._weight_norm

    def spied(v, g, dim):
        seen.add(tuple(v.shape))
        return original(v, g, dim)

    backward = hg.derive(hg.trace(forward, torch.randn(4, 2, 2), torch.randn(4, 1, 1)))
    monkeypatch.setattr(torch, "_weight_norm", spied)
    result = hg.simplify(backward)
    assert seen == {(4, 2, 2)}
    assert any("torch._weight_norm" in note for note in result.notes)


def test_simplify_gives_up_in_time_and_says_so():
    def forward(x, w):
        logits = x @ w
        p = logits.softmax(1)
        loss = -(p.log() * p).sum(1).mean()
        return loss

    backward = hg.derive(hg.trace(forward, torch.randn(5, 3), torch.randn(3, 4)))
    result = hg.simplify(backward, seconds=0)
    assert [each.line.text for each in result.lines] == [e.line.text for e in backward.lines]
    assert "0 s" in result.notes[0]
    assert result.steps == ()
    assert not hg.simplify(backward).notes
