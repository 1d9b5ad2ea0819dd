"""Checkpoints: what is written, what is found damaged, and what crashes at every call leave."""

import errno
import json
import os
import pickle
import random
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch

from handgrad.errors import BadInput
from handgrad.train import checkpoint as disk
from handgrad.train import tensors as files
from handgrad.train.checkpoint import Checkpoint, load, read, save, tidy

CALLS = ("open", "write", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "close")
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="crashes are simulated in forks")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The tests follow what is forced to the disk; the disk itself need not be waited for."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def checkpoint(step: int) -> Checkpoint:
    g = torch.Generator().manual_seed(step)
    tensors = {
        "parameters": {"W": torch.randn((3, 5), generator=g), "b": torch.randn(5, generator=g)},
        "optimiser": {"steps": torch.tensor(float(step))},
        "random": {"generator": g.get_state()},
    }
    return Checkpoint(step, tensors, {"settings": {"model": "m"}, "logs": {"loss.csv": step}})


def write(run: Path, *steps: int, keep: int = 3) -> Path:
    run.mkdir(exist_ok=True)
    for step in steps:
        save(run, checkpoint(step), keep)
    return run


def assert_is(found: Checkpoint, step: int) -> None:
    wanted = checkpoint(step)
    assert found.step == step
    assert found.state["settings"] == wanted.state["settings"]
    for file, tensors in wanted.tensors.items():
        assert found.tensors[file].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(found.tensors[file][name], tensor)


def loaded(run: Path):
    found = load(run)
    assert found is not None
    return found


def entries(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_what_is_saved_is_loaded(tmp_path):
    found = loaded(write(tmp_path, 0, 7))
    assert_is(found.checkpoint, 7)
    assert not found.notes


def test_the_newest_are_kept(tmp_path):
    write(tmp_path, 0, 7, 14, 21, 1_000_000_000_0, keep=2)
    assert entries(tmp_path) == ["000000021", "10000000000", "LATEST"]


def test_the_manifest_is_for_sha256sum(tmp_path):
    folder = write(tmp_path, 7) / "checkpoints" / "000000007"
    lines = (folder / "MANIFEST").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "parameters.safetensors", "optimiser.safetensors", "random.safetensors", "state.json",
    ]  # fmt: skip
    assert lines[-1].split("  ")[0] == disk.digest((folder / "state.json").read_bytes())


def test_no_checkpoint_is_none(tmp_path):
    assert load(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert load(tmp_path) is None


# Damage


def places(folder: Path, latest: Path) -> list[tuple[Path, int]]:
    """Return every byte of a checkpoint and of LATEST; of large files some."""
    rng = random.Random(5)
    found = []
    for path in [*sorted(folder.iterdir()), latest]:
        size = path.stat().st_size
        every = range(size) if size < 700 else sorted(rng.sample(range(size), 100))
        found += [(path, at) for at in every]
    return found


def damage_everywhere(run: Path, damage) -> int:
    """Do damage at every place, one at a time; each is noticed and the one before is used."""
    folder = run / "checkpoints" / "000000014"
    tried = set()
    for path, at in places(folder, run / "checkpoints" / "LATEST"):
        whole = path.read_bytes()
        spoilt = damage(whole, at)
        if spoilt == whole or (path, spoilt) in tried:
            continue
        tried.add((path, spoilt))
        path.write_bytes(spoilt)
        found = loaded(run)
        assert found.notes, (path.name, at)
        assert_is(found.checkpoint, 14 if path.name == "LATEST" else 7)
        path.write_bytes(whole)
    assert not loaded(run).notes
    return len(tried)


def test_every_truncation_is_noticed(tmp_path):
    assert damage_everywhere(write(tmp_path, 0, 7, 14), lambda data, at: data[:at]) > 800


def test_every_flipped_bit_is_noticed(tmp_path):
    rng = random.Random(6)

    def flip(data, at):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]

    assert damage_everywhere(write(tmp_path, 0, 7, 14), flip) > 800


def test_a_tail_of_zeros_is_noticed(tmp_path):
    run = write(tmp_path, 0, 7, 14)
    damage_everywhere(run, lambda data, at: data[:at] + b"\0" * (len(data) - at) or b"\0")


def test_something_appended_is_noticed(tmp_path):
    damage_everywhere(write(tmp_path, 0, 7, 14), lambda data, at: data + b"\n")


@pytest.mark.parametrize("name", ["MANIFEST", "state.json", "parameters.safetensors"])
def test_a_missing_file_is_noticed(tmp_path, name):
    run = write(tmp_path, 0, 7, 14)
    (run / "checkpoints" / "000000014" / name).unlink()
    found = loaded(run)
    assert_is(found.checkpoint, 7)
    (note,) = found.notes
    assert note.startswith("checkpoint 000000014: No such file")
    assert note.endswith("; step 7 is used")


