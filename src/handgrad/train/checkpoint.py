"""Checkpoints: tensors and state of one step in a folder of its own, and which one is the latest.

    checkpoints/000000500/parameters.safetensors   and more files of tensors
    checkpoints/000000500/state.json               everything else
    checkpoints/000000500/MANIFEST                 SHA-256 of each file, as sha256sum prints it
    checkpoints/LATEST                             the name, and SHA-256 of its MANIFEST

A checkpoint is written into a temporary folder, forced to the disk and renamed; LATEST comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from handgrad.errors import BadInput
from handgrad.train.durable import (
    TEMPORARY,
    read_bounded,
    refuse_link,
    remove,
    replace_file,
    sync_folder,
    unwritable,
    write_new,
)
from handgrad.train.tensors import from_bytes, to_bytes

FORMAT = 1
FOLDER, LATEST, MANIFEST, STATE = "checkpoints", "LATEST", "MANIFEST", "state.json"
DAMAGED = ".damaged"
NAMED = re.compile(r"[0-9]{9,18}")
LINE = re.compile(r"([0-9a-f]{64})  ([a-z_.]{1,60})")
POINTER = re.compile(r"([0-9]{9,18}) ([0-9a-f]{64})\n")
SMALL, LARGE = 1 << 20, 1 << 34  # bytes: of a text, of a file of tensors

Tensors = Mapping[str, Mapping[str, Tensor]]
"""By file, without `.safetensors`, and name."""


class Damaged(Exception):
    """A checkpoint is not what was written; the text says why."""


class Misnamed(Damaged):
    """A checkpoint is not the one that LATEST names: one of the two is damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stood after `step` steps.

    Attributes:
        state: what can be written as JSON.
    """

    step: int
    tensors: Tensors
    state: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.step:09d}"


@dataclass(frozen=True)
class Loaded:
    """A checkpoint that was found good, and what was wrong with others.

    Attributes:
        damaged: by name, why it would not do; `LATEST` for the record itself.
    """

    checkpoint: Checkpoint
    damaged: Mapping[str, str]

    @property
    def notes(self) -> list[str]:
        """Return a sentence for each that would not do."""
        taken = f"step {self.checkpoint.step:,} is used"
        return [f"checkpoint {name}: {why}; {taken}" for name, why in self.damaged.items()]


def save(run: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write a checkpoint, then LATEST, then remove all but the newest.

    Raises:
        BadInput: it cannot be written; those before it are as they were.
    """
    folder = run / FOLDER
    temporary = folder / f"{TEMPORARY}{checkpoint.name}-{os.getpid()}"
    try:
        if not folder.is_dir():
            os.mkdir(folder)  # noqa: PTH102
            sync_folder(run)
        remove(temporary)
        os.mkdir(temporary)  # noqa: PTH102
        record = fill(temporary, checkpoint)
        os.rename(temporary, folder / checkpoint.name)  # noqa: PTH104
        sync_folder(folder)
        replace_file(folder / LATEST, f"{checkpoint.name} {record}\n".encode())
        prune(folder, keep)
    except OSError as error:
        with suppress(OSError):
            remove(temporary)
        raise unwritable(folder, error, still_there(run)) from error


