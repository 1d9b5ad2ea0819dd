"""Runs: resumed to the last bit, ended by signals and kill -9, refused where they would not be."""

import json
import math
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch

from handgrad.errors import BadInput
from handgrad.native.compilers import CannotBuild
from handgrad.trace import trace
from handgrad.train import backends, runner
from handgrad.train import checkpoint as disk
from handgrad.train import fit as fits
from handgrad.train.fit import Watcher, fit
from handgrad.train.lock import locked
from handgrad.train.settings import settle
from handgrad.train.zoo import MODELS, refuse_labels
from runs import GIVEN, assert_same, last, settings, write_words

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    return write_words(tmp_path_factory.mktemp("data") / "words.txt")


@pytest.fixture(scope="module")
def unbroken(words, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    fit(run, settings(words))
    return run


def told():
    notes: list[str] = []
    return notes, Watcher(note=notes.append)


def stop_at(step: int, number: int = signal.SIGINT, times: int = 1) -> Watcher:
    def on_step(moment):
        if moment.step == step:
            for _ in range(times):
                signal.raise_signal(number)

    return Watcher(step=on_step)


def step_of(run: Path) -> int:
    found = disk.load(run)
    assert found is not None
    return found.checkpoint.step


# Resuming


@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_run_is_the_unbroken_one(name, words, tmp_path):
    given = {"model": name, "steps": 24, "every": 5, "turn": 12, "batch": 4}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    fit(whole, settings(words, **given))
    fit(broken, settings(words, **given), watcher=stop_at(8))
    assert step_of(broken) == 8
    notes, watcher = told()
    done = fit(broken, {}, resume=True, watcher=watcher)
    assert (done.start, done.step, notes) == (8, 24, [])
    assert_same(whole, broken)


@pytest.mark.parametrize(
    "more",
    [
        {"optimizer": "adam", "clip": 0.5, "dtype": "float64"},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        {"optimizer": "rmsprop", "schedule": "cosine"},
        {"optimizer": "adagrad", "schedule": "constant"},
    ],
)
def test_every_optimiser_and_schedule_goes_on_as_it_was(more, words, tmp_path):
    given = settings(words, steps=20, every=6, **more)
    fit(tmp_path / "whole", given)
    fit(tmp_path / "broken", given, watcher=stop_at(9))
    fit(tmp_path / "broken", {}, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "broken")


@pytest.mark.slow
def test_with_two_threads_it_goes_on_to_the_same_bits_too(words, tmp_path):
    given = settings(words, steps=12, every=3, threads=2, model="gpt", batch=16)
    fit(tmp_path / "whole", given)
    fit(tmp_path / "broken", given, watcher=stop_at(5))
    fit(tmp_path / "broken", {}, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_more_steps_are_as_if_asked_for_from_the_start(words, unbroken, tmp_path):
    fit(tmp_path, settings(words, steps=41))
    fit(tmp_path, {"steps": GIVEN["steps"]}, resume=True)
    assert_same(unbroken, tmp_path)


def test_a_run_that_is_done_stays_as_it_is(words, tmp_path):
    first = fit(tmp_path, settings(words, steps=10))
    again = fit(tmp_path, {}, resume=True)
    assert (again.start, again.step) == (10, 10)
    assert again.losses == first.losses


def test_the_log_has_every_step_once(unbroken):
    rows = (unbroken / "loss.csv").read_text().splitlines()
    assert rows[0] == "step,loss,rate"
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(1, 61))
    assert [row.split(",")[2] for row in rows[1:]] == ["0.1"] * 30 + ["0.01"] * 30
    records = [json.loads(line) for line in (unbroken / "log.jsonl").read_text().splitlines()]
    assert [each["step"] for each in records] == list(range(1, 61, 5))
    assert set(records[0]["log10_update_to_data"]) == set("C W1 b1 bngain bnbias W2 b2".split())


def test_damage_leads_to_the_checkpoint_before_and_to_the_same_end(words, unbroken, tmp_path):
    fit(tmp_path, settings(words), watcher=stop_at(40))
    (last(tmp_path) / "parameters.safetensors").write_bytes(b"")
    notes, watcher = told()
    assert fit(tmp_path, {}, resume=True, watcher=watcher).start == 35
    assert notes == [
        "checkpoint 000000040: parameters.safetensors is not what was written: its SHA-256 "
        "differs; step 35 is used"
    ]
    assert_same(unbroken, tmp_path)
    assert (tmp_path / "checkpoints" / "000000040.damaged").is_dir()


def test_a_log_that_lost_lines_is_told_of(words, tmp_path):
    fit(tmp_path, settings(words, steps=20), watcher=stop_at(10))
    (tmp_path / "loss.csv").write_text("")
    notes, watcher = told()
    fit(tmp_path, {}, resume=True, watcher=watcher)
    assert notes[0].startswith("loss.csv has lost ")


def test_another_thread_count_is_said_to_change_bits(words, tmp_path):
    fit(tmp_path, settings(words), watcher=stop_at(10))
    notes, watcher = told()
    fit(tmp_path, {"threads": 2}, resume=True, watcher=watcher)
    assert notes == ["not bit for bit what an unbroken run gives: threads: 1 then, 2 now"]


@pytest.mark.parametrize("name", ["torch", "cpu", "lines of the step"])
def test_another_machine_or_version_is_said_to_change_bits(name, words, tmp_path, monkeypatch):
    fit(tmp_path, settings(words), watcher=stop_at(10))
    here = fits.environment
    monkeypatch.setattr(fits, "environment", lambda backend: {**here(backend), name: "another"})
    notes, watcher = told()
    fit(tmp_path, {}, resume=True, watcher=watcher)
    assert len(notes) == 1
    assert notes[0].endswith(", another now".replace(", ", " then, "))


# Ending


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 7, 33])
def test_a_signal_ends_it_after_the_step_with_a_checkpoint(number, step, words, unbroken, tmp_path):
    done = fit(tmp_path, settings(words), watcher=stop_at(step, number))
    assert (done.stopped, done.step, done.losses) == (number, step, {})
    assert step_of(tmp_path) == step
    fit(tmp_path, {}, resume=True)
    assert_same(unbroken, tmp_path)


