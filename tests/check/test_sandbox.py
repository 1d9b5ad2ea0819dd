"""Hostile and broken files: the parent lives, says what happened, and nothing is left behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from handgrad.check.frame import BadFrame, Checked, checked, dumps, loads
from handgrad.check.keeper import Heard, Output
from handgrad.check.report import Verdict
from handgrad.check.sandbox import Limits, Sandbox, Target, check_apart, from_root
from handgrad.errors import BadInput, HandgradError, UserCodeFailed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

HEAD = """\
import torch
x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
W = torch.tensor([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], requires_grad=True)
h = x @ W
loss = (h**2).mean()
"""
TAIL = """\
dh = 2 * h / h.numel()
dW = x.T @ dh
"""
SECONDS = 1.5


@dataclass(frozen=True)
class Case:
    """A file and what is to come of it.

    Attributes:
        text: the file.
        says: what the error says; None where there is a report.
        line: the line that it names, 0 for none.
        good: whether the report is all right.
        kind: the class of the error.
        prints: what must be in the output.
        seconds: how long it may run.
        name: of the file.
    """

    text: str | bytes
    says: str | None = None
    line: int = 0
    good: bool = True
    kind: type[HandgradError] = UserCodeFailed
    prints: str = ""
    seconds: float = SECONDS
    name: str = "net.py"


def first(*lines: str) -> str:
    """Return the file with lines at its top."""
    return "\n".join(lines) + "\n" + HEAD + TAIL


CASES = {
    "infinite loop in front": Case(first("while True: pass"), "stopped after", 1, seconds=0.8),
    "infinite loop in backward": Case(
        HEAD + TAIL + "while True:\n    dW = dW * 1\n", "stopped after", 0, seconds=0.8
    ),
    "sleep": Case(first("import time", "time.sleep(1000)"), "stopped after", 2, seconds=0.5),
    "sleep that ignores signals": Case(
        first(
            "import signal, time",
            "for s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)",
            "time.sleep(1000)",
        ),
        "stopped after",
        3,
        seconds=0.5,
    ),
    "deadlock": Case(
        first("import threading", "a = threading.Lock()", "a.acquire()", "a.acquire()"),
        "stopped after",
        4,
        seconds=0.5,
    ),
    "deep recursion": Case(first("def f(n):", "    return f(n + 1)", "f(0)"), "RecursionError", 2),
    "recursion without a limit": Case(
        first("import sys", "sys.setrecursionlimit(10**9)", "def f():", "    return f()", "f()"), ""
    ),
    "100 GB": Case(first("big = bytearray(100 * 10**9)"), "MemoryError", 1),
    "100 GB of torch": Case(
        first("import torch", "big = torch.zeros(100 * 10**9 // 4)"), "asked for 100.0 GB", 2
    ),
    "slow leak": Case(
        first("kept = []", "while True:", "    kept.append(bytearray(10**8))"), "", 3
    ),
    "100 MB print": Case(
        first("while True:", "    print('x' * 10**6)"), "it printed", 0, seconds=20
    ),
    "3 MB print": Case(
        first("print('start')", "print('x' * 3 * 10**6)", "print('end')"), prints="end"
    ),
    "os._exit(0)": Case(first("import os", "os._exit(0)"), "exit status 0", 2),
    "segfault": Case(first("import ctypes", "ctypes.string_at(0)"), "SIGSEGV (segmentation", 2),
    "abort": Case(first("import os", "os.abort()"), "SIGABRT", 2),
    "SIGKILL": Case(first("import os", "os.kill(os.getpid(), 9)"), "SIGKILL"),
    "kills its group": Case(first("import os", "os.killpg(0, 15)"), ""),
    "small fork bomb": Case(
        first(
            "import os, time",
            "try:",
            "    for _ in range(7): os.fork()",
            "except OSError: pass",
            "time.sleep(1000)",
        ),
        "",
    ),
    "daemon": Case(
        first(
            "import os, time",
            "if not os.fork():",
            "    os.setsid()",
            "    if not os.fork():",
            "        time.sleep(1000)",
            "    os._exit(0)",
            "os.wait()",
        )
    ),
    "shell left running": Case(
        first("import subprocess", "subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    ),
    "threads left": Case(
        first("import threading, time", "threading.Thread(target=time.sleep, args=(1000,)).start()")
    ),
    "atexit": Case(first("import atexit, time", "atexit.register(time.sleep, 1000)")),
    "closed stdout": Case(
        first("import os, sys", "sys.stdout.close()", "os.close(1)", "os.close(2)")
    ),
    "fake frame": Case(
        first(
            "import os",
            "for fd in range(3, 40):",
            '    try: os.write(fd, b\'{"kind": "report", "nonce": "0"}\\n[\')',
            "    except OSError: pass",
        )
    ),
    "writes to its folder": Case(first("open('left.txt', 'w').write('x')")),
    "huge exception": Case(first("raise ValueError('x' * 10**7)"), "ValueError", 1),
    "not UTF-8 printed": Case(
        first("import os", r"os.write(1, b'\xff\xfe')", r"print('\udc80')"), prints="\\xff"
    ),
    "syntax error": Case("import torch\nx = = 1\n", "SyntaxError", 2),
    "BOM and CRLF": Case(b"\xef\xbb\xbf" + (HEAD + TAIL).replace("\n", "\r\n").encode()),
    "tabs": Case(HEAD + "if True:\n\tdh = 2 * h / h.numel()\n\tdW = x.T @ dh\n"),
    "mixed tabs": Case(HEAD + "if True:\n\tdh = h\n        dW = h\n", "TabError", 8),
    "null bytes": Case(b"x = 1\0\n", "binary", kind=BadInput),
    "not UTF-8": Case(b"x = '\xff'\n", "UTF-8", kind=BadInput),
    "missing import": Case(first("import no_such_module"), "ModuleNotFoundError", 1),
    "input()": Case(first("name = input('? ')"), "EOFError", 1),
    "argv": Case(first("import sys", "assert len(sys.argv) == 1")),
    "sys.exit": Case(first("import sys", "sys.exit(0)"), "exit(0)", 0),
    "sys.exit in backward": Case(HEAD + "import sys\nsys.exit(3)\n" + TAIL, "exit(3)", 7),
    "allclose replaced": Case(
        HEAD + "dh = 3 * h / h.numel()\ndW = x.T @ dh\n"
        "torch.allclose = torch.equal = lambda *a, **k: True\n",
        good=False,
    ),
    "deleted names": Case(HEAD + "del torch\n" + TAIL),
    "torch shadowed": Case(HEAD + "torch = 5\n" + TAIL),
    "generator misuse": Case(HEAD + "dh = (2 * v for v in h)\ndW = x.T @ dh\n", good=False),
    "recursion in backward": Case(
        HEAD + "def f(n): return f(n)\ndh = f(h)\ndW = x.T @ dh\n", good=False
    ),
    "warnings": Case(first("import warnings", "warnings.warn('careful')"), prints="careful"),
    "NaN": Case(HEAD + "dh = h * float('nan')\ndW = x.T @ dh\n", good=False),
    "20,000 lines": Case(
        HEAD + "\n".join(f"a{k} = {k}" for k in range(20_000)) + "\n" + TAIL, seconds=30
    ),
    "names in other alphabets": Case(
        "import torch\nα = torch.ones(3, requires_grad=True)\nloss = (α * α).sum()\ndα = 2 * α\n"
    ),
    "spaces and quotes": Case(HEAD + TAIL, name="""a 'b" c/my net.py"""),
    "leading dash": Case(HEAD + TAIL, name="-net.py"),
    "line break in the name": Case(HEAD + "1/0\n" + TAIL, name="a\nb.py"),
    "empty": Case("", "empty", kind=BadInput),
    "no backward": Case(HEAD, "no line writes", kind=BadInput),
}
SLOW = {"recursion without a limit", "20,000 lines", "slow leak"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(warm=True) as made:
        made.control.recv(100)  # it is ready
        yield made


def below(process: int) -> list[int]:
    """Return the living processes below one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == process and state not in "ZX":
            child = int(stat.parent.name)
            found += [child, *below(child)]
    return found


def listing(folder: Path) -> set[str]:
    """Return every file in a folder."""
    return {str(path) for path in folder.rglob("*")}


def outcome(
    target: Target, limits: Limits, sandbox: Sandbox
) -> tuple[Checked | HandgradError, list[str]]:
    """Check a file and return the result or the error, and what was printed."""
    printed: list[str] = []
    try:
        return check_apart(target, limits, sandbox, printed.append), printed
    except HandgradError as error:
        return error, printed


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]
)
def test_file(name: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    case = CASES[name]
    path = tmp_path / case.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.text if isinstance(case.text, bytes) else case.text.encode())
    monkeypatch.chdir(tmp_path)
    files, limits = listing(tmp_path), Limits(case.seconds, 2 * 2**30)
    began = time.monotonic()
    found, printed = outcome(Target(case.name), limits, sandbox)
    taken = time.monotonic() - began
    assert taken < case.seconds + 2
    assert sandbox.process.poll() is None, "the keeper is gone"
    assert not below(sandbox.process.pid), "processes are left"
    assert listing(tmp_path) == files, "files are left"
    assert not listing(Path(sandbox.folder)), "files are left in the temporary folder"
    assert case.prints in "".join(printed)
    if case.says is None:
        assert isinstance(found, Checked), found
        assert found.report.ok is case.good, str(found.report)
    else:
        assert isinstance(found, case.kind), found
        assert case.says in found.what
        if case.line:
            assert found.where == f"{case.name}:{case.line}"


def test_there_are_enough_cases():
    assert len(CASES) >= 40


def test_a_link_and_a_file_beside_it(sandbox: Sandbox, tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "net.py").write_text(
        "import helper\nhelper.x\n" + first("assert open('data.txt').read() == 'ok'")
    )
    (tmp_path / "helper.py").write_text("x = 1\n")
    (tmp_path / "data.txt").write_text("ok")
    link = tmp_path / "link.py"
    link.symlink_to(tmp_path / "real" / "net.py")
    (tmp_path / "real" / "helper.py").write_text("x = 1\n")
    found, _ = outcome(Target(str(link)), Limits(SECONDS), sandbox)
    assert isinstance(found, Checked), found
    assert found.report.ok


def test_what_is_read_beside_the_file_is_a_copy(sandbox: Sandbox, tmp_path: Path):
    data = tmp_path / "data.txt"
    data.write_text("old")
    path = tmp_path / "net.py"
    path.write_text(first("open('data.txt').read()", "open('data.txt', 'w').write('new')"))
    found, _ = outcome(Target(str(path)), Limits(SECONDS), sandbox)
    assert isinstance(found, Checked), found
    assert data.read_text() == "old"


def test_a_file_that_changes_meanwhile_is_told_of(sandbox: Sandbox, tmp_path: Path):
    path = tmp_path / "net.py"
    path.write_text(first("import time", "time.sleep(0.5)"))

    def save() -> None:
        path.write_text(path.read_text() + "#")

    found = check_apart(Target(str(path)), Limits(SECONDS), sandbox, meanwhile=save)
    assert "changed while it ran" in found.notes[0]


def test_the_environment_is_empty(sandbox: Sandbox, tmp_path: Path, monkeypatch):
    path = tmp_path / "net.py"
    path.write_text(first("import os", "print(sorted(os.environ), os.getcwd(), os.getuid())"))
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    with Sandbox() as own:
        _, printed = outcome(Target(str(path)), Limits(10), own)
    assert "SECRET_TOKEN" not in printed[0]
    assert str(Path.cwd()) + "'" not in printed[0]


def test_asking_autograd_is_pointed_out(sandbox: Sandbox, tmp_path: Path):
    path = tmp_path / "net.py"
    path.write_text(
        HEAD + "loss.backward()\ndh = 2 * h / h.numel()\n"
        "with torch.enable_grad():\n"
        "    dW = torch.autograd.grad((x @ W * dh).sum(), W)[0]\n"
    )
    found, _ = outcome(Target(str(path)), Limits(10), sandbox)
    assert isinstance(found, Checked), found
    dh, dw = found.report.rows
    assert dh.note == ""
    assert "asks autograd: torch.autograd.grad" in dw.note


def test_where_it_is_wrong_is_drawn(sandbox: Sandbox, tmp_path: Path):
    path = tmp_path / "net.py"
    path.write_text(HEAD + "dh = 2 * h / h.numel()\ndh[0, 1] = 0\ndW = x.T @ dh\n")
    found, _ = outcome(Target(str(path)), Limits(SECONDS), sandbox)
    assert isinstance(found, Checked), found
    picture = found.pictures["dh"]
    assert picture.wrong == 1
    assert picture.helps
    assert [bool(cell) for row in picture.cells for cell in row] == [False, True, False, False]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["report"]["rows"][0].update(name=5), "name"),
        (lambda d: d["report"]["rows"][0].update(verdict="great"), "verdict"),
        (lambda d: d["report"]["rows"][0].update(shape=[-1]), "sizes"),
        (lambda d: d["report"]["rows"][0].update(exact="yes"), "exact"),
        (lambda d: d["report"]["rows"][0].update(maxdiff="0"), "number"),
        (lambda d: d["report"]["rows"].extend(d["report"]["rows"] * 6000), "rows"),
        (lambda d: d["report"].update(supplied="all"), "supplied"),
        (lambda d: d.update(report=[]), "report"),
        (lambda d: d.update(pictures={"dh": {"cells": []}}), "picture"),
    ],
)
def test_a_frame_is_looked_at_field_by_field(change: Callable[[dict], None], says: str):
    row = {
        "name": "dh",
        "verdict": "correct",
        "shape": [2],
        "expected_shape": [2],
        "exact": True,
        "approximate": True,
        "maxdiff": 0,
        "note": "",
        "line": "",
        "number": 1,
        "inherits": False,
        "diagnosis": None,
    }
    data = {"report": {"rows": [row], "supplied": [], "told": []}, "pictures": {}}
    assert checked(data).report.rows[0].verdict is Verdict.CORRECT
    change(data)
    with pytest.raises(BadFrame, match=says):
        checked(data)


def test_only_lines_with_the_nonce_are_frames():
    heard = Heard("secret")
    heard.add_frames(b'junk{"kind": "report", "nonce": "guess"}\n[[[[')
    whole = dumps({"kind": "report", "nonce": "secret"})
    heard.add_frames(whole[:9])
    assert heard.frame is None
    heard.add_frames(whole[9:])
    assert heard.frame == {"kind": "report"}
    assert loads(b"[" * 100_000) is None


def test_output_keeps_its_ends():
    output = Output()
    for number in range(100_000):
        output.add(b"%06d " % number)
    text = output.text()
    assert text.startswith("000000 ")
    assert text.endswith("099999 ")
    assert "568,928 bytes left out" in text


def test_a_path_keeps_its_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert from_root("a/../-b.py") == os.fspath(tmp_path / "-b.py")
