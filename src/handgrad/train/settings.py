"""What a run is asked to do: defaults, refusals, and what may change when it goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from handgrad.errors import BadInput
from handgrad.train.zoo import model_named

BACKENDS = ("eager", "compile", "native")
RATES = {"sgd": 0.1, "adagrad": 0.01, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001}
"""Each optimiser with a learning rate that often suits it."""

SCHEDULES = ("step", "cosine", "constant")
DTYPES = ("float32", "float64")
SEEDS = range(-(2**63), 2**64 - 10)

FALLS = 10
"""What the learning rate is divided by in the end, by `step` and by `cosine`."""

FIXED = ("model", "dtype", "optimizer")
FREE = ("steps", "backend", "threads", "every", "keep")
"""Of a resumed run: what cannot change, and what can without a word; the rest takes --force."""


@dataclass(frozen=True)
class Settings:
    """A run's settings, all of them.

    Attributes:
        data: the file of words; empty for the built-in names.
        turn: the step at which the rate falls, by `step`, or has fallen, by `cosine`.
        clip: the largest norm of all gradients together; 0 for none.
        every: the steps between checkpoints.
        keep: how many checkpoints.
        record: the steps between records of the update-to-data ratios.
    """

    model: str = "character_mlp"
    data: str = ""
    steps: int = 20_000
    batch: int = 32
    dtype: str = "float32"
    seed: int = 2147483647
    optimizer: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    lr: float = 0.1
    schedule: str = "step"
    turn: int = 10_000
    clip: float = 0.0
    backend: str = "native"
    threads: int = 1
    every: int = 1_000
    keep: int = 3
    record: int = 100

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if self.schedule == "step":
            return self.lr if step < self.turn else self.lr / FALLS
        if self.schedule == "cosine":
            low = self.lr / FALLS
            share = min(step / self.turn, 1.0)
            return low + (self.lr - low) * (1 + math.cos(math.pi * share)) / 2
        return self.lr

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return asdict(self)


def settle(given: Mapping[str, Any]) -> Settings:
    """Return the settings of a new run: what is given, and defaults that suit it.

    Raises:
        BadInput: something given will not do.
    """
    model = model_named(given.get("model", Settings.model))
    steps = given.get("steps", Settings.steps)
    optimizer = given.get("optimizer", model.optimizer)
    suited = model.rate if optimizer == model.optimizer else RATES.get(optimizer, 0.1)
    settled = Settings(
        **{
            "optimizer": optimizer,
            "weight_decay": 0.01 if optimizer == "adamw" else 0.0,
            "lr": suited,
            "turn": steps if given.get("schedule") == "cosine" else max(1, steps // 2),
            "every": max(500, steps // 20),
            "record": max(1, steps // 200),
            **given,
        }
    )
    refuse(settled)
    return settled


def refuse(settings: Settings) -> None:
    """Refuse settings that cannot be trained with.

    Raises:
        BadInput: one of them will not do.
    """
    model_named(settings.model)
    for name, choices in (
        ("backend", BACKENDS),
        ("optimizer", tuple(RATES)),
        ("schedule", SCHEDULES),
        ("dtype", DTYPES),
    ):
        if getattr(settings, name) not in choices:
            asked = getattr(settings, name)
            raise BadInput(f"there is no {name} {asked!r}", hint=f"one of {', '.join(choices)}")
    if settings.steps < 1:
        raise BadInput(f"cannot train for {settings.steps} steps", hint="ask for at least 1 step")
    for name in ("batch", "turn", "threads", "every", "keep"):
        if getattr(settings, name) < 1:
            option = "--decay-at" if name == "turn" else f"--{name}"
            raise BadInput(f"{option} is {getattr(settings, name)}", hint="at least 1")
    if settings.batch == 1 and model_named(settings.model).calibrated:
        raise BadInput(
            f"{settings.model} cannot be trained on batches of 1",
            why="batch norm's variance divides by n - 1",
            hint="--batch 2 or more, or the model layer_norm_mlp",
        )
    if settings.seed not in SEEDS:
        raise BadInput(
            f"{settings.seed} is too large for a seed", hint="give a number of at most 18 digits"
        )
    refuse_numbers(settings)


def refuse_numbers(settings: Settings) -> None:
    """Refuse a learning rate, a clip or a decay that is no such thing.

    Raises:
        BadInput: one is.
    """
    if not 0 < settings.lr < math.inf:
        raise BadInput(
            f"the learning rate is {settings.lr:g}",
            why="a step goes against the gradient by a rate above 0, and a finite one",
            hint="--lr 0.1 for sgd, --lr 0.001 for adam",
        )
    for name in ("clip", "weight_decay", "momentum"):
        value = getattr(settings, name)
        if not 0 <= value < (1 if name == "momentum" else math.inf):
            low = "from 0 to below 1" if name == "momentum" else "at least 0"
            raise BadInput(f"--{name.replace('_', '-')} is {value:g}", hint=low)
    if settings.momentum and settings.optimizer not in ("sgd", "rmsprop"):
        raise BadInput(
            f"{settings.optimizer} has no momentum to choose", hint="--optimizer sgd has"
        )
    if settings.nesterov and settings.optimizer != "sgd":
        raise BadInput(f"{settings.optimizer} is not Nesterov's", hint="--optimizer sgd")
    if settings.nesterov and not settings.momentum:
        raise BadInput("Nesterov's step needs momentum", hint="--momentum 0.9 --nesterov")


def stored(data: Mapping[str, Any]) -> Settings:
    """Return the settings in a checkpoint's state; those it does not know are the defaults."""
    known = {field.name for field in fields(Settings)}
    return Settings(**{name: value for name, value in data.items() if name in known})


def resumed(before: Settings, given: Mapping[str, Any], force: bool) -> Settings:
    """Return the settings of a run that goes on.

    Args:
        before: those it had.
        given: what is asked for now.
        force: whether what it would have to be told twice is told.

    Raises:
        BadInput: it would be another run.
    """
    settled = replace(before, **given)
    refuse(settled)
    changed = [
        f"{name}: {value} in the checkpoint, {given[name]} asked for"
        for name, value in asdict(before).items()
        if name in given and given[name] != value and name not in (*FREE, "data")
    ]
    hard = [line for line in changed if line.startswith(tuple(f"{name}:" for name in FIXED))]
    if hard or (changed and not force):
        raise another_run(changed, can_force=not hard)
    return settled


def another_run(changed: list[str], *, can_force: bool) -> BadInput:
    """Say, field by field, what differs from the run that a checkpoint is of."""
    hint = "leave these options out, or start anew with another --out"
    if can_force:
        hint += "; --force goes on all the same"
    return BadInput("the checkpoint is of another run", why="\n".join(changed), hint=hint)