def test_a_signal_at_the_last_step_changes_nothing(words, unbroken, tmp_path):
    done = fit(tmp_path, settings(words), watcher=stop_at(60))
    assert (done.stopped, bool(done.losses)) == (0, True)
    assert_same(unbroken, tmp_path)


@pytest.mark.usefixtures("written_at_once")
def test_the_second_ctrl_c_ends_it_at_once(words, unbroken, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, settings(words), watcher=stop_at(10, times=2))
    assert step_of(tmp_path) == 7
    notes, watcher = told()
    fit(tmp_path, {}, resume=True, watcher=watcher)
    assert not notes
    assert_same(unbroken, tmp_path)


def killed(run: Path, given: dict, after: float) -> bool:
    """Start or resume a run in a process of its own and kill it; tell whether it was at work."""
    child = os.fork()
    if not child:
        code = 1
        try:
            resume = bool(disk.names(run / "checkpoints"))
            fit(run, {} if resume else given, resume=resume)
            code = 0
        finally:
            os._exit(code)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def kill_often(given: dict, folder: Path, times: int) -> None:
    """Kill runs at random moments; whatever is left goes on to where an unbroken one ends."""
    rng = random.Random(7)
    runs = count = 0
    fit(folder / "warm", given)
    begun = time.perf_counter()
    fit(folder / "unbroken", given)
    longest = 1.2 * (time.perf_counter() - begun)
    while count < times:
        runs += 1
        run = folder / str(runs)
        patience = longest  # it grows: on a slower machine no run would get to its steps
        while killed(run, given, rng.uniform(0, patience)):
            count += 1
            patience *= 1.05
            if (run / "checkpoints" / "LATEST").exists():
                assert not [each for each in loaded_notes(run) if "LATEST" not in each]
        assert_same(folder / "unbroken", run)


def loaded_notes(run: Path) -> list[str]:
    found = disk.load(run)
    assert found is not None
    return found.notes


