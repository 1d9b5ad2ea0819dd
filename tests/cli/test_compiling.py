"""`handgrad compile`: what is printed, as data and as C, and what is said where it cannot be."""

import json

import pytest

from handgrad.cli import main

pytestmark = pytest.mark.native
FORWARD = """\
import torch

x = torch.randn(4, 3)
w = torch.randn(3, 5)

def forward(x, w):
    h = torch.tanh(x @ w)
    loss = h.mean()
    return loss
"""


@pytest.fixture
def forward(tmp_path):
    path = tmp_path / "forward.py"
    path.write_text(FORWARD)
    return path


def test_help_names_what_it_shows(capsys):
    assert main(["compile", "--help"]) == 0
    assert "--show" in capsys.readouterr().out


def test_a_step_is_compiled_and_done(forward, capsys):
    assert main(["compile", str(forward)]) == 0
    printed = capsys.readouterr().out
    assert "trains x, w" in printed
    assert "of one step" in printed


def test_the_code_is_shown_with_the_lines_it_comes_from(forward, capsys):
    assert main(["compile", str(forward), "--show"]) == 0
    printed = capsys.readouterr().out
    assert "int hg_step(" in printed
    assert "h = torch.tanh(x @ w)" in printed


def test_the_same_as_data(forward, capsys):
    assert main(["compile", str(forward), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backend"] == "native"
    assert found["parameters"] == ["x", "w"]
    assert "hg_step" in found["source"]


def test_a_file_that_is_not_there_is_told(tmp_path, capsys):
    assert main(["compile", str(tmp_path / "none.py")]) == 2
    assert "none.py" in capsys.readouterr().err


def test_without_a_compiler_it_says_so(forward, capsys, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler-here")
    assert main(["compile", str(forward)]) == 0
    printed = capsys.readouterr()
    assert "after one eager step" in printed.out
    assert "no-such-compiler-here is not to be found" in printed.err
