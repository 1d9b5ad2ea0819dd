"""Nothing that comes from a file, a name or an error reaches a terminal or a page as a command."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import rich.text
import torch
from rich.panel import Panel
from rich.table import Table

import handgrad as hg
from handgrad.check.frame import Checked
from handgrad.check.report import Report, Row, Verdict
from handgrad.cli import main
from handgrad.cli.save import printable
from handgrad.errors import BadInput, UserCodeFailed
from handgrad.escape import escaped, escaped_json, escaped_name, escaped_source
from handgrad.render import checked as checks
from handgrad.render.blocks import Columns, Heading, Paragraph, as_markdown
from handgrad.render.curve import Curve, loss_png
from handgrad.render.html import backward_html, trace_html
from handgrad.render.text import Console, Text
from handgrad.render.verdicts import Shown
from handgrad.render.words import left_of

# screen, title, colour; a bell; C1's CSI; right to left, isolates and marks; no width; separators
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\b\r\x00\v\f"
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\ufeff\u2028\u2029"
)
MARKUP = "[red]x[/red] [link=http://x]y[/link] :smile:"
FORWARD = f"""\
import torch
x = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
W = torch.tensor([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.6]], requires_grad=True)
h = x @ W * len("\x1b[2J\x9b\u202e{MARKUP}")  # \x1b[31m
loss = (h**2).mean()
"""


def harmless(text: str) -> bool:
    """Tell whether a terminal only prints a text."""
    return all(part.isprintable() for part in text.replace("\t", "\n").split("\n"))


def in_a_terminal(*command: str, cwd: Path) -> str:
    """Return what a command writes to a terminal, rich's own colours and cursor moves taken out."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "NO_COLOR": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", "handgrad", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=env,
    )
    os.close(theirs)
    found = b""
    try:
        while data := os.read(ours, 4096):
            found += data
    except OSError:  # the terminal is closed
        pass
    child.wait(60)
    os.close(ours)
    text = found.decode().replace("\r\n", "\n")
    for own in (
        "\x1b[?25l",
        "\x1b[?25h",
        "\x1b[2K",
        "\x1b[1A",
        "\x1b[1m",
        "\x1b[0m",
        "\x1b[1;",
        "\x1b[2m",
    ):
        text = text.replace(own, "")
    return text.replace("\r", "")


def test_what_is_escaped():
    assert escaped("α W1 ✓ ░ 漢字 é\n\t") == "α W1 ✓ ░ 漢字 é\n\t"
    assert escaped("\x1b[2J\x07\r\x9b\x7f\u202e\u2028\udc80") == (
        r"\x1b[2J\x07\r\x9b\x7f\u202e\u2028\udc80"
    )
    assert harmless(escaped(HOSTILE))
    assert escaped(escaped(HOSTILE)) == escaped(HOSTILE)
    for code in range(0x110000):
        shown = escaped(chr(code))
        assert shown in (chr(code), repr(chr(code))[1:-1]), hex(code)
    assert escaped_name("a\nb\tc\x1b.py") == r"a\nb\tc\x1b.py"


def test_json_stays_the_same_data():
    data = {HOSTILE: [HOSTILE, "\udc80", "\U000e0041", "α"]}
    text = escaped_json(json.dumps(data, ensure_ascii=False, indent=1))
    assert harmless(text)
    assert json.loads(text) == data
    assert "α" in text


def test_python_stays_the_same_program():
    text = 'a = "\x1b"  # \u202e\n'
    assert harmless(escaped_source(text) or "\0")
    assert escaped_source('a = r"\x1b"\n') is None
    assert escaped_source("a = 1\n") == "a = 1\n"


@pytest.mark.parametrize("given", [HOSTILE, MARKUP], ids=["controls", "markup"])
def test_whatever_rich_is_given_is_text(given: str):
    table = Table(given)
    table.add_row(given)
    for shown in (given, Text(given), Text.assemble("a", (given, "red")), table, Panel(given)):
        stream = io.StringIO()
        Console(file=stream, width=400, force_terminal=True, color_system=None).print(shown)
        assert harmless(stream.getvalue())
        assert escaped(given).replace("\n", "") in stream.getvalue()


def test_what_gets_past_is_caught_at_the_console():
    stream = io.StringIO()
    raw = rich.text.Text("a") + HOSTILE
    Console(file=stream, width=400, force_terminal=True, color_system=None).print(raw)
    assert harmless(stream.getvalue())


def test_text_is_as_wide_as_it_is_shown():
    assert Text("\x1b[2J").cell_len == len(r"\x1b[2J")
    assert Text.assemble(("\x07", "red"), "\x9b").cell_len == 8


def test_an_error_is_one_line_and_what_is_indented():
    error = UserCodeFailed(
        f"ValueError: {HOSTILE}\n2 of 2 right", where="a\nb\x1b.py:3", why="x\ny"
    )
    first, *rest = str(error).split("\n")
    assert harmless(str(error))
    assert first.startswith(r"a\nb\x1b.py:3: ValueError: ")
    assert rest == ["    2 of 2 right", "    x", "    y"]
    assert error.to_dict()["where"] == "a\nb\x1b.py:3"