@pytest.fixture
def written_at_once(monkeypatch):
    """The log reaches its file with every step, and so goes beyond the checkpoints."""
    monkeypatch.setattr(runner, "TAIL", 0)


both = pytest.mark.parametrize(
    "backend", ["eager", pytest.param("native", marks=pytest.mark.native)]
)


@posix
@both
@pytest.mark.usefixtures("written_at_once")
def test_kill_9_at_random_moments_loses_nothing(backend, words, tmp_path):
    kill_often(settings(words, backend=backend), tmp_path, 10)


@posix
@both
@pytest.mark.slow
@pytest.mark.usefixtures("written_at_once")
def test_kill_9_at_two_hundred_random_moments_loses_nothing(backend, words, tmp_path):
    kill_often(settings(words, backend=backend, optimizer="adam"), tmp_path, 200)


@posix
def test_a_lock_that_was_left_behind_is_told_of(words, tmp_path):
    def die(moment):
        os.kill(os.getpid(), signal.SIGKILL)

    if not (child := os.fork()):
        fit(tmp_path, settings(words), watcher=Watcher(step=die))
    os.waitpid(child, 0)
    notes, watcher = told()
    fit(tmp_path, {}, resume=True, watcher=watcher)
    (note,) = notes
    assert note.startswith(f"an earlier run did not end in order: process {child} on ")


def test_a_run_that_died_before_its_first_checkpoint_starts_again(words, unbroken, tmp_path):
    (tmp_path / "lock").write_text('{"pid": 1, "host": "x", "since": 0}')
    (tmp_path / "loss.csv").write_text("step,loss,rate\n1,2.")
    notes, watcher = told()
    fit(tmp_path, settings(words), resume=True, watcher=watcher)
    assert notes[1] == "it had no checkpoint yet: this one starts at step 0"
    assert_same(unbroken, tmp_path)


# Refusals


def test_two_runs_in_one_folder(words, tmp_path):
    fit(tmp_path, settings(words, steps=3))
    with locked(tmp_path), pytest.raises(BadInput, match="another run is at work") as caught:
        fit(tmp_path, {}, resume=True)
    assert f"process {os.getpid()} on " in caught.value.why
    assert "started 0 min 0 s ago" in caught.value.why


def test_without_locks_of_the_system_a_dead_holder_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr("handgrad.train.lock.fcntl", None)
    holder = {"pid": 1, "host": os.uname().nodename, "since": 0}
    (tmp_path / "lock").write_text(json.dumps(holder))
    with pytest.raises(BadInput, match="another run is at work"), locked(tmp_path):
        pass
    (tmp_path / "lock").write_text(json.dumps({**holder, "pid": 2**22 + 1}))
    with locked(tmp_path) as left:
        assert left is not None
        assert left.pid == 2**22 + 1
    assert (tmp_path / "lock").read_bytes() == b""


def test_a_started_run_is_not_started_again(words, tmp_path):
    fit(tmp_path, settings(words, steps=3))
    with pytest.raises(BadInput, match="has a run already"):
        fit(tmp_path, settings(words))


