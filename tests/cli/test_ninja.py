"""`handgrad ninja` from the outside: what it prints, what it writes, what it refuses."""

import io
import json
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from handgrad import ninja
from handgrad.cli import main
from handgrad.emit import listing
from handgrad.render.live import Live
from handgrad.render.watch import Plain
from handgrad.train import load_words

NAMES = ["backward.py", "loss.png", "report.md"]


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("data") / "words.txt"
    path.write_text("\n".join(load_words()[:200]), encoding="utf-8")
    return str(path)


@pytest.fixture
def run(words, tmp_path, capsys):
    def run(*arguments: str, steps: int = 20) -> tuple[int, str, str]:
        given = ["ninja", f"--steps={steps}", f"--output={tmp_path / 'out'}"]
        if not any("--data" in argument for argument in arguments):
            given.append(f"--data={words}")
        code = main([*given, *arguments])
        return code, *capsys.readouterr()

    return run


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_journey_in_a_pipe(run, tmp_path):
    code, out, err = run()
    assert (code, err) == (0, "")
    for heading in ("1. Through", "2. Cross-entropy", "3. Batch norm", "4. Training"):
        assert heading in out
    assert "All 26 are right" in out
    assert out.count(" steps/s\n") == 10
    assert "20 words sampled" in out
    assert "\x1b" not in out
    assert left(tmp_path / "out") == NAMES


def test_the_picture_and_the_report(run, tmp_path):
    run()
    folder = tmp_path / "out"
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Becoming a backprop ninja\n")
    assert "![The loss during training](loss.png)" in report
    assert "| `dW1` | [30, 200] |" in report


def test_backward_py_runs_without_handgrad(run, tmp_path):
    run()
    code = (
        "import runpy, sys; sys.modules['handgrad'] = None; "
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    path = str(tmp_path / "out" / "backward.py")
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "d" + name for name in ("C", "W1", "b1", "bngain", "bnbias", "W2", "b2")
    ]
    assert all(float(line.rpartition(" ")[2]) < 1e-6 for line in lines)


def test_backward_py_prints_nothing_when_imported(run, tmp_path, capsys):
    run()
    scope = runpy.run_path(str(tmp_path / "out" / "backward.py"), run_name="backward")
    assert callable(scope["backward"])
    assert capsys.readouterr().out == ""


def test_json_is_the_whole_result_and_nothing_else(run, tmp_path):
    code, out, err = run("--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    assert data["ok"] is True
    assert data["training"]["done"] == 20
    assert [Path(path).name for path in data["written"]] == ["backward.py", "report.md", "loss.png"]


def test_a_second_run_replaces_the_first_one_s_files(run, tmp_path):
    run()
    code, _, _ = run(steps=3)
    assert code == 0
    assert "3 steps took" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert left(tmp_path / "out") == NAMES


def test_ctrl_c_keeps_what_there_is_and_says_so(run, tmp_path, monkeypatch):
    def step(self, moment):
        if moment.step == 7:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Plain, "step", step)
    code, out, _ = run()
    assert code == 130
    told = "Stopped by Ctrl-C after 7 of 20 steps; all below is of these."
    assert told in out
    assert f"**{told}**" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert left(tmp_path / "out") == NAMES


def test_in_eager_pytorch(run):
    code, out, err = run("--backend=eager")
    assert (code, err) == (0, "")
    assert "Every step is done twice" in " ".join(out.split())


def test_a_gradient_that_is_wrong_is_marked_and_fails(run, monkeypatch):
    check = ninja.check
    monkeypatch.setattr(
        ninja,
        "check",
        lambda trace, given: (
            check(trace, {**given, "dh": given["dh"] * 2}) if "dh" in given else check(trace, given)
        ),
    )
    code, out, _ = run(steps=2)
    assert code == 1
    assert "1 of 26 are NOT right" in out
    assert "wrong !" in out


# What it refuses, before any work


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no word in the data"),
        (b"anna\n", "there is only one word in the data, 'anna'"),
        (b"an\0na\nbob\n", "this is binary data, not text"),
        (None, "no such file"),
    ],
)
def test_bad_data(run, tmp_path, content, message):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    code, out, err = run(f"--data={path}")
    assert (code, out) == (2, "")
    assert message in err
    assert "\ntry: " in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("steps", ["0", "-3", "many", "1.5"])
def test_bad_steps(run, steps):
    code, out, err = run(f"--steps={steps}")
    assert (code, out) == (2, "")
    assert "steps" in err


@pytest.mark.parametrize("seed", ["x", str(2**70)])
def test_bad_seed(run, seed):
    code, out, err = run(f"--seed={seed}")
    assert (code, out) == (2, "")
    assert "seed" in err


def test_an_error_as_json(run):
    code, out, _ = run("--json", "--steps=0")
    assert code == 2
    assert json.loads(out)["error"] == "cannot train for 0 steps"


def test_output_that_is_a_file(run, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "is a file, not a folder" in err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_somebody_else_is_never_replaced(run, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    code, out, err = run()
    assert (code, out) == (2, "")
    assert f"{name} is there already, and handgrad did not write it" in err
    assert left(tmp_path / "out") == [name]


def test_a_folder_that_cannot_be_written_to_is_noticed_before_any_work(run, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "cannot be written to\n    Permission denied\ntry: " in err


def test_nothing_half_written_is_left_if_writing_fails(run, tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("handgrad.cli.folder.mode_of", refuse)
    code, _, err = run(steps=1)
    assert code == 2
    assert "No space left on device" in err
    assert left(tmp_path / "out") == []


# In a terminal


@pytest.mark.parametrize("width", [60, 80, 120])
def test_everything_fits_the_terminal(words, width):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=width, color_system=None)
    live = Live(console)
    parts = []
    ninja.journey(
        60,
        Path(words),
        on_result=lambda part: (parts.append(part), live.result(part)),
        on_step=live.step,
    )
    live.close()
    printed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    shown = "".join(printed.split())
    assert max(len(line) for line in printed.splitlines()) <= width
    assert "".join(listing(parts[1].backward).split()) in shown
    assert "60/60steps" in shown


def test_beside_json_a_terminal_shows_only_the_bar(words):
    stream = io.StringIO()
    live = Live(Console(file=stream, force_terminal=True, width=80), only_bar=True)
    ninja.journey(20, Path(words), on_result=live.result, on_step=live.step)
    live.close()
    live.written(["report.md"])
    assert "20/20 steps" in stream.getvalue()
    assert "Becoming" not in stream.getvalue()
    assert "Wrote" not in stream.getvalue()
