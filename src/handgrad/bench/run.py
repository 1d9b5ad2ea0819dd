"""The benchmark: models at batch sizes, each done by all who can, in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handgrad.bench import rivals
from handgrad.bench.by_jax import AT_ONCE
from handgrad.bench.machine import machine
from handgrad.bench.models import MODELS, SEED, Case, Model, case, model_named
from handgrad.bench.paired import BLOCK, Spread, in_turn, ratios, spread
from handgrad.bench.peak import peak
from handgrad.errors import BadInput, HandgradError
from handgrad.models.character_mlp import BATCH
from handgrad.native.compilers import CannotBuild
from handgrad.threads import one_thread

SEED_FLOP = 2.19e6
"""Of a step of the seed at batch 32: three products of matrices for each of its two layers."""

PEAK = "peak"
ROUNDS = 20


@dataclass(frozen=True)
class Row:
    """A model at a batch size.

    Attributes:
        seconds: of a step, by who did it.
        ratios: how many times native's seconds each other took, by round.
        absent: why somebody did not run, by who.
        peak: the floating-point operations a second that were measured between the steps.
        reached: the share of them that native's step does.
    """

    model: str
    about: str
    batch: int
    seconds: Mapping[str, Spread] = field(default_factory=dict[str, Spread])
    ratios: Mapping[str, Spread] = field(default_factory=dict[str, Spread])
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    peak: Spread | None = None
    reached: Spread | None = None

    @property
    def margin(self) -> float | None:
        """Return how many times native's seconds the fastest other took."""
        return min((ratio.middle for ratio in self.ratios.values()), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return {
            "model": self.model,
            "about": self.about,
            "batch": self.batch,
            "seconds": {name: found.to_dict() for name, found in self.seconds.items()},
            "ratios": {name: found.to_dict() for name, found in self.ratios.items()},
            "absent": dict(self.absent),
            "peak": self.peak.to_dict() if self.peak else None,
            "reached": self.reached.to_dict() if self.reached else None,
        }


@dataclass(frozen=True)
class Bench:
    """All rows, with what they were taken on.

    Attributes:
        notes: who could not run at all, and why.
        stopped: it was ended by Ctrl-C before the last row.
    """

    rows: tuple[Row, ...]
    machine: Mapping[str, Any]
    rounds: int
    notes: tuple[str, ...] = ()
    stopped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        return {
            "machine": dict(self.machine),
            "rounds": self.rounds,
            "rows": [row.to_dict() for row in self.rows],
            "notes": list(self.notes),
            "stopped": self.stopped,
        }


def chosen(names: Sequence[str], batches: Sequence[int]) -> list[tuple[Model, int]]:
    """Return the models and batch sizes that are asked for; without any, all of them.

    Raises:
        BadInput: there is no such model, or a batch is too small.
    """
    models = [model_named(name) for name in names] or list(MODELS.values())
    if any(batch < 1 for batch in batches):
        raise BadInput("a batch has at least one example", hint="--batch 1,32,256")
    found = [(model, batch) for model in models for batch in batches or model.batches]
    return [each for each in found if not (each[0].name == SEED and each[1] == 1)] or refuse_seed()


def refuse_seed() -> list[tuple[Model, int]]:
    """Refuse what remains if only the seed at batch 1 was asked for.

    Raises:
        BadInput: always.
    """
    raise BadInput(
        "seed cannot be trained on batches of 1",
        why="batch norm's variance divides by n - 1",
        hint="--batch 2 or more",
    )


def bench(
    names: Sequence[str] = (),
    batches: Sequence[int] = (),
    *,
    rounds: int = ROUNDS,
    torch_compile: bool = True,
    block: float = BLOCK,
    on_stage: Callable[[int, int, str], None] = lambda *_: None,
    on_row: Callable[[Row], None] = lambda _: None,
) -> Bench:
    """Time training steps on one thread; Ctrl-C keeps the rows that are done.

    Args:
        names: of models.
        batches: their sizes; each model's own without any.
        rounds: how often each has its turn.
        torch_compile: whether `torch.compile` is one of them.
        block: the seconds of a turn.
        on_stage: called with the cases done, their number, and what is being done now.
        on_row: called with each row.

    Raises:
        BadInput: there is no such model, or numbers are too small.
    """
    if rounds < 1:
        raise BadInput(f"cannot time {rounds} rounds", hint="ask for at least 1")
    asked = chosen(names, batches)
    facts, stopped, rows = machine(), False, list[Row]()
    who, notes = rivals.present(torch_compile=torch_compile)
    with one_thread():
        try:
            for done, (model, batch) in enumerate(asked):

                def stage(what: str, done: int = done, at: str = f"{model.name} {batch}") -> None:
                    on_stage(done, len(asked), f"{at}: {what}")

                rows.append(measured(case(model, batch), who, rounds, block, stage))
                on_row(rows[-1])
        except KeyboardInterrupt:
            stopped = True
    on_stage(len(rows), len(asked), "")
    return Bench(tuple(rows), facts, rounds, tuple(notes), stopped)


def measured(
    case: Case, who: Sequence[str], rounds: int, block: float, stage: Callable[[str], None]
) -> Row:
    """Return the row of a case."""
    steps: dict[str, Callable[[int], None]] = {}
    absent: dict[str, str] = {}
    for name, why, made in prepared(case, who, stage):
        if made:
            steps[name] = made
        elif why:
            absent[name] = why
    work = 0.0
    if case.model.name == SEED and case.batch == BATCH:
        try:
            steps[PEAK], work = peak()
        except CannotBuild as error:
            absent[PEAK] = error.what
    stage("steps in turn")
    times = in_turn(steps, rounds, at_least={rivals.JAX: AT_ONCE}, block=block)
    return row_of(case, times, absent, work)


def prepared(
    case: Case, who: Sequence[str], stage: Callable[[str], None]
) -> Iterator[tuple[str, str, Callable[[int], None] | None]]:
    """Yield each one's name with why it is absent, or with its steps."""
    for name in who:
        stage(f"preparing {name}")
        try:
            yield name, "", rivals.RIVALS[name](case)
        except (rivals.Absent, HandgradError) as reason:
            yield name, str(reason).partition("\n")[0], None


def row_of(case: Case, times: dict[str, list[float]], absent: dict[str, str], work: float) -> Row:
    """Return the row of a case's times."""
    turns = times.pop(PEAK, [])
    own = times.get(rivals.NATIVE)
    most = [work / second for second in turns]
    share = [SEED_FLOP / t / p for t, p in zip(own or [], most, strict=False)]
    return Row(
        model=case.model.name,
        about=case.model.about,
        batch=case.batch,
        seconds={name: spread(found) for name, found in times.items()},
        ratios=ratios(times, rivals.NATIVE) if own else {},
        absent={k: v for k, v in absent.items() if k != rivals.JAX or case.model.name == SEED},
        peak=spread(most) if most else None,
        reached=spread(share) if share else None,
    )