def test_files_of_others_are_not_touched(words, tmp_path):
    (tmp_path / "loss.csv").write_text("mine")
    with pytest.raises(BadInput, match="no run of handgrad wrote it"):
        fit(tmp_path, settings(words))
    assert (tmp_path / "loss.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "checkpoints", "loss.csv", "log.jsonl", "lock"])
def test_links_are_refused(name, words, tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    if not name:
        elsewhere.mkdir()
        run.symlink_to(elsewhere)
    else:
        fit(run, settings(words, steps=3))
        (run / name).rename(elsewhere)
        (run / name).symlink_to(elsewhere)
    with pytest.raises(BadInput, match="symbolic link"):
        fit(run, {"steps": 9}, resume=True)


def test_resuming_nothing(words, tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        fit(tmp_path / "none", {}, resume=True)
    with pytest.raises(BadInput, match="has no checkpoint"):
        fit(tmp_path, {}, resume=True)
    with pytest.raises(BadInput, match="is a file"):
        fit(words, {}, resume=True)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"model": "bigram"}, "model: character_mlp in the checkpoint, bigram asked for"),
        ({"dtype": "float64"}, "dtype: float32 in the checkpoint, float64 asked for"),
        ({"optimizer": "adam"}, "optimizer: sgd in the checkpoint, adam asked for"),
        ({"lr": 0.2}, "lr: 0.1 in the checkpoint, 0.2 asked for"),
        ({"batch": 16}, "batch: 8 in the checkpoint, 16 asked for"),
        ({"clip": 1.0}, "clip: 0.0 in the checkpoint, 1.0 asked for"),
    ],
)
def test_another_run_is_refused_field_by_field(more, line, words, tmp_path):
    fit(tmp_path, settings(words, steps=10))
    with pytest.raises(BadInput, match="the checkpoint is of another run") as caught:
        fit(tmp_path, {"steps": 12, **more}, resume=True)
    assert caught.value.why == line
    soft = "--force" in caught.value.hint
    assert soft == (next(iter(more)) in ("lr", "batch", "clip"))
    notes, watcher = told()
    if soft:
        fit(tmp_path, {"steps": 12, **more}, resume=True, force=True, watcher=watcher)
        assert notes[0].startswith("not bit for bit what an unbroken run gives: ")
    else:
        with pytest.raises(BadInput):
            fit(tmp_path, {"steps": 12, **more}, resume=True, force=True)


def test_other_data_is_refused_field_by_field(words, tmp_path):
    fit(tmp_path / "run", settings(words, steps=10))
    other = write_words(tmp_path / "other.txt", 199)
    with pytest.raises(BadInput) as caught:
        fit(tmp_path / "run", {"data": str(other), "steps": 12}, resume=True)
    assert caught.value.why.splitlines()[0] == "data, words: 200 in the checkpoint, 199 now"
    assert "data, sha256: " in caught.value.why
    fit(tmp_path / "run", {"data": str(other), "steps": 12}, resume=True, force=True)


def test_a_word_that_the_vocabulary_lacks_is_named_even_by_force(words, tmp_path):
    fit(tmp_path / "run", settings(words, steps=10))
    other = tmp_path / "other.txt"
    other.write_text("anna\nb3n\n")
    with pytest.raises(BadInput, match="character '3' of 'b3n'"):
        fit(tmp_path / "run", {"data": str(other)}, resume=True, force=True)


def test_tensors_of_another_shape_are_refused_field_by_field(words, tmp_path):
    fit(tmp_path, settings(words, steps=10))
    found = disk.load(tmp_path)
    assert found is not None
    tensors = {
        **found.checkpoint.tensors,
        "parameters": {"W1": torch.zeros(3, 5), "x": torch.ones(2)},
    }
    state = {k: v for k, v in found.checkpoint.state.items() if k not in ("format", "step")}
    disk.save(tmp_path, disk.Checkpoint(11, tensors, state), 3)
    with pytest.raises(BadInput) as caught:
        fit(tmp_path, {}, resume=True)
    assert "parameters: W1: [3, 5] float32 in the checkpoint, [30, 200] float32 wanted" in (
        caught.value.why
    )
    assert "parameters: x: [2] float32 in the checkpoint, none wanted" in caught.value.why


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lr": 0.0}, "the learning rate is 0"),
        ({"lr": -0.1}, "the learning rate is -0.1"),
        ({"lr": math.nan}, "the learning rate is nan"),
        ({"lr": math.inf}, "the learning rate is inf"),
        ({"steps": 0}, "cannot train for 0 steps"),
        ({"batch": 0}, "--batch is 0"),
        ({"every": 0}, "--every is 0"),
        ({"keep": 0}, "--keep is 0"),
        ({"threads": 0}, "--threads is 0"),
        ({"turn": 0}, "--decay-at is 0"),
        ({"clip": -1.0}, "--clip is -1"),
        ({"clip": math.nan}, "--clip is nan"),
        ({"momentum": 1.0}, "--momentum is 1"),
        ({"weight_decay": -1.0}, "--weight-decay is -1"),
        ({"nesterov": True}, "needs momentum"),
        ({"optimizer": "adam", "momentum": 0.5}, "adam has no momentum"),
        ({"optimizer": "rmsprop", "momentum": 0.5, "nesterov": True}, "is not Nesterov's"),
        ({"optimizer": "best"}, "there is no optimizer 'best'"),
        ({"schedule": "x"}, "there is no schedule 'x'"),
        ({"dtype": "int8"}, "there is no dtype 'int8'"),
        ({"backend": "x"}, "there is no backend 'x'"),
        ({"model": "x"}, "there is no model 'x'"),
        ({"seed": 2**70}, "too large for a seed"),
    ],
)
def test_settings_that_will_not_do(more, message, words, tmp_path):
    with pytest.raises(BadInput, match=message):
        fit(tmp_path / "run", settings(words, **more))
    assert not (tmp_path / "run").exists()


