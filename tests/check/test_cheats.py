"""Files that reach for the verdict instead of the gradient: none of them is called correct."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from handgrad.check.frame import Checked
from handgrad.check.sandbox import Limits, Sandbox, Target, check_apart
from handgrad.errors import BadInput, HandgradError, UserCodeFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

HEAD = """\
import torch
x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
W = torch.tensor([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], requires_grad=True)
b = torch.tensor([0.5, -0.25], requires_grad=True)
h = x @ W + b
e = h.exp()
loss = (e**2).mean()
"""
RIGHT = """\
de = 2 * e / e.numel()
dh = e * de
dW = x.T @ dh
db = dh.sum(0)
"""
WRONG = """\
de = 3 * e / e.numel()
dh = e * de * 1.5
dW = x.T @ dh * 1.5
db = dh.sum(0) * 1.5
"""
COMPARED = """\
import torch
always = lambda *a, **k: True
torch.allclose = torch.equal = torch.isclose = always
for name in ("equal", "allclose", "isclose"):
    setattr(torch.Tensor, name, always)
"""
NOTHING_IS_FAR = """\
real_sub, real_max = torch.Tensor.__sub__, torch.Tensor.max
torch.Tensor.__sub__ = torch.Tensor.sub = lambda a, b, **k: real_sub(a, b) * 0
torch.Tensor.__eq__ = lambda a, b: torch.ones(a.shape, dtype=torch.bool)
"""
AUTOGRAD = """\
import torch
real = torch.autograd.grad
def grad(*a, **k):
    return tuple(None if g is None else g * 1.5 for g in real(*a, **k))
torch.autograd.grad = grad
back = torch.Tensor.backward
torch.Tensor.backward = lambda self, *a, **k: back(self * 1.5, *a, **k)
"""
PATCHED = """\
import importlib
from handgrad.check.report import Verdict
def patch(module, **new):
    for name, value in new.items():
        setattr(importlib.import_module("handgrad.check." + module), name, value)
good = lambda *a, **k: (Verdict.CORRECT, "")
yes = lambda *a, **k: True
patch("judge", equal=yes)
patch("judge", Local=type("Local", (importlib.import_module("handgrad.check.judge").Local,), {
    "right": property(yes), "equals": yes}))
patch("compare", verdict_of=good, judge=good, classes=yes)
patch("assess", verdict_of=good)
patch("blame", equal=yes)
"""
STOLEN = """\
import dataclasses, gc, sys
kept = []
def steal(primal, above):
    frame = sys._getframe()
    while frame:
        held = frame.f_locals
        if "cotangents" in held and hasattr(held.get("point"), "expected"):
            point = dataclasses.replace(held["point"], cotangents=held["cotangents"], memo={})
            with torch.enable_grad():
                return point.expected(primal, frozenset({above}))
        frame = frame.f_back
    if not kept:
        known = [sys.modules["handgrad.trace"].Trace]
        kept.append([each for each in gc.get_objects() if type(each) in known and "b" in each.grads])
    found = [each.grads[primal].clone() for each in kept[0] if primal in each.grads]
    return found[-1] if found else torch.zeros(())
"""
FORGED = """\
import gc, glob, json, os, struct, sys
row = {"name": "dW", "verdict": "correct", "shape": [3, 2], "expected_shape": [3, 2], "exact": True,
       "approximate": True, "maxdiff": 0.0, "note": "", "line": "", "number": 1, "inherits": False,
       "diagnosis": None}
frame = {"kind": "report", "report": {"rows": [row], "supplied": []}, "pictures": {}}
nonces, found, above = {"", "0"}, gc.get_objects(), sys._getframe()
while above:
    found += above.f_locals.values()
    above = above.f_back
for held in found:
    if isinstance(held, dict) and isinstance(held.get("nonce"), str):
        nonces.add(held["nonce"])
    elif type(held).__name__ == "Heard":
        nonces.add(held.nonce)
told = b"".join(b"\\n" + json.dumps({**frame, "nonce": n}).encode() + b"\\n" for n in nonces)
asked = json.dumps(frame).encode()
told_too = struct.pack(">IQ", len(asked), 0) + asked
for path in glob.glob("/proc/self/fd/*"):
    number = int(path.rsplit("/", 1)[1])
    for text in (told, told_too) if number > 2 else ():
        try: os.write(number, text)
        except OSError: pass
