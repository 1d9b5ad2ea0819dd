"""Train a model by name in a folder of its own, so that nothing is lost whenever it ends."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.interrupt import interruptible
from handgrad.threads import reproducible
from handgrad.trace import trace
from handgrad.train import checkpoint as disk
from handgrad.train.backends import backend_for
from handgrad.train.data import Vocabulary, load_words, split
from handgrad.train.durable import refuse_link, unwritable
from handgrad.train.environment import differences, environment
from handgrad.train.evaluate import mean_loss
from handgrad.train.lock import NAME as LOCK
from handgrad.train.lock import locked
from handgrad.train.log import LOSSES, RECORDS, Log
from handgrad.train.loop import Moment
from handgrad.train.runner import Run
from handgrad.train.settings import FREE, Settings, another_run, resumed, settle, stored
from handgrad.train.tensors import differing, fill, refuse_file
from handgrad.train.zoo import Examples, Model, model_named, refuse_labels

STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Data:
    """Words, and the examples that a model takes of them.

    Attributes:
        parts: `train`, `validation` and `test`.
        about: what tells these words from others.
    """

    words: tuple[str, ...]
    vocabulary: Vocabulary
    parts: Mapping[str, Examples]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Fitted:
    """What a run came to.

    Attributes:
        start: the steps that were done before.
        step: the steps that are done.
        stopped: the signal that ended it; 0 for none.
        losses: the mean loss of each part of the data; none if a signal ended it.
    """

    folder: Path
    settings: Settings
    backend: str
    start: int
    step: int
    seconds: float
    stopped: int
    losses: Mapping[str, float | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "folder": str(self.folder),
            "settings": self.settings.to_dict(),
            "backend": self.backend,
            "start": self.start,
            "step": self.step,
            "seconds": self.seconds,
            "stopped": signal.Signals(self.stopped).name if self.stopped else "",
            "losses": dict(self.losses),
        }


@dataclass(frozen=True)
class Watcher:
    """Who is told.

    Attributes:
        note: of what one should know.
        start: of what is about to be trained, in a sentence.
        step: of every few steps.
    """

    note: Callable[[str], None] = lambda _: None
    start: Callable[[str], None] = lambda _: None
    step: Callable[[Moment], None] = lambda _: None


SILENT = Watcher()


def fit(
    folder: Path,
    given: Mapping[str, Any],
    *,
    resume: bool = False,
    force: bool = False,
    watcher: Watcher = SILENT,
) -> Fitted:
    """Train, or go on training, with checkpoints; SIGINT and SIGTERM end it after a step.

    Args:
        folder: the run's own.
        given: the settings that were asked for, others by default or as they were.
        resume: whether to go on from the folder's latest checkpoint.
        force: whether to go on though settings or data differ.
        watcher: who is told how it goes.

    Raises:
        BadInput: settings, data, folder or checkpoint will not do, or the loss is not finite.
    """
    refuse_link(folder)
    refuse_link(folder / disk.FOLDER)
    if resume:
        refuse_file(folder)
        with holding(folder, watcher) as left:
            if loaded := disk.load(folder):
                return going_on(folder, loaded, given, force, watcher)
            if not left:
                raise BadInput(f"{folder} has no checkpoint", hint="start without --resume")
            watcher.note("it had no checkpoint yet: this one starts at step 0")
            settings = settle(given)
            return begin(folder, settings, read_data(settings), watcher)
    settings = settle(given)
    data = read_data(settings)
    refuse_used(folder)
    with holding(folder, watcher):
        refuse_started(folder)
        return begin(folder, settings, data, watcher)


@contextmanager
def holding(folder: Path, watcher: Watcher) -> Iterator[bool]:
    """Make a folder if it is missing, and hold its lock; yield whether a crash left one there."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            left = stack.enter_context(locked(folder))
        except OSError as error:
            raise unwritable(folder, error) from error
        if left:
            watcher.note(f"an earlier run did not end in order: {left.describe()}")
        yield left is not None


