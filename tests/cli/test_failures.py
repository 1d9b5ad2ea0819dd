"""What the command line says when it cannot go on: message, exit code, and no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import handgrad.cli.passes
from handgrad.cli import main
from handgrad.trace import recorder

LEAF = "import torch\nimport torch.nn.functional as F\nx = torch.ones(4, 3, requires_grad=True)\n"

# name, the file, exit code, parts of the message; {path} is the file.
BAD = {
    "empty": ("", 2, ["{path}: the file is empty"]),
    "binary": ("\0\1\2", 2, ["{path} is binary data, not Python source"]),
    "syntax": (
        "h = 1\nloss = h +* 2\n",
        3,
        ["{path}:2: SyntaxError: invalid syntax\n    loss = h +* 2\n              ^\ntry: "],
    ),
    "syntax after tabs": (
        "if 1:\n\tloss = h +* 2\n",
        3,
        ["{path}:2: SyntaxError", "    \tloss = h +* 2\n    \t          ^\n"],
    ),
    "raises": (
        LEAF + "W = torch.ones(4, 5)\nh = x @ W\nloss = h.sum()\n",
        3,
        ["{path}:5: RuntimeError: mat1 and mat2", "    h = x @ W\ntry: ", "python {path}"],
    ),
    "raises in a function that is called": (
        LEAF + "def inner(h):\n    return F.layer_norm(h, (7,))\n\n"
        "def forward(x):\n    return inner(x.exp()).sum()\n",
        3,
        ["{path}:5: RuntimeError: ", "    return F.layer_norm(h, (7,))\n"],
    ),
    "raises a sentence of two lines": (
        LEAF + "def forward(x):\n    raise ValueError('one\\ntwo')\n",
        3,
        ["{path}:5: ValueError: one\n    raise ValueError"],
    ),
    "no such import": ("import nosuchmodule\n", 3, ["{path}:1: ModuleNotFoundError: No module"]),
    "exit": ("import sys\nsys.exit(3)\n", 3, ["{path}: the file called exit(3)\ntry: "]),
    "loss is a vector": (
        LEAF + "h = x.exp()\nloss = h.sum(1)\n",
        2,
        ["{path}:5: the output has shape [4], and only a scalar", "    loss = h.sum(1)\ntry: "],
    ),
    "loss is a vector, of a function": (
        LEAF + "def forward(x):\n    return x.exp()\n",
        2,
        ["{path}:5: the output has shape [4, 3]", "try: end in a scalar loss"],
    ),
    "loss is a number": (
        LEAF + "loss = x.sum().item()\n",
        2,
        ["{path}:4: loss is of type float", "    loss = x.sum().item()\ntry: keep the tensor"],
    ),
    "integer argument": (
        "import torch\nx = torch.arange(6)\ndef forward(x):\n    return (x * x).sum()\n",
        2,
        ["{path}: no argument is a floating-point tensor", "    x is int64\ntry: "],
    ),
    "integer leaf": (
        "import torch\nx = torch.arange(6)\nloss = (x * x).sum()\n",
        2,
        ["{path}: the output does not depend on any leaf", "x is int64", "try: make the param"],
    ),
    "complex argument": (
        "import torch\nz = torch.ones(3) * 1j\ndef forward(z):\n    return z.abs().sum()\n",
        2,
        ["{path}: z is complex (torch.complex64)", "try: pass real and imaginary part"],
    ),
    "complex leaf": (
        "import torch\nz = torch.ones(3, dtype=torch.complex64, requires_grad=True)\n"
        "loss = z.abs().sum()\n",
        2,
        ["{path}:2: z is complex (torch.complex64)"],
    ),
    "complex on the way": (
        LEAF + "z = torch.fft.fft(x)\nloss = z.abs().sum()\n",
        2,
        ["{path}:4: z is complex (torch.complex64)", "    z = torch.fft.fft(x)\n"],
    ),
    "dropout": (
        LEAF + "net = torch.nn.GRU(3, 2, 2, dropout=0.5)\n"
        "def forward(x):\n    h = net(x.expand(4, 3))[0]\n    return h.sum()\n",
        2,
        [
            "{path}:6: the forward pass is random: gru",
            "    h = net(x.expand(4, 3))[0]\ntry: set its dropout to 0",
        ],
    ),
    "view written through": (
        LEAF + "h = x.exp()\nrow = h[0]\nrow.mul_(2)\nloss = h.sum()\n",
        2,
        ["{path}:6: PyTorch cannot take the gradient", "    row.mul_(2)", "try: write to a copy"],
    ),
    "everything detached": (
        LEAF + "h = x.exp()\nloss = h.detach().sum()\n",
        2,
        ["{path}:5: the output does not", "cut here: loss = h.detach().sum()", "try: leave out"],
    ),
    "nothing needs a gradient": (
        "import torch\nx = torch.ones(3)\nloss = x.sum()\n",
        2,
        ["{path}: the output does not", "    no tensor requires a gradient\ntry: "],
    ),
    "no forward": (
        LEAF + "def step(x):\n    return x.sum()\n",
        2,
        ["{path}: the file makes no `loss`", "    it has step\ntry: ", "{path}:step"],
    ),
    "returns nothing": (
        LEAF + "def forward(x):\n    h = x.sum()\n",
        2,
        ["{path}: the forward pass returns NoneType", "try: end it with `return loss`"],
    ),
    "argument missing": (
        LEAF + "def forward(x, scale):\n    return (x * scale).sum()\n",
        2,
        ["{path}: forward needs scale", "try: add a line such as `scale = "],
    ),
    "nan": (
        LEAF + "h = (x - 2).log()\nloss = h.sum()\n",
        5,
        ["{path}:4: h is NaN at 12 of 12 entries", "    h = (x - 2).log()\n", "try: "],
    ),
}


def written(folder: Path, text: str, name: str = "net.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told_with_its_place_and_a_next_step(name, tmp_path, capsys):
    text, code, parts = BAD[name]
    path = written(tmp_path, text)
    assert main(["derive", str(path)]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    for part in parts:
        assert part.format(path=path) in printed.err


@pytest.mark.parametrize("name", ["empty", "syntax", "raises", "dropout", "nan"])
def test_bad_input_is_told_as_json(name, tmp_path, capsys):
    text, code, _ = BAD[name]
    path = written(tmp_path, text)
    assert main(["derive", "--json", str(path)]) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    told = json.loads(printed.out)
    assert set(told) == {"error", "where", "why", "try", "exit_code"}
    assert told["exit_code"] == code
    assert told["where"].startswith(str(path))


@pytest.mark.parametrize("command", ["shapes", "derive", "explain"])
def test_a_file_that_is_not_there(command, tmp_path, capsys):
    path = tmp_path / "nope.py"
    assert main([command, str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"no such file: {path}\ntry: ")


def test_a_directory(tmp_path, capsys):
    assert main(["shapes", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path} is a directory\ntry: ")


def test_text_that_is_not_utf_8(tmp_path, capsys):
    path = tmp_path / "latin.py"
    path.write_bytes(b'x = "\xff"\n')
    assert main(["shapes", str(path)]) == 2
    assert "is not UTF-8 text" in capsys.readouterr().err


def test_a_function_that_is_not_there_has_a_neighbour(tmp_path, capsys):
    path = written(tmp_path, LEAF + "def forward(x):\n    return x.sum()\n")
    assert main(["derive", f"{path}:foward"]) == 2
    assert capsys.readouterr().err == (
        f"{path}: no function foward in this file\n    it has forward\ntry: {path}:forward\n"
    )


def test_a_function_name_that_cannot_be_one(tmp_path, capsys):
    path = written(tmp_path, LEAF + "def forward(x):\n    return x.sum()\n")
    assert main(["derive", f"{path}:Net.forward"]) == 2
    assert f"{path}: no function Net.forward in this file" in capsys.readouterr().err


def test_what_cuts_the_path_beside_the_loss_is_a_note(tmp_path, capsys):
    path = written(
        tmp_path,
        LEAF + "h = x.exp()\nm = h.detach()\nscale = h.max().item()\n"
        "loss = (h / m * scale).sum()\nprint(loss.item())\n",
    )
    assert main(["derive", str(path)]) == 0
    said = capsys.readouterr().err
    assert f"note: {path}:5: no gradient flows back through this detach\n    m = h.det" in said
    assert f"note: {path}:6: a tensor became a plain number here" in said
    assert f"{path}:8" not in said  # printing a number cuts nothing


def test_a_folder_called_handgrad_is_the_users_own(tmp_path, capsys):
    folder = tmp_path / "handgrad"
    folder.mkdir()
    path = written(folder, LEAF + "h = x @ x\n")
    assert main(["derive", str(path)]) == 3
    assert capsys.readouterr().err.startswith(f"{path}:4: RuntimeError: mat1")


@pytest.mark.parametrize(
    ("given", "where", "told"),
    [
        (["deriv"], "handgrad", "derive"),
        (["derive"], "handgrad derive", "FILE[:FUNCTION]"),
        (["derive", "a.py", "--outptu", "b.py"], "handgrad derive", "--output"),
        (["derive", "a.py", "b.py"], "handgrad derive", "b.py"),
    ],
)
def test_wrong_usage_is_told_in_the_same_form(given, where, told, capsys):
    assert main(given) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"{where}: ")
    assert told in printed.err
    assert printed.err.endswith(f"\ntry: {where} --help\n")


def test_wrong_usage_is_told_as_json(capsys):
    assert main(["derive", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_a_bug_is_one_line_and_a_hint(tmp_path, capsys, monkeypatch):
    def fail(target: str) -> None:
        raise KeyError("hprebn")

    monkeypatch.setattr(handgrad.cli.passes, "trace_file", fail)
    assert main(["shapes", "net.py"]) == 4
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "a bug in handgrad: KeyError: 'hprebn'"
    assert "--debug" in said
    assert "Traceback" not in said
    assert main(["shapes", "net.py", "--debug"]) == 4
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    assert main(["shapes", "net.py", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["exit_code"] == 4


def test_a_bug_inside_the_users_call_is_not_blamed_on_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(recorder, "TABLE", None)
    path = written(tmp_path, LEAF + "loss = x.sum()\n")
    assert main(["shapes", str(path)]) == 4
    assert "a bug in handgrad: AttributeError" in capsys.readouterr().err


def test_debug_shows_where_the_users_code_failed(tmp_path, capsys):
    path = written(tmp_path, LEAF + "h = x @ x\n")
    assert main(["derive", "--debug", str(path)]) == 3
    assert f'File "{path}", line 4' in capsys.readouterr().err


def test_an_interrupt_is_quiet(tmp_path, capsys):
    path = written(tmp_path, "raise KeyboardInterrupt\n")
    assert main(["derive", str(path)]) == 130
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


def test_the_installed_command_gives_its_exit_code_to_the_shell(tmp_path):
    path = written(tmp_path, "loss = (\n")
    code = "import sys; from handgrad.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "derive", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith(f"{path}:1: SyntaxError: '(' was never closed\n    loss = (\n")


def test_the_package_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "handgrad", "nope"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("handgrad: No such command 'nope'")