def test_one_example_a_step_has_no_batch_norm(words, tmp_path):
    with pytest.raises(BadInput, match="batches of 1"):
        fit(tmp_path / "run", settings(words, batch=1))


def test_words_too_few_for_a_window(tmp_path):
    (tmp_path / "words.txt").write_text("a\nb\n")
    with pytest.raises(BadInput, match="too few characters to train on"):
        fit(tmp_path / "run", settings(tmp_path / "words.txt", model="gpt"))


def test_labels_out_of_range_name_the_sample():
    X, Y = torch.zeros((9, 3), dtype=torch.int64), torch.tensor([0, 1, 2, 3, 0, 1, 5, -1, 2])
    with pytest.raises(BadInput, match="Yb of example 6 is 5") as caught:
        refuse_labels((X, Y), 5)
    assert "2 of 9 examples are outside" in caught.value.why
    with pytest.raises(BadInput, match="Yb is float32"):
        refuse_labels((X, Y.float()), 5)
    with pytest.raises(BadInput, match="no examples"):
        refuse_labels((X[:0], Y[:0]), 5)


# A loss that is not finite


def test_a_loss_that_is_nan_names_the_step_the_line_and_what_is_kept(words, tmp_path, monkeypatch):
    run = backends.Backend.run

    def spoil(self, examples, chosen, first, rates):
        if first == 17:
            self.parameters["W2"].fill_(3e38)
        return run(self, examples, chosen, first, rates)

    monkeypatch.setattr(backends.Backend, "run", spoil)
    with pytest.raises(BadInput) as caught:
        fit(tmp_path, settings(words))
    assert caught.value.what == "the loss is not finite at step 18"
    where, what, kept = caught.value.why.splitlines()
    # infinities of both signs meet in the product or a line later, as its sums are ordered
    assert re.search(r"character_mlp\.py:\d+: (norm_)?logits = (h @ W2 \+ b2|logits - .*)$", where)
    assert re.match(r"(norm_)?logits is NaN at ", what)
    assert kept == "the checkpoint of step 14 is intact"
    assert step_of(tmp_path) == 14
    monkeypatch.undo()
    assert fit(tmp_path, {"steps": 20}, resume=True).step == 20


@both
def test_a_rate_far_too_high_ends_with_a_message(backend, words, tmp_path):
    with pytest.raises(BadInput) as caught:
        fit(tmp_path, settings(words, lr=1e30, backend=backend))
    assert "the loss is not finite at step " in caught.value.what
    assert "the checkpoint of step 0 is intact" in caught.value.why


@both
def test_a_step_whose_loss_is_not_finite_moves_nothing_and_ends_it(backend):
    def forward(w, Xb, Yb):
        logits = w[Xb].log()
        loss = ((logits - Yb) ** 2).mean()
        return loss

    start = {"w": torch.tensor([2.0, 3.0, -1.0], dtype=torch.float64)}
    X, Y = torch.tensor([0, 1, 2, 1]), torch.ones(4, dtype=torch.float64)
    traced = trace(forward, **start, Xb=X[:2], Yb=Y[:2], wrt=["w"])
    given = settle({"backend": backend, "optimizer": "adam"})
    one, _ = backends.backend_for(traced, start, given)
    chosen = torch.tensor([[0, 1], [1, 3], [1, 2], [0, 1]])
    first = one.run((X, Y), chosen[:2], 0, [0.1, 0.1])
    other, _ = backends.backend_for(traced, start, given)
    assert other.run((X, Y), chosen, 0, [0.1] * 4) == first
    for mine, theirs in ((one.parameters, other.parameters), (one.state, other.state)):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert torch.equal(start["w"], torch.tensor([2.0, 3.0, -1.0], dtype=torch.float64))


