"""The same verdict with the sandbox and without: what is run is Python's, who judges is another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handgrad.check.frame import Checked
from handgrad.check.report import Verdict
from handgrad.check.sandbox import Limits, Sandbox, Target, check_apart
from handgrad.check.unlimited import check_here
from handgrad.errors import HandgradError, UserCodeFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

HEAD = """\
import torch
torch.manual_seed(0)
x = torch.randn(4, 3)
W1 = torch.randn(3, 5, requires_grad=True)
W2 = torch.randn(5, 2, requires_grad=True)
a1 = torch.tanh(x @ W1)
z = a1 @ W2
loss = (z**2).mean()
dz = 2 * z / z.numel()
"""
RIGHT = """\
da1 = dz @ W2.T
dW2 = a1.T @ dz
dW1 = x.T @ ((1 - a1**2) * da1)
"""
CHANGES = {
    "a name of the forward pass": "a1 *= 2",
    "a method": "a1.mul_(2)",
    "an entry": "a1[0, 0] = 7.0",
    "another name of it": "b = a1\nb *= 2",
    "a view of it": "b = a1.view(-1)\nb += 1",
    "a function of the file's": "def f(t):\n    t *= 2\nf(a1)",
    "under no_grad": "with torch.no_grad():\n    a1 *= 2",
    "a new tensor": "a1 = a1 * 2",
    "a loop": "for k in range(3):\n    a1 += k",
}
OK = {
    "nothing": RIGHT,
    "after all gradients": RIGHT + "a1 *= 2\n",
    "an update": RIGHT + "with torch.no_grad():\n    W1 -= 0.1 * dW1\n    W2 -= 0.1 * dW2\n",
    "an update without it": RIGHT + "for p, g in ((W1, dW1), (W2, dW2)):\n    p.data -= 0.1 * g\n",
    "taken back": "a1 *= 2\na1 /= 2\n" + RIGHT,
    "reckoned with": "da1 = dz @ W2.T\na1 *= 2\ndW2 = (a1 / 2).T @ dz\n"
    "dW1 = x.T @ ((1 - (a1 / 2)**2) * da1)\n",
    "to make the derivative": "da1 = dz @ W2.T\ndW2 = a1.T @ dz\na1 *= a1\ndW1 = x.T @ ((1 - a1) * da1)\n",
    "a copy": "b = a1.clone()\nb *= 2\n" + RIGHT,
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(warm=True) as made:
        made.control.recv(100)  # it is ready
        yield made


def both(text: str, sandbox: Sandbox, folder: Path) -> list[Checked | HandgradError]:
    """Return what a check comes to, with the sandbox and without."""
    path = folder / "net.py"
    path.write_text(text)
    found: list[Checked | HandgradError] = []
    for way in (lambda t: check_apart(t, Limits(20), sandbox), check_here):
        try:
            found.append(way(Target(str(path))))
        except HandgradError as error:
            found.append(error)
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_statement_changes_is_changed_for_the_next(name, sandbox, tmp_path):
    one, two = both(HEAD + CHANGES[name] + "\n" + RIGHT, sandbox, tmp_path)
    assert isinstance(one, Checked), one
    assert isinstance(two, Checked), two
    assert one.report.to_dict() == two.report.to_dict()
    verdicts = {row.name: row.verdict for row in one.report.rows}
    assert verdicts["da1"].good
    assert verdicts["dW2"] is verdicts["dW1"] is Verdict.WRONG


def test_a_change_that_no_version_counts_is_no_pass(sandbox, tmp_path):
    for found in both(HEAD + "a1.data.mul_(2)\n" + RIGHT, sandbox, tmp_path):
        assert isinstance(found, Checked), found
        assert not any(row.verdict.good for row in found.report.rows if row.name in ("dW1", "dW2"))


@pytest.mark.parametrize("name", OK)
def test_a_change_that_no_gradient_suffers_from(name, sandbox, tmp_path):
    one, two = both(HEAD + OK[name], sandbox, tmp_path)
    assert isinstance(one, Checked), one
    assert isinstance(two, Checked), two
    assert one.report.to_dict() == two.report.to_dict()
    assert one.report.ok, str(one.report)


@pytest.mark.parametrize(
    "first",
    [
        "torch.allclose = torch.equal = lambda *a, **k: True",
        "torch.autograd.grad = lambda *a, **k: (torch.zeros(1),)",
        "import handgrad.check.judge as j\nj.equal = lambda *a: True",
        "import handgrad.check.report as r\nr.Report.ok = property(lambda s: True)\nr.Report.exit_code = 0",
        "import handgrad.check.compare as c\nc.verdict_of = lambda *a: (c.Verdict.CORRECT, '')",
        "import gc",
    ],
)
def test_a_file_that_changes_who_judges_is_judged_all_the_same(first, sandbox, tmp_path):
    wrong = RIGHT.replace("1 - a1**2", "1 - a1")
    for found in both(HEAD + first + "\n" + wrong, sandbox, tmp_path):
        assert isinstance(found, HandgradError) or not found.report.ok
        assert getattr(found, "exit_code", 1) != 0


@pytest.mark.parametrize(
    "line", ["import os; os._exit(0)", "import sys; sys.exit(0)", "1 / 0", "import os; os.abort()"]
)
def test_a_file_that_ends_itself_has_no_verdict(line, sandbox, tmp_path):
    for found in both(HEAD + line + "\n" + RIGHT, sandbox, tmp_path):
        if isinstance(found, Checked):  # the line raised, and the others ran
            assert line == "1 / 0"
            continue
        assert isinstance(found, UserCodeFailed)


def test_without_it_the_file_has_its_surroundings(tmp_path, monkeypatch, capfd):
    (tmp_path / "net.py").write_text(
        f"import os\nprint(os.environ['TOKEN'], os.getcwd())\nopen('left.txt', 'w').write('x')\n{HEAD}{RIGHT}"
    )
    monkeypatch.setenv("TOKEN", "t0ken")
    monkeypatch.chdir(tmp_path)
    assert check_here(Target("net.py")).report.ok
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"t0ken {tmp_path}\n"
    assert (tmp_path / "left.txt").exists()


def test_the_backward_pass_may_import_from_its_folder(sandbox, tmp_path):
    (tmp_path / "by_hand_helpers.py").write_text("def half(t):\n    return t / 2\n")
    body = "from by_hand_helpers import half\n" + RIGHT.replace("dz @", "half(2 * dz) @")
    for found in both(HEAD + body, sandbox, tmp_path):
        assert isinstance(found, Checked), found
        assert found.report.ok, str(found.report)
