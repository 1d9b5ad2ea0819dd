"""`handgrad shapes`, `derive` and `explain`, through the command line."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import handgrad.cli.passes
from handgrad import derive
from handgrad.cli import main
from handgrad.trace.files import trace_file

NET = """\
import torch

n = 5
x = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
W = torch.ones(3, 2, requires_grad=True)
b = torch.zeros(2, requires_grad=True)

h = x @ W + b
loss = (h**2).sum() / n
"""
NO_ROW = """\
import torch

x = torch.ones(3, requires_grad=True)
q = torch.special.i0(x)
loss = q.sum()
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET, encoding="utf-8")
    return path


def weights_line(net: Path) -> str:
    """Return the line of dW, however it is spelled."""
    return next(each.line.text for each in derive(trace_file(str(net))).lines if each.name == "dW")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


SHAPES = """\
leaves
  W  [3, 2]  float32  6
  b  [2]     float32  2

inputs
  x  [5, 3]  float32
  n  5       int

line                     makes             reads                                              parameters
h = x @ W + b            h [5, 2] float32  x [5, 3] float32, W [3, 2] float32, b [2] float32  8
loss = (h**2).sum() / n  loss [] float32   h [5, 2] float32

8 parameters in 2 leaves, 2 lines, ends in loss [] float32
"""


def test_shapes_in_a_pipe_are_plain_aligned_columns(net, capsys):
    assert main(["shapes", str(net)]) == 0
    assert capsys.readouterr().out == SHAPES


def test_derive_prints_the_lines_and_says_how_they_compare(net, capsys):
    assert main(["derive", str(net)]) == 0
    printed = capsys.readouterr()
    assert f"# h = x @ W + b\n{weights_line(net)}  # [3, 2]\n" in printed.out
    assert printed.err.startswith("3 lines; every gradient equals autograd's (")
    assert printed.err.endswith(", float32)\n")


def test_explain_gives_each_line_its_reason_under_its_forward_line(net, capsys):
    assert main(["explain", str(net)]) == 0
    out = capsys.readouterr().out
    head, line, reason = out.split("\n\n")[1].splitlines()[:3]
    assert (head, line) == ("# h = x @ W + b", weights_line(net))
    assert reason.startswith("    ")
    assert reason.endswith(".")


def test_a_function_is_called_with_the_files_own_names(tmp_path, capsys):
    path = tmp_path / "two.py"
    path.write_text("import torch\nx = torch.ones(3)\ndef cube(x):\n    return (x**3).sum()\n")
    assert main(["derive", f"{path}:cube"]) == 0
    assert "dx = " in capsys.readouterr().out


