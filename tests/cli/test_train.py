"""`handgrad train`, `sample` and `plot` from the outside."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console

from handgrad.cli import main
from handgrad.render.bar import Bar
from handgrad.render.run_files import pictures
from handgrad.render.steps import Tenths
from handgrad.train import Moment
from handgrad.train.log import History
from runs import write_words


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    return write_words(tmp_path_factory.mktemp("data") / "words.txt")


@pytest.fixture
def run(words, tmp_path, capsys):
    def run(command: str, *arguments: str, data: bool = True) -> tuple[int, str, str]:
        given = [command, *arguments]
        if command == "train":
            given += [f"--out={tmp_path / 'out'}"]
            given += [f"--data={words}"] if data and "--resume" not in arguments else []
        code = main(given)
        return code, *capsys.readouterr()

    return run


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_in_a_pipe(run, tmp_path):
    code, out, err = run("train", "--steps=40", "--every=10")
    assert code == 0
    assert err == f"sample: handgrad sample --from {tmp_path / 'out'}\n"
    assert out.startswith("character_mlp (the exercise: embedding, tanh, batch norm), ")
    assert "from the start to step 40\n" in out
    assert out.count(" steps/s\n") == 10
    assert re.search(r"\n40 steps in \d+\.\d s, [\d,]+ a second\nloss: train \d\.\d{4}, valid", out)
    assert "\x1b" not in out
    assert left(tmp_path / "out") == [
        "checkpoints", "lock", "log.jsonl", "loss.csv", "loss.png", "ratios.png",
    ]  # fmt: skip
    for name in ("loss.png", "ratios.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_a_run_as_json(run, tmp_path):
    code, out, err = run("train", "bigram", "--steps=20", "--backend=native", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["settings"]["model"] == "bigram"
    assert (found["start"], found["step"], found["stopped"]) == (0, 20, "")
    assert set(found["losses"]) == {"train", "validation", "test"}
    assert found["backend"] in ("native", "eager")
    assert bool(found["notes"]) == (found["backend"] == "eager")


def test_going_on(run, tmp_path):
    run("train", "--steps=20", "--decay-at=15", "--every=10")
    code, out, _ = run("train", "--resume", "--steps=30")
    assert code == 0
    assert "from step 20 to step 30" in out
    code, out, _ = run("train", "--resume")
    assert code == 0
    assert "every step was done already; --steps asks for more" in out
    rows = (tmp_path / "out" / "loss.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(step) for step in range(1, 31)]


def test_a_second_run_in_the_same_folder_is_refused(run):
    run("train", "--steps=3")
    code, out, err = run("train", "--steps=3")
    assert (code, out) == (2, "")
    assert "has a run already\ntry: go on with --resume" in err


def test_another_optimiser_is_refused_as_json_too(run):
    run("train", "--steps=3")
    code, out, _ = run("train", "--resume", "--optimizer=adam", "--json")
    assert code == 2
    assert json.loads(out)["why"] == "optimizer: sgd in the checkpoint, adam asked for"


def start(*arguments: str) -> subprocess.Popen:
    code = "import sys; from handgrad.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_goes_on(number, words, tmp_path, capsys):
    given = [f"--data={words}", "--every=20", "--decay-at=50"]
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = start("train", "--steps=1000000", f"--out={broken}", *given)
    wait_for(broken / "checkpoints" / "000000060")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode == 128 + number
        assert re.fullmatch(
            rf"stopped by {number.name} after step \d+, with a checkpoint; "
            rf"go on with: handgrad train --resume --out {re.escape(str(broken))}\n",
            err,
        )
    latest = int((broken / "checkpoints" / "LATEST").read_text().split()[0])
    steps = latest + 30
    assert main(["train", "--resume", f"--out={broken}", f"--steps={steps}"]) == 0
    code = main(["train", f"--steps={steps}", f"--out={whole}", *given])
    assert code == 0
    assert last_tensors(broken) == last_tensors(whole)
    assert (broken / "loss.csv").read_bytes() == (whole / "loss.csv").read_bytes()


def last_tensors(run: Path) -> dict[str, bytes]:
    name = (run / "checkpoints" / "LATEST").read_text().split()[0]
    folder = run / "checkpoints" / name
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_the_second_ctrl_c_says_where_to_go_on(run, tmp_path, monkeypatch):
    def step(self, moment):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Tenths, "step", step)
    code, _, err = run("train")
    assert code == 130
    assert err == f"stopped at once; go on with: handgrad train --resume --out {tmp_path / 'out'}\n"


# Sampling


@pytest.mark.parametrize("model", ["character_mlp", "bigram", "layer_norm_mlp", "gpt"])
def test_words_of_every_model(run, tmp_path, words, model):
    run("train", model, "--steps=6", "--batch=4")
    folder = str(tmp_path / "out")
    code, out, err = run("sample", "--from", folder, "--count=5", "--seed=3")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 5
    assert run("sample", "--from", folder, "--count=5", "--seed=3")[1] == out
    assert run("sample", "--from", folder, "--count=5", "--seed=4")[1] != out
    found = json.loads(run("sample", "--from", folder, "-n", "5", "--seed=3", "--json")[1])
    assert found["words"] == out.split("\n")[:-1]
    assert (found["model"], found["step"]) == (model, 6)


def test_words_of_one_checkpoint(run, tmp_path):
    run("train", "--steps=20", "--every=10")
    folder = tmp_path / "out" / "checkpoints"
    assert json.loads(run("sample", "--from", f"{folder}/000000010", "--json")[1])["step"] == 10
    (folder / "000000010" / "state.json").write_bytes(b"{}")
    code, _, err = run("sample", "--from", f"{folder}/000000010")
    assert code == 2
    assert "000000010 is damaged\n    state.json is not what was written" in err


def test_words_of_the_checkpoint_before_a_damaged_one(run, tmp_path):
    run("train", "--steps=20", "--every=10")
    folder = tmp_path / "out" / "checkpoints" / "000000020"
    (folder / "parameters.safetensors").write_bytes(b"")
    code, out, err = run("sample", "--from", str(tmp_path / "out"))
    assert (code, len(out.splitlines())) == (0, 20)
    assert err.endswith("its SHA-256 differs; step 10 is used\n")


def test_batch_norm_needs_the_words_it_was_trained_on(run, words, tmp_path):
    moved = Path(shutil.copy(words, tmp_path / "moved.txt"))
    run("train", "--steps=6", f"--data={moved}", data=False)
    folder = str(tmp_path / "out")
    before = run("sample", "--from", folder)[1]
    moved.unlink()
    assert run("sample", "--from", folder)[0] == 2
    assert run("sample", "--from", folder, f"--data={words}")[1] == before
    write_words(moved, 150)
    code, _, err = run("sample", "--from", folder)
    assert code == 2
    assert "data, words: 200 in the checkpoint, 150 now" in err


def test_no_pickle_is_loaded(run, tmp_path):
    torch.save({"W": torch.zeros(3)}, tmp_path / "model.pt")
    code, out, err = run("sample", "--from", str(tmp_path / "model.pt"))
    assert (code, out) == (2, "")
    assert "this is a pickle, whatever its name is" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from=none"], "no such folder: none"),
        (["--count=0"], "cannot sample 0 words"),
        (["--count=1000001"], "cannot sample 1000001 words"),
        (["--seed=99999999999999999999999"], "too large for a seed"),
    ],
)
def test_what_cannot_be_sampled(run, arguments, message):
    code, out, err = run("sample", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_folder_without_a_run(run, tmp_path):
    assert "has no checkpoint" in run("sample", "--from", str(tmp_path))[2]
    code, _, err = run("plot", str(tmp_path))
    assert code == 2
    assert "has no log of a run" in err


# Pictures


def test_the_pictures_of_a_run_that_was_killed(run, tmp_path):
    run("train", "--steps=20")
    folder = tmp_path / "out"
    for name in ("loss.png", "ratios.png"):
        (folder / name).unlink()
    with (folder / "loss.csv").open("a") as file:
        file.write("21,2.")
    code, out, _ = run("plot", str(folder))
    assert code == 0
    assert out == f"wrote {folder}/loss.png, {folder}/ratios.png: 20 steps\n"


@pytest.mark.parametrize("count", [1, 2, 250])
def test_pictures_of_any_history(count):
    some = tuple(2.0 + k / count for k in range(count))
    ratios = {
        "W": tuple(-3.0 for _ in some),
        "dead": (float("-inf"),) * count,
        "low": (-9.0,) * count,
    }
    history = History(some, (0.1,) * count, tuple(range(1, count + 1)), ratios)
    assert all(data.startswith(b"\x89PNG") for data in pictures(history, "x").values())
    assert pictures(History((), (), (), {}), "x") == {}


# What it refuses


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "x"])
def test_bad_rates(run, tmp_path, rate):
    code, out, err = run("train", f"--lr={rate}")
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


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
    code, out, err = run("train", f"--data={path}", data=False)
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to(run, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "mkdir", refuse)
    code, _, err = run("train", "--steps=3")
    assert code == 2
    assert "cannot be written to\n    Permission denied\n" in err


def test_a_full_disk_keeps_the_checkpoint_before(run, tmp_path, monkeypatch):
    rename = os.rename

    def full(source, target):
        if str(target).endswith("000000020"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", full)
    code, _, err = run("train", "--steps=30", "--every=10")
    assert code == 2
    assert "No space left on device\n    the checkpoint of step 10 is intact\ntry: make room" in err
    monkeypatch.undo()
    code, out, _ = run("train", "--resume")
    assert code == 0
    assert "from step 10 to step 30" in out


# In a terminal


def test_the_bar_counts_steps_done_many_at_once():
    stream = io.StringIO()
    bar = Bar(Console(file=stream, force_terminal=True, width=100))
    for step in (140, 200, 260, 300):
        bar.step(Moment(step, 300, 2.5, (step - 100) / 1000, start=100))
    bar.close()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "300/300 steps loss 2.500 1,000 steps/s" in shown


def test_ten_lines_however_the_steps_come():
    lines: list[str] = []
    tenths = Tenths(lines.append)
    for step in range(107, 1001, 7):
        tenths.step(Moment(step, 1000, float(step), 1.0, start=100))
    tenths.step(Moment(1000, 1000, 1000.0, 1.0, start=100))
    assert len(lines) == 9
    assert lines[-1].startswith("1,000 steps   loss ")