def test_a_file_of_another_checkpoint_is_noticed(tmp_path):
    run = write(tmp_path, 0, 7, 14)
    shutil.copy(*(run / f"checkpoints/{name}/state.json" for name in ("000000007", "000000014")))
    assert_is(loaded(run).checkpoint, 7)


def test_a_whole_other_checkpoint_in_the_place_of_one_is_noticed(tmp_path):
    run = write(tmp_path, 0, 7, 14)
    shutil.rmtree(run / "checkpoints" / "000000014")
    shutil.copytree(run / "checkpoints" / "000000007", run / "checkpoints" / "000000014")
    found = loaded(run)
    assert_is(found.checkpoint, 7)
    assert [note.split(":")[0] for note in found.notes] == [
        "checkpoint LATEST", "checkpoint 000000014",
    ]  # fmt: skip
    with pytest.raises(disk.Damaged, match="it is of step 7"):
        read(run / "checkpoints" / "000000014")


def test_links_are_not_followed(tmp_path):
    run = write(tmp_path, 0, 7, 14)
    state = run / "checkpoints" / "000000014" / "state.json"
    state.rename(run / "state.json")
    state.symlink_to(run / "state.json")
    assert_is(loaded(run).checkpoint, 7)


def test_nothing_good_is_refused_with_every_reason(tmp_path):
    run = write(tmp_path, 0, 7)
    for path in (run / "checkpoints").glob("*/state.json"):
        path.write_bytes(b"")
    with pytest.raises(BadInput) as caught:
        load(run)
    assert caught.value.why.splitlines() == [
        "000000007: state.json is not what was written: its SHA-256 differs",
        "000000000: state.json is not what was written: its SHA-256 differs",
    ]


def test_tidy_sets_the_damaged_aside(tmp_path):
    run = write(tmp_path, 0, 7, 14)
    (run / "checkpoints" / "000000014" / "state.json").write_bytes(b"")
    (run / "checkpoints" / ".tmp-000000021-99").mkdir()
    (run / "checkpoints" / ".tmp-LATEST-99").touch()
    tidy(run, loaded(run))
    assert entries(run) == ["000000000", "000000007", "000000014.damaged", "LATEST"]
    assert not loaded(run).notes
    write(run, 14)
    assert_is(loaded(run).checkpoint, 14)


# What is no checkpoint of ours


def forged(run: Path, change) -> Path:
    """Change the last checkpoint and make manifest and LATEST fit again."""
    folder = run / "checkpoints" / "000000007"
    change(folder)
    lines = (folder / "MANIFEST").read_text().splitlines()
    named = [line.split("  ")[1] for line in lines]
    text = "".join(f"{disk.digest((folder / name).read_bytes())}  {name}\n" for name in named)
    (folder / "MANIFEST").write_text(text)
    latest = f"000000007 {disk.digest(text.encode())}\n"
    (run / "checkpoints" / "LATEST").write_text(latest)
    return run


class Bomb:
    def __reduce__(self):
        return (sys.exit, ("unpickled",))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_in_disguise_is_refused(tmp_path, protocol):
    def change(folder):
        (folder / "parameters.safetensors").write_bytes(pickle.dumps(Bomb(), protocol))

    with pytest.raises(BadInput, match="this is a pickle, whatever its name is"):
        load(forged(write(tmp_path, 7), change))


def test_a_file_of_torch_save_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"W": torch.zeros(3)}, path)
    with pytest.raises(BadInput, match="handgrad never does"):
        files.refuse_file(path)
    with pytest.raises(BadInput, match="this is a pickle"):
        files.from_bytes(path.read_bytes(), "model.pt")


def header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


F32 = '"dtype":"F32","shape":[1],"data_offsets":[0,4]'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 99_000_000) + b"{}",
        struct.pack("<Q", 2**63),
        header("{}x"),
        header('{"W":'),
        header("[]"),
        header(f'{{"W":{{{F32}}},"b":{{{F32}}}}}', b"\0" * 4),
        header('{"W":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', b"\0" * 4),
        header('{"W":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}', b"\0" * 4),
        header('{"W":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}', b"\0" * 4),
        header('{"W":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
        header("{" + ",".join(f'"w{k}":{{{F32}}}' for k in range(40_000)) + "}", b"\0" * 4),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_safetensors_file_is_refused(data):
    with pytest.raises(BadInput, match="this is not a safetensors file"):
        files.from_bytes(data, "x")


def test_another_format_is_refused(tmp_path):
    def change(folder):
        state = json.loads((folder / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps({**state, "format": 99}))

    with pytest.raises(BadInput, match="has format 99"):
        load(forged(write(tmp_path, 0, 7), change))


def test_a_linked_folder_is_refused(tmp_path):
    write(tmp_path / "run", 7)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "checkpoints").symlink_to(tmp_path / "run" / "checkpoints")
    with pytest.raises(BadInput, match="is a symbolic link"):
        load(tmp_path / "other")


# Crashes: at every call to the system, the process ends or the call fails


class Faults:
    """Counts calls to the system; at the k-th something happens instead.

    What is on the disk for certain is followed too: the data of files that were not forced there,
    and renames in folders that were not.
    """

    def __init__(self, patch: pytest.MonkeyPatch, at: int, happens) -> None:
        self.count, self.at, self.happens = 0, at, happens
        self.paths: dict[int, str] = {}
        self.dirty: set[str] = set()
        self.renames: list[tuple[str, str, bytes | None]] = []
        for name in CALLS:
            patch.setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, call):
        def instead(*args, **kwargs):
            self.count += 1
            if self.count == self.at:
                self.happens(self, name)
            before = content_of(Path(args[1])) if name in ("rename", "replace") else None
            result = call(*args, **kwargs)
            self.follow(name, args, result, before)
            return result

        return instead

    def follow(self, name, args, result, before) -> None:
        if name == "open":
            self.paths[result] = str(args[0])
        elif name == "write":
            self.dirty.add(self.paths[args[0]])
        elif name == "fsync":
            forced = self.paths[args[0]]
            self.dirty.discard(forced)
            self.renames = [each for each in self.renames if str(Path(each[1]).parent) != forced]
        elif name in ("rename", "replace"):
            source, target = map(str, args)
            self.dirty = {path.replace(source, target) for path in self.dirty}
            self.renames.append((source, target, before))