@pytest.mark.parametrize("command", ["shapes", "derive", "explain"])
def test_json_is_the_only_thing_on_stdout(command, net, capsys):
    net.write_text("print('chatter')\n" + NET, encoding="utf-8")
    assert main([command, str(net), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["lines"]
    assert printed.err == "chatter\n"


def test_json_of_shapes_has_the_shape_of_every_leaf_and_the_total(net, capsys):
    main(["shapes", str(net), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 8
    assert found["leaves"]["W"] == {"shape": [3, 2], "dtype": "float32", "parameters": 6}


def test_json_of_derive_has_the_measured_difference(net, capsys):
    main(["derive", str(net), "--json"])
    assert 0 <= json.loads(capsys.readouterr().out)["largest_difference"] < 1e-5


@pytest.mark.parametrize("command", ["shapes", "derive", "explain"])
@pytest.mark.parametrize("without", ["nothing", "option", "variable", "dumb"])
def test_there_is_colour_on_a_terminal_unless_it_is_refused(command, without, net, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr(sys, "stderr", Screen())
    monkeypatch.setenv("TERM", "dumb" if without == "dumb" else "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if without == "variable":
        monkeypatch.setenv("NO_COLOR", "1")
    main([command, str(net), *(["--no-color"] if without == "option" else [])])
    written = sys.stdout.getvalue() + sys.stderr.getvalue()
    assert "h = x @ W + b" in written or without == "nothing"
    assert ("\x1b[" in written) == (without == "nothing")


def test_a_pipe_gets_no_colour_whatever_the_variables_say(net, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["derive", str(net)])
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err


def test_output_is_a_whole_file_that_runs_without_handgrad(net, tmp_path, capsys):
    path = tmp_path / "backward.py"
    assert main(["derive", str(net), "--output", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"wrote {path}: 3 lines; every gradient")
    text = path.read_text(encoding="utf-8")
    assert "net.py" in text
    assert "import handgrad" not in text
    compile(text, str(path), "exec")
    assert {p.name for p in tmp_path.iterdir()} == {"net.py", "backward.py"}


def test_output_replaces_only_what_handgrad_wrote(net, tmp_path, capsys):
    path = tmp_path / "backward.py"
    assert main(["derive", str(net), "-o", str(path)]) == 0
    assert main(["derive", str(net), "-o", str(path)]) == 0
    path.write_text("# mine\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["derive", str(net), "-o", str(path)]) == 2
    assert "handgrad did not write it" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "# mine\n"
    assert main(["derive", str(net), "-o", str(path), "--force"]) == 0
    assert "Written by handgrad" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (".", "is a directory"),
        ("missing/backward.py", "there is no folder"),
        ("net.py", "is the forward pass itself"),
    ],
)
def test_output_refuses_what_it_must_not_replace(place, told, net, tmp_path, capsys):
    assert main(["derive", str(net), "-o", str(tmp_path / place), "--force"]) == 2
    assert told in capsys.readouterr().err
    assert net.read_text(encoding="utf-8") == NET


def test_output_keeps_permissions_and_follows_a_link(net, tmp_path):
    path, link = tmp_path / "backward.py", tmp_path / "link.py"
    main(["derive", str(net), "-o", str(path)])
    try:
        link.symlink_to(path)
    except OSError:
        pytest.skip("no links here")
    path.chmod(0o640)
    assert main(["derive", str(net), "-o", str(link)]) == 0
    assert link.is_symlink()
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o640


def test_output_to_a_dash_is_stdout(net, capsys):
    assert main(["derive", str(net), "-o", "-"]) == 0
    assert "def backward(dloss, saved):" in capsys.readouterr().out


def test_a_title_cannot_end_the_docstring(tmp_path, capsys):
    path = tmp_path / "a'''b.py"
    path.write_text(NET, encoding="utf-8")
    assert main(["derive", str(path), "-o", "-"]) == 0
    compile(capsys.readouterr().out, "emitted", "exec")
    assert handgrad.cli.passes.title_of('a"""b.py') == ""


def test_an_op_without_a_row_is_marked_and_strict_refuses_it(tmp_path, capsys):
    path = tmp_path / "bessel.py"
    path.write_text(NO_ROW, encoding="utf-8")
    assert main(["derive", str(path)]) == 0
    printed = capsys.readouterr()
    marked = [line for line in printed.out.splitlines() if "torch.autograd.functional.vjp" in line]
    assert [line.partition("  # ")[2] for line in marked] == [
        "[3], no rule: autograd of torch.special.i0"
    ]
    assert f"{path}:4: no rule for torch.special.i0" in printed.err
    assert "    q = torch.special.i0(x)\n" in printed.err
    assert main(["derive", str(path), "--strict"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{path}:4: no rule for torch.special.i0\n")


@pytest.mark.parametrize("command", ["", "shapes", "derive", "explain"])
def test_help_has_examples(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "Examples:\n" in out
    assert f"    handgrad {command or 'shapes'} net.py" in out


def test_without_arguments_there_is_help(capsys):
    assert main([]) == 0
    assert "Usage: handgrad" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("handgrad ")


def test_a_reader_that_leaves_early_is_no_error(net):
    code = (
        "import sys; from handgrad.cli import main; sys.stdin.read(); "
        f"sys.exit(main(['derive', {str(net)!r}]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.close()
        process.stdout = None
        _, said = process.communicate(b"")
    assert process.returncode == 141
    assert said == b""
