"""`handgrad check` and `handgrad watch`: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from handgrad.check.frame import Checked
from handgrad.check.picture import Picture
from handgrad.check.report import Diagnosis, Report, Row, Verdict
from handgrad.cli import main
from handgrad.render import checked as text
from handgrad.render.verdicts import Shown

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

FORWARD = """\
import torch
x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
W = torch.tensor([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], requires_grad=True)
b = torch.zeros(1, 2, requires_grad=True)
h = x @ W + b
loss = (h**2).mean()
"""
BACKWARD = """\
dh = 2 * h / h.numel()
dW = x.T @ dh
db = dh.sum(0, keepdim=True)
"""
START = "import sys; from handgrad.cli import main; sys.exit(main())"
WRONG = BACKWARD.replace(", keepdim=True", "")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.py"
    path.write_text(FORWARD + WRONG)
    return path


def check(*arguments: str) -> int:
    """Run the command in this process, the file too: a process of its own has its own tests."""
    return main(["check", "--no-sandbox", *arguments])


def test_a_wrong_line_is_named_with_its_source(net: Path, capsys: pytest.CaptureFixture[str]):
    assert check("net.py") == 1
    out, err = capsys.readouterr()
    assert "✗ wrong shape  db        [2]     True   True    0        9" in out
    assert "net.py:9: db: right value, wrong shape\n    db = dh.sum(0)\n" in out
    assert "try: db = dh.sum(0, keepdim=True)" in out
    assert out.endswith("2 of 3 right; wrong: db (line 9)\n")
    assert not err


def test_in_a_process_of_its_own(net: Path, capsys: pytest.CaptureFixture[str]):
    net.write_text("print('hello')\n" + FORWARD + BACKWARD)
    assert main(["check", "net.py"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("3 of 3 right\n")
    assert err == "hello\n"


def test_only_and_all(net: Path, capsys: pytest.CaptureFixture[str]):
    assert check("net.py", "--only", "dW", "--only", "h", "--all") == 0
    out = capsys.readouterr().out
    assert "    dW = x.T @ dh\n" in out
    assert "db" not in out
    assert check("net.py", "--only", "dV") == 2
    assert "try: it has dh, dW, db" in capsys.readouterr().err


def test_two_files(net: Path, capsys: pytest.CaptureFixture[str]):
    Path("forward.py").write_text(FORWARD)
    Path("mine.py").write_text(BACKWARD)
    assert check("--forward", "forward.py", "--backward", "mine.py") == 0
    assert check("mine.py", "--forward", "forward.py") == 0
    assert check("mine.py", "--backward", "mine.py") == 2
    assert check() == 2


def test_a_backward_file_that_handgrad_wrote(net: Path, capsys: pytest.CaptureFixture[str]):
    Path("forward.py").write_text(FORWARD)
    assert main(["derive", "forward.py", "--output", "written.py"]) == 0
    assert "= saved" in Path("written.py").read_text()
    capsys.readouterr()
    assert check("--forward", "forward.py", "--backward", "written.py") == 0
    assert main(["check", "--forward", "forward.py", "--backward", "written.py"]) == 0


def test_a_line_in_a_file_of_its_own_that_reads_a_gradient_beside_it(
    net: Path, capsys: pytest.CaptureFixture[str]
):
    drawn = ", ".join(f"torch.randn({s}).requires_grad_()" for s in ("5, 3", "3, 2", "5, 2"))
    text = f"import torch\ntorch.manual_seed(0)\nx, w, y = {drawn}\np = x @ w\n"
    Path("forward.py").write_text(text + "loss = ((p - y) ** 2).mean()\n")
    lines = "import torch\ndp = 2 * (p - y) / p.numel()\ndw = x.T @ dp\ndx = dp @ w.T\n"
    Path("mine.py").write_text(lines + "dy = -dp\n")
    for way in (check, lambda *args: main(["check", *args])):
        assert way("--forward", "forward.py", "--backward", "mine.py") == 0
        assert capsys.readouterr().out.endswith("4 of 4 right\n")
    Path("mine.py").write_text(lines + "dy = -2 * dp\n")
    for way in (check, lambda *args: main(["check", *args])):
        assert way("--forward", "forward.py", "--backward", "mine.py") == 1
        assert "wrong: dy (line 5)" in capsys.readouterr().out


def test_a_function_as_the_forward_pass(net: Path, capsys: pytest.CaptureFixture[str]):
    net.write_text(
        "import torch\nx = torch.ones(3, 2)\n"
        "def net(x):\n    h = x.tanh()\n    return (h * h).mean()\n"
        "def backward(x, h):\n"
        "    dh = 2 * h / h.numel()\n    dx = (1 - h**2) * dh\n    return {'dx': dx}\n"
    )
    code = check("net.py:net")
    assert code == 0, capsys.readouterr()


def test_json(net: Path, capsys: pytest.CaptureFixture[str]):
    assert check("net.py", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == 1
    assert [row["name"] for row in found["rows"]] == ["dh", "dW", "db"]
    assert found["rows"][2]["verdict"] == "right value, wrong shape"


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        (FORWARD + "dh = 0 * h\ndW = x.T @ dh\ndb = dh.sum(0, keepdim=True)\n", 1, "dh: wrong"),
        (FORWARD, 2, "no line writes a gradient"),
        ("1 / 0\n" + FORWARD + BACKWARD, 3, "net.py:1: ZeroDivisionError"),
        ("x = (\n", 3, "net.py:1: SyntaxError"),
        (
            FORWARD.replace("(h**2)", "(0 * h**2)") + "dh = 0 * h\ndW = 0 * W\ndb = 0 * b\n",
            5,
            "untested",
        ),
    ],
)
def test_exit_codes(net: Path, capsys: pytest.CaptureFixture[str], source, code, says):
    net.write_text(source)
    assert check("net.py") == code
    assert says in "".join(capsys.readouterr())


def test_bad_options(net: Path, capsys: pytest.CaptureFixture[str]):
    assert check("net.py", "--time", "0") == 2
    assert check("net.py", "--memory", "0.1") == 2
    assert check("net.py", "--format", "pdf") == 2
    assert check("nothing.py") == 2


def test_a_limit_is_exit_code_3(net: Path, capsys: pytest.CaptureFixture[str]):
    net.write_text("while True: pass\n")
    assert main(["check", "net.py", "--time", "0.5", "--format", "github"]) == 3
    out, err = capsys.readouterr()
    assert err.startswith("net.py:1: stopped after 0.5 s, here\n    while True: pass\n")
    assert out.startswith("::error file=net.py,line=1,title=check::net.py%3A1".replace("%3A", ":"))


def shown(*rows: Row, **pictures: Picture) -> Shown:
    """Return rows to be shown."""
    return Shown(Checked(Report(rows), pictures), "a,b:c.py")


def test_junit(net: Path):
    rows = (
        Row("dh", Verdict.CORRECT, number=7),
        Row("dW", Verdict.WRONG, line="dW = 1 < 2 & \x00", number=8, note="50 % off"),
        Row("db", Verdict.UNTESTED, number=9),
    )
    suite = ElementTree.fromstring(text.junit(shown(*rows)))
    counts = {key: suite.get(key) for key in ("tests", "failures", "skipped", "errors")}
    assert counts == {"tests": "3", "failures": "1", "skipped": "1", "errors": "0"}
    assert [case.get("name") for case in suite] == ["dh", "dW", "db"]
    assert "dW = 1 < 2 & \\x00" in (suite[1][0].text or "")


def test_github_commands_are_escaped():
    why = Diagnosis("sign", "100% wrong\nhere", "times -1", "dW = -dW")
    out = text.github(shown(Row("dW", Verdict.WRONG, number=3, diagnosis=why)))
    assert out.splitlines()[0] == (
        "::error file=a%2Cb%3Ac.py,line=3,title=dW::"
        "dW: wrong%0A100%25 wrong%0Ahere%0Atimes -1%0Atry: dW = -dW"
    )


def test_a_picture_is_drawn_where_it_helps():
    row = Row("dW", Verdict.WRONG, number=3, shape=(2, 2), expected_shape=(2, 2))
    some = Picture(((0.0, 1.0), (0.2, 0.0)), (2, 2), 2, 4)
    assert "  .#\n  -.\n  2 of 4 entries differ" in text.plain(shown(row, dW=some))
    every = Picture(((1.0, 1.0), (1.0, 1.0)), (2, 2), 4, 4)
    assert "entries differ" not in text.plain(shown(row, dW=every))


def test_the_command_does_not_import_torch(net: Path):
    code = (
        "import sys; from handgrad.cli import main; "
        "assert main(['check', 'net.py']) == 1; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def terminal(net: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start `handgrad watch net.py` in a terminal of its own."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-c", START, "watch", "net.py"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"},
        start_new_session=True,
    )
    yield process, ours
    process.terminate()
    process.wait(10)
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def read_until(terminal: int, wanted: str, seconds: float = 30) -> str:
    """Read from a terminal until a text has come."""
    found, until = b"", time.monotonic() + seconds
    while wanted not in found.decode(errors="replace"):
        assert time.monotonic() < until, found.decode(errors="replace")
        if select.select([terminal], [], [], 0.1)[0]:
            found += os.read(terminal, 65536)
    return found.decode(errors="replace")


@pytest.mark.slow
def test_watch_in_a_terminal(terminal: tuple[subprocess.Popen[bytes], int], net: Path):
    process, screen = terminal
    assert "try:" not in read_until(screen, " s ")
    os.write(screen, b"h")
    read_until(screen, "try: ")
    beside = net.with_suffix(".new")
    beside.write_text(FORWARD + BACKWARD)
    beside.replace(net)
    read_until(screen, "3 of 3 right")
    os.write(screen, b"q")
    read_until(screen, "\x1b[?1049l")
    assert process.wait(10) == 0


@pytest.mark.slow
def test_watch_in_a_pipe(net: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", START, "watch", "net.py"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    read_until(process.stdout.fileno(), "2 of 3 right")
    net.write_text(FORWARD + BACKWARD)
    read_until(process.stdout.fileno(), "3 of 3 right")
    process.terminate()
    process.communicate(timeout=10)