def fill(folder: Path, checkpoint: Checkpoint) -> str:
    """Write the files of a checkpoint; return the digest of its manifest."""
    contents = {
        f"{name}.safetensors": to_bytes(tensors) for name, tensors in checkpoint.tensors.items()
    }
    state = {"format": FORMAT, "step": checkpoint.step, **checkpoint.state}
    contents[STATE] = (json.dumps(state, indent=1, sort_keys=True) + "\n").encode()
    contents[MANIFEST] = "".join(
        f"{digest(data)}  {name}\n" for name, data in contents.items()
    ).encode()
    for name, data in contents.items():
        write_new(folder / name, data)
    sync_folder(folder)
    return digest(contents[MANIFEST])


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest checkpoints; what is half removed has a temporary name."""
    for name in names(folder)[keep:]:
        doomed = folder / f"{TEMPORARY}old-{name}"
        remove(doomed)
        os.rename(folder / name, doomed)  # noqa: PTH104
        remove(doomed)


def still_there(run: Path) -> str:
    """Say which checkpoint there is, whatever went wrong with a newer one."""
    with suppress(BadInput):
        found = load(run)
        return f"the checkpoint of step {found.checkpoint.step:,} is intact" if found else ""
    return ""


def load(run: Path) -> Loaded | None:
    """Return the latest checkpoint, or the newest good one before it; None if there are none.

    Raises:
        BadInput: there are some, and none is good.
    """
    folder = run / FOLDER
    refuse_link(folder)
    there = names(folder)
    damaged: dict[str, str] = {}
    try:
        return Loaded(latest(folder, there), damaged)
    except Misnamed as error:
        damaged[LATEST] = str(error)
    except (Damaged, OSError):
        pass  # what is damaged comes again below
    for name in there:
        try:
            return Loaded(read(folder / name), damaged)
        except Damaged as error:
            damaged[name] = str(error)
    if not damaged:
        return None
    raise BadInput(
        f"no checkpoint in {run} can be used",
        why="\n".join(f"{name}: {why}" for name, why in damaged.items()),
        hint="start anew in another folder with --out",
    )


def latest(folder: Path, there: Sequence[str]) -> Checkpoint:
    """Read the checkpoint that LATEST names, one of those that are there.

    Raises:
        FileNotFoundError: there is neither.
        Misnamed: LATEST will not do.
        Damaged: the checkpoint is not what was written.
    """
    try:
        text = read_bounded(folder / LATEST, SMALL).decode("ascii", "replace")
    except OSError as error:
        if not there:
            raise
        raise Misnamed(said(error)) from error
    found = POINTER.fullmatch(text)
    if not found or found[1] not in there:
        raise Misnamed("it does not name a checkpoint that is there")
    return read(folder / found[1], found[2])


def names(folder: Path) -> list[str]:
    """Return the names of the finished checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = (each.name for each in folder.iterdir())
    return sorted((name for name in found if NAMED.fullmatch(name)), key=int, reverse=True)


def read(folder: Path, record: str = "") -> Checkpoint:
    """Read a checkpoint, every byte of it verified.

    Args:
        folder: its own.
        record: the digest that its manifest must have, if known.

    Raises:
        Misnamed: it has another digest.
        Damaged: it is not what was written.
        BadInput: it is, and is not for this version, or holds no tensors but a pickle.
    """
    try:
        contents = verified(folder, record)
        state = json.loads(contents.pop(STATE))
    except OSError as error:
        raise Damaged(said(error)) from error
    if state["format"] != FORMAT:
        raise BadInput(
            f"{folder} has format {state['format']}",
            why=f"this version of handgrad reads format {FORMAT}; it was written by another",
            hint="resume with the version that wrote it",
        )
    tensors = {
        name.removesuffix(".safetensors"): from_bytes(data, str(folder / name))
        for name, data in contents.items()
    }
    if f"{state['step']:09d}" != folder.name:
        raise Damaged(f"it is of step {state['step']:,}")
    return Checkpoint(state["step"], tensors, state)


def verified(folder: Path, record: str) -> dict[str, bytes]:
    """Return the files that the manifest names, each with the digest that it should have."""
    if folder.is_symlink():
        raise Damaged("it is a symbolic link")
    data = read_bounded(folder / MANIFEST, SMALL)
    if record and digest(data) != record:
        raise Misnamed(f"it names another {MANIFEST} of {folder.name}")
    text = data.decode("ascii", "replace")
    lines = [LINE.fullmatch(line) for line in text.removesuffix("\n").split("\n")]
    found = {line[2]: line[1] for line in lines if line}
    if len(found) != len(lines) or STATE not in found or not text.endswith("\n"):
        raise Damaged(f"{MANIFEST} is no manifest")
    contents = {}
    for name, expected in found.items():
        contents[name] = read_bounded(folder / name, LARGE)
        if digest(contents[name]) != expected:
            raise Damaged(f"{name} is not what was written: its SHA-256 differs")
    return contents


def said(error: OSError) -> str:
    """Return what the system said."""
    return error.strerror or str(error)


def digest(data: bytes) -> str:
    """Return SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def tidy(run: Path, loaded: Loaded | None) -> None:
    """Remove what crashes left, and set aside what is damaged or newer than what was loaded.

    Only for the holder of the run's lock.
    """
    folder = run / FOLDER
    if not folder.is_dir():
        return
    for each in list(folder.iterdir()):
        if each.name.startswith(TEMPORARY):
            remove(each)
    for name in names(folder):
        if loaded and name in loaded.damaged:
            aside = folder / (name + DAMAGED)
            remove(aside)
            os.rename(folder / name, aside)  # noqa: PTH104
        elif not loaded or int(name) > loaded.checkpoint.step:
            remove(folder / name)  # finished, but LATEST never named it
    if loaded and loaded.damaged:
        record = digest(read_bounded(folder / loaded.checkpoint.name / MANIFEST, SMALL))
        replace_file(folder / LATEST, f"{loaded.checkpoint.name} {record}\n".encode())