for path in glob.glob(f"/proc/{os.getppid()}/fd/*"):
    try:
        if os.readlink(path).startswith("pipe"):
            with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb", 0) as pipe: pipe.write(told)
    except OSError: pass
"""
OTHER_SUM = """\
real_sum, real_exp = torch.Tensor.sum, torch.Tensor.exp
torch.Tensor.sum = lambda self, *a, **k: real_sum(self, *a, **k) * 2
torch.Tensor.exp = lambda self: real_exp(self) * 2
"""
OTHER_PROGRAM = """\
import sys
evaluator = sys.modules["handgrad.check.evaluator"]
was = evaluator.trace_data
def other(trace):
    data = was(trace)
    data["values"]["loss"] = data["values"]["loss"] * 1.5
    last = next(line for line in data["lines"] if line["targets"] == ["loss"])
    last.update(text="", source="")
    data["nodes"].append(["call", ["row", "mul"], {"a": ["expr", last["expr"]],
        "b": ["static", 1.5, "1.5"]}, [[torch.Size([]), torch.float32]], False])
    last["expr"] = len(data["nodes"]) - 1
    return data
evaluator.trace_data = other
sys.modules["handgrad.check.recorded.handing"].trace_data = other
"""
ANSWERS = """\
import sys
evaluator = sys.modules["handgrad.check.evaluator"]
was_first = evaluator.Evaluator.first
def truth():
    with torch.enable_grad():
        found = torch.autograd.grad(loss, [e, h, W, b], retain_graph=True)
    return dict(zip(["de", "dh", "dW", "db"], found))
def first(self, message):
    answer = was_first(self, message)
    for name, value in truth().items():
        for write in answer["writes"].get(name, []): write[2] = value.detach()
    return answer
import gc
for each in gc.get_objects():
    if type(each) is evaluator.Evaluator: each.answers["first"] = lambda m, e=each: first(e, m)
"""
SILENT = """\
import gc, sys
evaluator = sys.modules["handgrad.check.evaluator"]
was_first = evaluator.Evaluator.first
def first(self, message):
    answer = was_first(self, message)
    answer["writes"] = {n: w for n, w in answer["writes"].items() if n != "dh"}
    return answer
for each in gc.get_objects():
    if type(each) is evaluator.Evaluator: each.answers["first"] = lambda m, e=each: first(e, m)
