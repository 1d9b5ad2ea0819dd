"""`handgrad compile`: what is printed, as data and as C, and what is said where it cannot be."""

import json

import pytest
from typer.testing import CliRunner

from handgrad.cli.app import app

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


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_help_names_what_it_shows():
    done = invoke("compile", "--help")
    assert done.exit_code == 0
    assert "--show" in done.output


def test_a_step_is_compiled_and_done(forward):
    done = invoke("compile", forward)
    assert done.exit_code == 0, done.output
    assert "trains x, w" in done.stdout
    assert "of one step" in done.stdout


def test_the_code_is_shown_with_the_lines_it_comes_from(forward):
    done = invoke("compile", forward, "--show")
    assert done.exit_code == 0, done.output
    assert "int hg_step(" in done.stdout
    assert "h = torch.tanh(x @ w)" in done.stdout


def test_the_same_as_data(forward):
    done = invoke("compile", forward, "--json")
    found = json.loads(done.stdout)
    assert found["backend"] == "native"
    assert found["parameters"] == ["x", "w"]
    assert "hg_step" in found["source"]


def test_a_file_that_is_not_there_is_told(tmp_path):
    done = invoke("compile", tmp_path / "none.py")
    assert done.exit_code == 2
    assert "none.py" in done.output


def test_without_a_compiler_it_says_so(forward, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "no-such-compiler-here")
    done = invoke("compile", forward)
    assert done.exit_code == 0, done.output
    assert "eager" in done.output
