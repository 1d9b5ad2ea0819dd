"""`handgrad derive --as function`, through the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from handgrad.cli import main

NET = """\
import torch

x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
w = torch.ones(3)
y = torch.zeros(5, 3)


def norm(x, w, eps=1e-5):
    rstd = ((x**2).mean(-1, keepdim=True) + eps) ** -0.5
    return x * rstd * w


def forward(x, w, y):
    return (norm(x, w) - y).square().mean()


def both(x, w):
    return x, w
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET, encoding="utf-8")
    return path


def test_the_text_goes_to_stdout(net, capsys):
    assert main(["derive", "--as", "function", f"{net}:norm"]) == 0
    out, err = capsys.readouterr()
    assert "class Norm(torch.autograd.Function):" in out
    assert err == "Norm saves x, w, rstd; its gradients are autograd's\n"


def test_what_is_called_forward_is_named_as_its_file(net, capsys):
    assert main(["derive", "--as", "function", str(net)]) == 0
    assert "class Net(torch.autograd.Function):" in capsys.readouterr().out


def test_a_file_that_runs_by_itself(net, tmp_path, capsys):
    out = tmp_path / "mine.py"
    assert main(["derive", "--as", "function", f"{net}:norm", "-o", str(out)]) == 0
    assert capsys.readouterr().err.startswith(f"wrote {out}: Norm saves x, w, rstd")
    script = (
        "import torch, mine\n"
        "x, w = torch.randn(4, 3).double().requires_grad_(), torch.ones(3).double()\n"
        "assert torch.autograd.gradcheck(mine.norm, (x, w.requires_grad_()))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


def test_the_same_place_as_stdout(net, capsys):
    assert main(["derive", "--as", "function", f"{net}:norm", "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith('"""A torch.autograd.Function for norm')


def test_json(net, capsys):
    assert main(["derive", "--as", "function", f"{net}:norm", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["function"] == "Norm"
    assert found["saved"] == ["x", "w", "rstd"]
    assert "class Norm" in found["source"]


def test_it_writes_over_its_own_file_and_no_other(net, tmp_path, capsys):
    out = tmp_path / "mine.py"
    arguments = ["derive", "--as", "function", f"{net}:norm", "-o", str(out)]
    assert main(arguments) == 0
    assert main(arguments) == 0
    out.write_text("# mine\n", encoding="utf-8")
    assert main(arguments) == 2
    assert "handgrad did not write it" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "# mine\n"
    assert main([*arguments, "--force"]) == 0
    assert main(["derive", "--as", "function", f"{net}:norm", "-o", str(net)]) == 2
    assert net.read_text(encoding="utf-8") == NET


def test_what_cannot_be_a_function(net, capsys):
    assert main(["derive", "--as", "function", f"{net}:both"]) == 2
    assert "returns tuple" in capsys.readouterr().err
    assert main(["derive", "--as", "function", f"{net}:nrom"]) == 2
    assert "norm" in capsys.readouterr().err
    assert main(["derive", "--as", "poem", str(net)]) == 2


def test_notes_go_beside_the_text(tmp_path, capsys):
    path = tmp_path / "cut.py"
    path.write_text(
        "import torch\n\nx = torch.ones(5)\n\n\n"
        "def half(x):\n    scale = x.detach().abs()\n    return torch.special.i0(x) * scale\n",
        encoding="utf-8",
    )
    assert main(["derive", "--as", "function", f"{path}:half"]) == 0
    out, err = capsys.readouterr()
    assert "no gradient flows back through this detach" in err
    assert "no rule for" in err
    assert "note" not in out
    assert main(["derive", "--as", "function", f"{path}:half", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [note["kind"] for note in found["notes"]] == ["detach"]
    assert len(found["without_rule"]) == 1