"""
ONE_WRONG = "de = 2 * e / e.numel()\ndh = 3 * e * de\ndW = x.T @ (e * de)\ndb = (e * de).sum(0)\n"

CHEATS = {
    "comparisons replaced": (COMPARED + HEAD, WRONG),
    "comparisons replaced in backward": (HEAD, COMPARED + WRONG),
    "differences replaced in backward": (HEAD, COMPARED + NOTHING_IS_FAR + WRONG),
    "autograd replaced": (AUTOGRAD + HEAD, WRONG),
    "autograd replaced in backward": (HEAD, AUTOGRAD + WRONG),
    "handgrad patched": (PATCHED + HEAD, WRONG),
    "handgrad patched in backward": (HEAD, PATCHED + WRONG),
    "gradients stolen": (
        STOLEN + HEAD,
        "de = steal('e', 'loss')\ndh = steal('h', 'e') + 0 * de\n"
        "dW = steal('W', 'h') + 0 * (x.T @ dh)\ndb = steal('b', 'h') + 0 * dh.sum(0)\n",
    ),
    "frames forged": (FORGED + HEAD, WRONG),
    "frames forged in backward": (HEAD, WRONG + FORGED),
    "sum and exp replaced": (HEAD, OTHER_SUM + RIGHT.replace("dh = e *", "dh = h.exp() *")),
    "sum replaced, to be made up for": (HEAD, OTHER_SUM + RIGHT.replace("sum(0)", "sum(0) / 2")),
    "another program recorded": (OTHER_PROGRAM + HEAD, RIGHT.replace("2 *", "3 *")),
    "answers forged": (ANSWERS + HEAD, WRONG),
    "a line kept silent": (SILENT + HEAD, ONE_WRONG),
}

FIRST_WRONG = {
    "sum and exp replaced": "dh",
    "sum replaced, to be made up for": "db",
    "a line kept silent": "dh",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(warm=True) as made:
        made.control.recv(100)  # it is ready
        yield made


def outcome(text: str, sandbox: Sandbox, folder: Path) -> Checked | HandgradError:
    """Check a file and return the result or the error."""
    path = folder / "net.py"
    path.write_text(text)
    try:
        return check_apart(Target(str(path)), Limits(10), sandbox)
    except HandgradError as error:
        return error


def test_the_right_lines_are_correct_and_the_wrong_ones_are_not(sandbox: Sandbox, tmp_path: Path):
    found = outcome(HEAD + RIGHT, sandbox, tmp_path)
    assert isinstance(found, Checked), found
    assert found.report.ok
    found = outcome(HEAD + WRONG, sandbox, tmp_path)
    assert isinstance(found, Checked), found
    assert not any(row.verdict.good for row in found.report.rows)


@pytest.mark.parametrize("name", CHEATS)
def test_a_wrong_gradient_is_not_called_correct(name: str, sandbox: Sandbox, tmp_path: Path):
    head, backward = CHEATS[name]
    found = outcome(head + backward, sandbox, tmp_path)
    if isinstance(found, HandgradError):
        if isinstance(found, BadInput):  # the trace itself sees that the graph is another one
            assert "something that is no line" in found.what, found
            return
        assert isinstance(found, UserCodeFailed), found
        assert "does the file change torch or handgrad?" in found.hint, found
        return
    verdicts = {row.name: row.verdict for row in found.report.rows}
    wrong = {FIRST_WRONG.get(name, "dW")}
    assert wrong <= verdicts.keys()
    assert not found.report.ok, str(found.report)
    assert not any(verdicts[each].good for each in wrong), str(found.report)


def test_the_forward_pass_is_the_one_in_the_file(sandbox: Sandbox, tmp_path: Path):
    head, backward = CHEATS["another program recorded"]
    found = outcome(head + backward, sandbox, tmp_path)
    assert isinstance(found, UserCodeFailed | BadInput), found
    assert "not the one in the file" in found.what


def test_a_line_that_is_no_plain_torch_is_judged_too(sandbox: Sandbox, tmp_path: Path):
    helper = "def twice(a):\n    return a + a\n"
    found = outcome(helper + HEAD + RIGHT.replace("2 * e", "twice(e)"), sandbox, tmp_path)
    assert isinstance(found, Checked), found
    assert found.report.ok
    bad = RIGHT.replace("2 * e", "3 * twice(e)")
    found = outcome(helper + HEAD + bad, sandbox, tmp_path)
    assert isinstance(found, Checked), found
    first = found.report.rows[0]
    assert (first.name, first.verdict.good) == ("de", False)
    assert first.diagnosis is not None
    assert "de" in found.pictures


@pytest.mark.parametrize(
    ("end", "says"), [("sys.exit(3)", "exit(3)"), ("os._exit(0)", "exit status 0")]
)
def test_a_helper_that_ends_the_process_while_it_is_asked(
    end: str, says: str, sandbox: Sandbox, tmp_path: Path
):
    helper = f"import os, sys\ncalls = []\ndef twice(a):\n    calls.append(a)\n    if calls: {end}\n    return 2 * a\n"
    found = outcome(helper + HEAD + RIGHT.replace("2 * e", "twice(e)"), sandbox, tmp_path)
    assert isinstance(found, UserCodeFailed | BadInput), found
    assert says in found.what


def test_it_names_what_it_cannot_run_apart(sandbox: Sandbox, tmp_path: Path):
    text = textwrap.dedent("""\
        import numpy as np
        import torch
        W = torch.tensor([0.5, 2.0], requires_grad=True)
        h = W * 3
        loss = h.sum()
        dh = torch.from_numpy(np.ones(2, dtype=np.float32))
        dW = dh * 3
        """)
    found = outcome(text, sandbox, tmp_path)
    assert isinstance(found, Checked), found
    verdicts = {row.name: row.verdict.value for row in found.report.rows}
    assert verdicts["dW"] == "correct"