def content_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def die(faults: Faults, name: str) -> None:
    os._exit(9)


def lose_power(faults: Faults, name: str) -> None:
    """Lose what was not forced to the disk: half of each file, and the oldest rename."""
    for path in faults.dirty:
        if Path(path).exists():
            os.truncate(path, Path(path).stat().st_size // 2)
    for source, target, before in faults.renames[:1]:
        if Path(target).exists():
            Path(target).rename(source)
        if before is not None:
            Path(target).write_bytes(before)
    os._exit(9)


def in_fork(work) -> int:
    """Run in a process of its own; return its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def crash_everywhere(template, happens, work, check) -> int:
    """Let every call of `work` be the last, one after another; return how many there are."""
    for at in range(1, 1000):
        run = Path(shutil.copytree(template, template.with_name(f"run{at}")))
        with pytest.MonkeyPatch.context() as patch:

            def crashing(run=run, at=at, patch=patch):
                Faults(patch, at, happens)
                work(run)

            code = in_fork(crashing)
        check(run)
        shutil.rmtree(run)
        if code == 0:
            return at - 1
        assert code == 9
    raise AssertionError("it never ended")


@posix
@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("happens", [die, lose_power])
def test_a_crash_at_every_call_of_a_save_leaves_the_one_or_the_other(tmp_path, happens, keep):
    def check(run):
        found = loaded(run)
        assert not found.notes
        assert_is(found.checkpoint, 21 if found.checkpoint.step == 21 else 14)
        tidy(run, found)
        after = found.checkpoint.step + 7
        write(run, after, keep=2)
        assert_is(loaded(run).checkpoint, after)
        assert not [name for name in entries(run) if name.startswith(".")]

    template = write(tmp_path / "template", 0, 7, 14, keep=keep)
    assert (
        crash_everywhere(template, happens, lambda run: save(run, checkpoint(21), keep), check) > 30
    )


@posix
def test_a_crash_at_every_call_of_tidying_leaves_a_good_one(tmp_path):
    template = write(tmp_path / "template", 0, 7, 14)
    (template / "checkpoints" / "000000014" / "state.json").write_bytes(b"")
    shutil.copytree(template / "checkpoints/000000007", template / "checkpoints/.tmp-old-1")

    def check(run):
        found = loaded(run)
        assert_is(found.checkpoint, 7)
        tidy(run, found)
        assert not loaded(run).notes

    assert crash_everywhere(template, die, lambda run: tidy(run, loaded(run)), check) > 5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failure_of_every_call_of_a_save_is_named_and_keeps_what_was(tmp_path, number):
    failed = 0

    def fail(faults, name):
        if name != "close":  # it is closed all the same
            raise OSError(number, os.strerror(number))

    template = write(tmp_path / "template", 0, 7, 14, keep=2)
    for at in range(1, 1000):
        run = Path(shutil.copytree(template, tmp_path / f"run{at}"))
        with pytest.MonkeyPatch.context() as patch:
            faults = Faults(patch, at, fail)
            try:
                save(run, checkpoint(21), 2)
                error = None
            except BadInput as caught:
                error = caught
        found = loaded(run).checkpoint
        assert_is(found, 21 if found.step == 21 else 14)
        assert not [name for name in entries(run) if name.startswith(".tmp-0")]
        if error:
            failed += 1
            assert os.strerror(number) in error.why
            assert f"the checkpoint of step {found.step} is intact" in error.why
        shutil.rmtree(run)
        if faults.count < at:
            break
    assert failed > 20


def test_short_writes_go_on(tmp_path, monkeypatch):
    write_once = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write_once(fd, bytes(data[:100])))
    assert_is(loaded(write(tmp_path, 7)).checkpoint, 7)