@pytest.mark.parametrize(
    "form", [checks.plain, checks.junit, checks.github, lambda s: str(s.report)]
)
def test_a_check_in_every_form(form):
    row = Row("dW", Verdict.WRONG, line=f"dW = {HOSTILE}", number=3, note=HOSTILE)
    text = form(Shown(Checked(Report((row,)), {}, "", (HOSTILE,)), f"{HOSTILE}.py", all=True))
    assert harmless(text)
    assert r"\x1b[2J" in text


def test_pages_reports_and_pictures():
    def forward(x):
        return (x * len("\x1b\u202e<b>")).sum()

    trace = hg.trace(forward, torch.ones(3))
    backward = hg.derive(trace)
    for page in (trace_html(trace), backward_html(backward), hg.simplify(backward)._repr_html_()):
        assert harmless(page)
        assert "<b>" not in page
    assert harmless(repr(backward))
    report = as_markdown([Heading(HOSTILE), Paragraph(HOSTILE), Columns((HOSTILE,), ((HOSTILE,),))])
    assert harmless(report)
    assert loss_png(Curve(f"{HOSTILE} $\\frac{{$ a$b$", (1.0, 2.0, 3.0))).startswith(b"\x89PNG")


def test_the_notebooks_cmp(capsys: pytest.CaptureFixture[str]):
    t = torch.ones(2, requires_grad=True)
    t.sum().backward()
    hg.cmp(HOSTILE, torch.ones(2), t)
    assert harmless(capsys.readouterr().out)


@pytest.mark.parametrize(
    "command",
    [
        *("shapes", "derive", "explain", "simplify --steps", "simplify --latex -", "derive --json"),
        *("derive -o -", "derive --as function", "shapes --json", "compile", "check --no-sandbox"),
    ],
)
def test_a_source_line_in_a_pipe(command: str, tmp_path: Path, monkeypatch, capsys):
    name = f"net{HOSTILE[:5]}.py"
    (tmp_path / name).write_text(FORWARD + "dh = 2 * h / h.numel()\ndW = 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    main([command.split()[0], name, *command.split()[1:]])
    out, err = capsys.readouterr()
    assert out
    assert harmless(out)
    assert harmless(err)


@pytest.mark.parametrize("command", ["shapes", "explain", "check"])
def test_a_source_line_in_a_terminal(command: str, tmp_path: Path):
    body = f'dh = 2 * h / h.numel()\nclass E(Exception): pass\nE.__name__ = "\x9bE{MARKUP}"\n'
    body += 'def f(): raise E("\\x1b[2J\\x07' + MARKUP + '")\ndW = f()\nprint("\\x1b[31mx\\x07")\n'
    (tmp_path / "net.py").write_text(FORWARD + body)
    text = in_a_terminal(command, "net.py", cwd=tmp_path)
    assert harmless(text), ascii(text)
    assert r"\x1b[2J" in text
    assert MARKUP in text.replace("\n", "")


def test_a_files_own_error(tmp_path: Path, monkeypatch, capsys):
    path = tmp_path / "net.py"
    path.write_text(f"class E(Exception): pass\nE.__name__ = {HOSTILE!r}\nraise E({HOSTILE!r})\n")
    monkeypatch.chdir(tmp_path)
    for command in (["check", "net.py"], ["derive", "net.py"], ["derive", "net.py", "--json"]):
        assert main(command) == 3
        assert all(map(harmless, capsys.readouterr()))


def test_files_that_are_written(tmp_path: Path, monkeypatch):
    (tmp_path / "net.py").write_text(FORWARD)
    monkeypatch.chdir(tmp_path)
    for command in ("derive", "simplify"):
        assert main([command, "net.py", "-o", f"{command}.py"]) == 0
        text = (tmp_path / f"{command}.py").read_text()
        assert harmless(text)
        assert r"\x1b[2J" in text
        assert ast.parse(text)
    (tmp_path / "net.py").write_text(FORWARD.replace('len("', 'len(r"'))
    text = (tmp_path / "net.py").read_text()
    with pytest.raises(BadInput, match="raw string"):
        printable(text, Path("b.py"), Path("net.py"))


def test_words_of_a_data_file(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / "words.txt").write_text("\n".join(["a\x1b[b", "b\x07\x9b", "a\u202eb"] * 20))
    monkeypatch.chdir(tmp_path)
    train = "train bigram --data words.txt --steps 20 --out run --backend eager"
    assert main(train.split()) == 0
    assert main("sample --from run --count 30".split()) == 0
    assert main("sample --from run --count 30 --json".split()) == 0
    assert main(["train", "--data", "no\x1b.txt"]) == 2
    out, err = capsys.readouterr()
    assert r"\x" in out
    assert harmless(out)
    assert harmless(err.replace("\r", ""))


def test_what_was_printed_is_as_a_terminal_would_leave_it():
    assert left_of(" 10%\r 50%\r100%\nnext\r\nlast\r") == "100%\nnext\nlast"


def test_there_is_no_other_way_out():
    root = Path(hg.__file__).parent
    for path in sorted([*root.glob("cli/*.py"), *root.glob("render/*.py")]):
        text = path.read_text()
        if path.name != "text.py":
            assert "rich.text import Text" not in text or path.name == "screen.py", path
            assert "rich.console import Console\n" not in text or "Console(" not in text, path
        if path.name not in ("screen.py", "watching.py"):
            assert "sys.stdout.write" not in text, path
            assert "sys.stderr.write" not in text, path
