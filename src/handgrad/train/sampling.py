"""New words from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.threads import one_thread
from handgrad.train import checkpoint as disk
from handgrad.train.data import Vocabulary
from handgrad.train.evaluate import Network, Predictor, sample
from handgrad.train.fit import changes, read_data
from handgrad.train.settings import SEEDS, Settings, another_run, stored
from handgrad.train.tensors import differing, refuse_file
from handgrad.train.zoo import model_named

MOST = 1_000_000


@dataclass(frozen=True)
class Sampled:
    """Words from a checkpoint.

    Attributes:
        step: how many steps the network was trained for.
        notes: what was wrong with later checkpoints.
    """

    words: tuple[str, ...]
    model: str
    step: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the words as plain data."""
        return {
            "model": self.model,
            "step": self.step,
            "words": list(self.words),
            "notes": list(self.notes),
        }


def sampled(folder: Path, count: int, seed: int, data: Path | None = None) -> Sampled:
    """Sample words from a run's latest checkpoint, or from one checkpoint's own folder.

    Args:
        folder: the run's, or the checkpoint's.
        count: how many words.
        seed: of the random numbers.
        data: the words it was trained on, if they are elsewhere now.

    Raises:
        BadInput: the folder holds no such thing, or the number or seed will not do.
    """
    if not 1 <= count <= MOST:
        raise BadInput(f"cannot sample {count} words", hint=f"between 1 and {MOST:,}")
    if seed not in SEEDS:
        raise BadInput(f"{seed} is too large for a seed", hint="give at most 18 digits")
    found, notes = opened(folder)
    settings = stored(found.state["settings"])
    if data is not None:
        settings = replace(settings, data=str(data))
    model = model_named(settings.model)
    vocabulary = Vocabulary(tuple(found.state["data"]["characters"]))
    with one_thread():
        network = network_of(found, settings, vocabulary)
        words = sample(network, vocabulary, count, seed, model.block_size, filled=not model.whole)
    return Sampled(words, model.name, found.step, tuple(notes))


def opened(folder: Path) -> tuple[disk.Checkpoint, list[str]]:
    """Read a checkpoint by its own folder or its run's.

    Raises:
        BadInput: there is none.
    """
    refuse_file(folder)
    if (folder / disk.MANIFEST).exists():
        try:
            return disk.read(folder), []
        except disk.Damaged as error:
            raise BadInput(
                f"{folder} is damaged", why=str(error), hint="use another checkpoint of its run"
            ) from error
    loaded = disk.load(folder)
    if loaded is None:
        raise BadInput(f"{folder} has no checkpoint", hint="handgrad train --out writes one")
    return loaded.checkpoint, loaded.notes


def network_of(found: disk.Checkpoint, settings: Settings, vocabulary: Vocabulary) -> Network:
    """Return the network of a checkpoint, batch norm calibrated over its data.

    Raises:
        BadInput: the tensors are not the model's, or the data is not what it was.
    """
    model = model_named(settings.model)
    parameters: Mapping[str, Tensor] = found.tensors.get("parameters", {})
    generator = torch.Generator().manual_seed(0)
    dtype = getattr(torch, settings.dtype)
    lines = differing(parameters, model.parameters(len(vocabulary), generator, dtype=dtype))
    if lines:
        raise another_run(lines, can_force=False)
    if not model.calibrated:
        return Predictor(parameters, model.predict)
    data = read_data(settings, vocabulary)
    if changed := changes(found.state["data"], data.about):
        raise BadInput(
            "batch norm is calibrated over the data of the run, and that has changed",
            why="\n".join(changed),
            hint="name the file that it was trained on with --data",
        )
    return model.network(parameters, data.parts["train"])