# Backends


@pytest.mark.native
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "gpt" else ()) for name in MODELS],
)
def test_native_code_goes_on_to_the_same_bits_and_is_near_eager(name, words, tmp_path):
    given = settings(words, model=name, steps=24, every=6, record=9, backend="native", lr=0.01)
    given["dtype"] = "float64"
    whole, broken, eager = (tmp_path / each for each in ("whole", "broken", "eager"))
    notes, watcher = told()
    done = fit(whole, given, watcher=watcher)
    assert (done.backend, notes) == ("native", [])
    fit(broken, {**given, "steps": 11})
    fit(broken, {"steps": 24}, resume=True)
    assert_same(whole, broken)
    fit(eager, {**given, "backend": "eager"})
    mine, other = (disk.load(run) for run in (whole, eager))
    assert mine is not None
    assert other is not None
    for key, tensor in mine.checkpoint.tensors["parameters"].items():
        near = other.checkpoint.tensors["parameters"][key]
        torch.testing.assert_close(tensor, near, rtol=1e-7, atol=1e-9)


def test_a_run_goes_on_with_another_backend_and_says_so(words, tmp_path):
    fit(tmp_path, settings(words, optimizer="adam", backend="native"), watcher=stop_at(20))
    notes, watcher = told()
    fit(tmp_path, {"backend": "eager", "steps": 40}, resume=True, watcher=watcher)
    assert [note.split(":")[0] for note in notes] == ["not bit for bit what an unbroken run gives"]


def test_without_native_code_it_is_eager_and_says_so(words, tmp_path, monkeypatch):
    def none(source):
        raise CannotBuild("no C compiler")

    monkeypatch.setattr("handgrad.native.compiled.build", none)
    notes, watcher = told()
    done = fit(tmp_path, settings(words, backend="native"), watcher=watcher)
    assert done.backend == "eager"
    assert notes == ["no C compiler; this step runs in eager PyTorch"]


def test_without_a_compiler_torch_is_eager_and_says_so(words, tmp_path, monkeypatch):
    def compile(function, dynamic):
        def fails(_):
            raise RuntimeError("no C++ compiler\nlong")

        return fails

    monkeypatch.setattr(torch, "compile", compile)
    notes, watcher = told()
    done = fit(tmp_path, settings(words, backend="compile", steps=3), watcher=watcher)
    assert done.backend == "eager"
    assert notes == ["torch.compile failed (no C++ compiler): the steps are done in eager torch"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_by_torch_it_ends_within_rounding_and_resumes_to_the_bit(
    words, unbroken, tmp_path
):
    given = settings(words, backend="compile")
    done = fit(tmp_path / "whole", given)
    assert done.backend == "compile"
    fit(tmp_path / "broken", given, watcher=stop_at(20))
    fit(tmp_path / "broken", {}, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "broken")
    eager, compiled = (disk.load(run) for run in (unbroken, tmp_path / "whole"))
    assert eager is not None
    assert compiled is not None
    for name, tensor in eager.checkpoint.tensors["parameters"].items():
        other = compiled.checkpoint.tensors["parameters"][name]
        torch.testing.assert_close(tensor, other, rtol=1e-3, atol=1e-4)


def test_numbers_drawn_at_once_are_those_drawn_one_by_one():
    g = torch.Generator().manual_seed(3)
    at_once = torch.randint(0, 185_654, (50, 32), generator=g)
    state = g.get_state()
    g.manual_seed(3)
    one_by_one = [torch.randint(0, 185_654, (32,), generator=g) for _ in range(50)]
    assert torch.equal(at_once, torch.stack(one_by_one))
    assert torch.equal(state, g.get_state())
