"""`handgrad simplify`, through the command line."""

import io
import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from handgrad.cli import main

NET = """\
import torch

n = 5
g = torch.Generator().manual_seed(1)
logits = torch.randn(n, 3, generator=g, requires_grad=True)
Yb = torch.tensor([0, 2, 1, 2, 0])

counts = logits.exp()
counts_sum = counts.sum(1, keepdim=True)
counts_sum_inv = counts_sum**-1
probs = counts * counts_sum_inv
logprobs = probs.log()
loss = -logprobs[range(n), Yb].mean()
"""
LINE = "dlogits = (probs - F.one_hot(Yb, num_classes=logits.shape[1])) / n"


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET, encoding="utf-8")
    return path


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_short_lines_and_how_much_shorter_they_are(net, capsys):
    assert main(["simplify", str(net)]) == 0
    printed = capsys.readouterr()
    assert f"{LINE}  # [5, 3]\n" in printed.out
    assert printed.err.startswith("6 lines with ")
    assert " became 1 with 3; every gradient equals autograd's (" in printed.err


def test_steps(net, capsys):
    assert main(["simplify", str(net), "--steps"]) == 0
    printed = capsys.readouterr()
    assert "\n    each one-hot row of Yb sums to 1\n  = -1/n * counts_sum\n" in printed.out
    assert printed.out.index("dcounts") < printed.out.index(f"{LINE}  #")
    assert "Each step was checked with numbers at two sets of sizes." in printed.err


def test_a_part(net, capsys):
    assert main(["simplify", str(net), "--from", "counts", "--to", "probs"]) == 0
    out = capsys.readouterr().out
    assert "dcounts = " in out
    assert "dlogits" not in out


def test_the_textbook_form(net, capsys):
    assert main(["simplify", str(net), "--form", "textbook"]) == 0
    assert LINE in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "lgits"], "lgits is no name of this forward pass"),
        (["--from", "loss", "--to", "counts"], "counts does not depend on loss"),
        (["--form", "long"], "long"),
        (["--latex", "-", "--output", "-"], "two results cannot go to one place"),
        (["--latex", "a.tex", "--output", "a.tex"], "two results cannot go to one place"),
        (["--latex", "-", "--json"], "two results cannot go to one place"),
    ],
)
def test_what_it_refuses(arguments, told, net, capsys):
    assert main(["simplify", str(net), *arguments]) == 2
    printed = capsys.readouterr()
    assert told in printed.out + printed.err
    assert "Traceback" not in printed.err


def test_output_is_a_whole_file_that_runs_without_handgrad(net, tmp_path, capsys):
    path = tmp_path / "short.py"
    assert main(["simplify", str(net), "--output", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"wrote {path}: 6 lines")
    text = path.read_text(encoding="utf-8")
    assert LINE in text
    assert "import handgrad" not in text
    assert callable(runpy.run_path(str(path))["backward"])


def test_latex_is_a_document(net, tmp_path, capsys):
    path = tmp_path / "out.tex"
    assert main(["simplify", str(net), "--latex", str(path)]) == 0
    assert main(["simplify", str(net), "--latex", str(path)]) == 0  # its own file again
    assert path.read_text(encoding="utf-8").rstrip().endswith(r"\end{document}")
    capsys.readouterr()
    assert main(["simplify", str(net), "--latex", "-"]) == 0
    assert capsys.readouterr().out == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--output", "--latex"])
def test_a_file_of_somebody_else_is_not_replaced(option, net, tmp_path, capsys):
    path = tmp_path / "mine"
    path.write_text("mine", encoding="utf-8")
    assert main(["simplify", str(net), option, str(path)]) == 2
    assert "handgrad did not write it" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "mine"
    assert main(["simplify", str(net), option, str(path), "--force"]) == 0
    assert main(["simplify", str(net), option, str(net), "--force"]) == 2
    assert net.read_text(encoding="utf-8") == NET


def test_json_has_lines_steps_and_sizes(net, capsys):
    net.write_text("print('chatter')\n" + NET, encoding="utf-8")
    assert main(["simplify", str(net), "--json"]) == 0
    printed = capsys.readouterr()
    data = json.loads(printed.out)
    assert [line["line"] for line in data["lines"]] == [LINE]
    assert data["lines_before"] == 6
    assert data["operations"] == 3 < data["operations_before"]
    assert data["steps"][-1]["after"] == LINE
    assert {step["sets"] for step in data["steps"]} == {2}
    assert 0 <= data["largest_difference"] < 1e-5
    assert printed.err == "chatter\n"


@pytest.mark.parametrize("refused", [False, True])
def test_there_is_colour_on_a_terminal_unless_it_is_refused(refused, net, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr(sys, "stderr", Screen())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["simplify", str(net), "--steps", *(["--no-color"] if refused else [])])
    assert ("\x1b[" in sys.stdout.getvalue()) != refused
    assert "counts_sum" in sys.stdout.getvalue()


def test_help_has_examples(capsys):
    assert main(["simplify", "--help"]) == 0
    assert "handgrad simplify net.py --steps" in capsys.readouterr().out


def test_the_page_shows_what_is_printed(tmp_path, capsys):
    page = (Path(__file__).parents[2] / "docs" / "simplify.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"With this `net.py`\n\n```python\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "net.py"
    path.write_text(source, encoding="utf-8")
    assert main(["simplify", str(path), "--steps"]) == 0
    assert capsys.readouterr().out == shown