def refuse_used(folder: Path) -> None:
    """Refuse a folder with files of these names that no run wrote.

    Raises:
        BadInput: it is a file, or has one.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file, not a folder", hint="name another with --out")
    if (folder / LOCK).exists():
        return
    for name in (disk.FOLDER, LOSSES, RECORDS):
        if (folder / name).exists():
            raise BadInput(
                f"{folder / name} is there already, and no run of handgrad wrote it",
                hint="name another folder with --out",
            )


def refuse_started(folder: Path) -> None:
    """Refuse a folder that has a run with a checkpoint.

    Raises:
        BadInput: it has.
    """
    if disk.names(folder / disk.FOLDER):
        raise BadInput(
            f"{folder} has a run already",
            hint="go on with --resume, or name another folder with --out",
        )


def read_data(settings: Settings, vocabulary: Vocabulary | None = None) -> Data:
    """Read the words and make the examples.

    Raises:
        BadInput: they will not do.
    """
    path = Path(settings.data) if settings.data else None
    words = tuple(load_words(path, vocabulary))
    vocabulary = vocabulary or Vocabulary.from_words(words)
    model = model_named(settings.model)
    cut = zip(("train", "validation", "test"), split(words), strict=True)
    parts = {name: model.examples(part, vocabulary) for name, part in cut}
    if not len(parts["train"][0]):
        raise BadInput(
            "there are too few characters to train on",
            where=settings.data,
            why=f"{model.name} reads {model.block_size} at a time",
            hint="give more words, or a model that reads less",
        )
    refuse_labels(parts["train"], len(vocabulary))
    about = {
        "words": len(words),
        "characters": "".join(vocabulary.characters),
        "sha256": hashlib.sha256("\n".join(words).encode()).hexdigest(),
    }
    return Data(words, vocabulary, parts, about)


def begin(folder: Path, settings: Settings, data: Data, watcher: Watcher) -> Fitted:
    """Start a run at step 0, with a checkpoint of it."""
    with cleared(folder, None), reproducible(settings.threads):
        generator = torch.Generator().manual_seed(settings.seed)
        run = build(folder, settings, data, generator, watcher)
        run.log = Log(folder, None, settings.dtype)
        run.save()
        return steps(run, data, watcher)


def going_on(
    folder: Path, loaded: disk.Loaded, given: Mapping[str, Any], force: bool, watcher: Watcher
) -> Fitted:
    """Go on from a checkpoint."""
    for note in loaded.notes:
        watcher.note(note)
    found, state = loaded.checkpoint, loaded.checkpoint.state
    before = stored(state["settings"])
    settings = resumed(before, given, force)
    data = read_data(settings, Vocabulary(tuple(state["data"]["characters"])))
    changed = changes(state["data"], data.about)
    if changed and not force:
        raise another_run(changed, can_force=True)
    with cleared(folder, loaded), reproducible(settings.threads):
        generator = torch.Generator().manual_seed(settings.seed)
        run = build(folder, settings, data, generator, watcher)
        restore(run, found)
        tell_differences(state["environment"], run, before, watcher)
        run.log = Log(folder, state["logs"], settings.dtype)
        for name, count in run.log.missing.items():
            watcher.note(f"{name} has lost {count:,} bytes that were there at the checkpoint")
        return steps(run, data, watcher)


@contextmanager
def cleared(folder: Path, loaded: disk.Loaded | None) -> Iterator[None]:
    """Tidy the checkpoints; turn what the system refuses into a message."""
    try:
        disk.tidy(folder, loaded)
        yield
    except OSError as error:
        raise unwritable(folder, error, disk.still_there(folder)) from error


def build(
    folder: Path, settings: Settings, data: Data, generator: torch.Generator, watcher: Watcher
) -> Run:
    """Draw the parameters, trace and derive the model, make the backend."""
    model = model_named(settings.model)
    dtype = getattr(torch, settings.dtype)
    parameters = model.parameters(len(data.vocabulary), generator, dtype=dtype)
    examples = data.parts["train"]
    first = torch.arange(settings.batch) % len(examples[0])
    values = {**parameters, **model.batch(examples, first)}
    traced = trace(model.forward, **{name: values[name] for name in model.arguments})
    backend, note = backend_for(traced, parameters, settings)
    if note:
        watcher.note(note)
    about = {"settings": settings.to_dict(), "data": dict(data.about)}
    return Run(folder, settings, model, examples, backend, generator, about, environment(backend))


def restore(run: Run, found: disk.Checkpoint) -> None:
    """Put a run where a checkpoint says it stood.

    Raises:
        BadInput: the checkpoint's tensors are not this model's and optimiser's.
    """
    for file, mine in (("parameters", run.backend.parameters), ("optimiser", run.backend.state)):
        lines = differing(found.tensors.get(file, {}), mine)
        if lines:
            raise another_run([f"{file}: {line}" for line in lines], can_force=False)
        fill(mine, found.tensors[file])
    run.generator.set_state(found.tensors["random"]["generator"])
    run.step = found.step


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each figure in which data differs."""
    return [
        f"data, {name}: {before.get(name)} in the checkpoint, {value} now"
        for name, value in now.items()
        if before.get(name) != value
    ]


def tell_differences(
    recorded: Mapping[str, Any], run: Run, before: Settings, watcher: Watcher
) -> None:
    """Say where the run cannot be bit for bit what an unbroken one would have been."""
    lines = differences(recorded, run.environment)
    lines += [
        f"{name}: {value} then, {now} now"
        for (name, value), now in zip(
            before.to_dict().items(), run.settings.to_dict().values(), strict=True
        )
        if value != now and name not in (*FREE, "data")
    ]
    if lines:
        watcher.note("not bit for bit what an unbroken run gives: " + "; ".join(lines))


def steps(run: Run, data: Data, watcher: Watcher) -> Fitted:
    """Do the steps that are left, then measure the losses."""
    watcher.start(described(run, data))
    start = run.step
    try:
        with interruptible(*STOPPING) as came:
            seconds = run.until_done(came, watcher.step)
            stopped = came() if run.step < run.settings.steps else 0
    finally:
        run.log.close()
    losses = {} if stopped else measured(run.model, run.backend.parameters, data)
    return Fitted(
        run.folder, run.settings, run.backend.name, start, run.step, seconds, stopped, losses
    )


def measured(model: Model, parameters: Mapping[str, Tensor], data: Data) -> dict[str, float | None]:
    """Return the mean loss of each part of the data."""
    network = model.network(parameters, data.parts["train"])
    return {name: mean_loss(network, *model.apart(part)) for name, part in data.parts.items()}


def described(run: Run, data: Data) -> str:
    """Return what is about to be trained, on what, and how."""
    settings = run.settings
    total = sum(tensor.numel() for tensor in run.backend.parameters.values())
    where = f"step {run.step:,}" if run.step else "the start"
    return (
        f"{run.model.name} ({run.model.about}), {total:,} parameters, {settings.dtype}; "
        f"{len(data.words):,} words, {len(run.examples[0]):,} examples to train on; "
        f"{run.backend.name}, {settings.optimizer}, batches of {settings.batch}; "
        f"from {where} to step {settings.steps:,}"
    )
