"""Run a person's backward pass once as it stands, and note what each statement did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from handgrad.check.asking import Watch, asked_by
from handgrad.check.statements import Statement


@dataclass(frozen=True)
class Write:
    """One write of a name: which statement, whether the tensor was made anew, its value then.

    Attributes:
        statement: place of the statement.
        fresh: a new tensor, not a change of the one that was there.
        value: what the name held afterwards.
        shares: other names on the same memory, when it was changed in place.
    """

    statement: int
    fresh: bool
    value: Any
    shares: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A statement that raised."""

    statement: int
    error: str


@dataclass
class Run:
    """What happened.

    Attributes:
        writes: for each name, its writes in order.
        failures: the statements that raised.
        supplied: gradients that were read and never assigned, given from the trace.
        mutated: forward names that a statement changed, with the statement.
        asked: for each statement what it asked of autograd.
    """

    writes: dict[str, list[Write]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    supplied: list[str] = field(default_factory=list)
    mutated: list[tuple[str, int]] = field(default_factory=list)
    asked: dict[int, list[str]] = field(default_factory=dict[int, list[str]])

    def final(self, name: str) -> Any:
        """Return what a name held at the end."""
        return self.writes[name][-1].value


def run_once(
    body: tuple[Statement, ...],
    scope: dict[str, Any],
    forward: frozenset[str],
    missing: Mapping[str, Any],
) -> Run:
    """Run the statements in order.

    Args:
        body: the statements.
        scope: what they start with; changed by them.
        forward: names of the forward pass, restored where a gradient's statement changes them.
        missing: gradients to supply where one is read that nothing assigned.
    """
    run, watch = Run(), Watch()
    assigned = {name for statement in body for name in statement.assigns}
    for name in sorted({n for s in body for n in s.reads} & set(missing) - assigned):
        scope[name] = missing[name].clone()
        run.supplied.append(name)
    tensors = among(scope, scope)
    for place, statement in enumerate(body):
        before = {n: (v, v._version) for n, v in tensors.items()}
        near = touched(statement, tensors)
        kept = {n: v.clone() for n, v in tensors.items() if n in forward and n in near}
        foreseen = len(scope) + sum(n not in scope for n in statement.assigns)
        try:
            with torch.no_grad(), watch.statement(place, statement.code):
                exec(statement.code, scope)
        except Exception as error:  # the user's own code may raise anything
            run.failures.append(Failure(place, error_text(error)))
            stand_in(run, place, statement, scope, missing)
        # a file of thousands of lines has thousands of names, few of them tensors
        seen = scope if len(scope) > foreseen else [*tensors, *sorted(statement.assigns)]
        tensors = among(seen, scope)
        others = {n: scope[n] for n in sorted(statement.assigns) if n in scope}
        note_writes(run, place, statement, others | tensors, before)
        for name in changed(before, kept) if makes_gradient(statement, missing, forward) else ():
            old, value = before[name][0], kept[name]
            run.mutated.append((name, place))
            scope[name] = value if scope.get(name) is old else scope[name]
            tensors |= among([name], scope)
            forget(run, name, place)
    failed = {failure.statement for failure in run.failures}
    run.asked = asked_by(body, watch, failed, held(scope, run))
    return run


def held(scope: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Return what the names in a backward pass stand for, tensors that it makes aside."""
    made = {n: writes[-1].value for n, writes in run.writes.items() if writes}
    kept = {n: v for n, v in made.items() if not isinstance(v, torch.Tensor)}
    return {"torch": torch, "F": torch.nn.functional, **scope, **kept}


def makes_gradient(statement: Statement, missing: Iterable[str], forward: frozenset[str]) -> bool:
    """Tell whether a statement binds a gradient.

    What such a one changes beside it is its own mistake, and taken back; what another one changes,
    the next ones read so: it is a step of theirs.
    """
    bound = [name for name in statement.assigns if name.startswith("d")]
    return any(name in missing or name[1:] in forward for name in bound)


def changed(before: Mapping[str, tuple[Any, int]], kept: Mapping[str, Any]) -> list[str]:
    """Return the names whose tensors hold something else than before."""
    versions = {name: (before[name][0]._version, before[name][1]) for name in kept}
    moved = [name for name, (now, then) in versions.items() if now != then]
    return [name for name in moved if not torch.equal(before[name][0], kept[name])]


def error_text(error: Exception) -> str:
    """Return an error as its type and its words; one of another process says its own."""
    return error.text if isinstance(error, Elsewhere) else f"{type(error).__name__}: {error}"


class Elsewhere(Exception):
    """A statement raised in another process.

    Args:
        text: the error's type and words.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def among(names: Iterable[str], scope: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return those of the names that hold a tensor."""
    return {n: scope[n] for n in names if isinstance(scope.get(n), torch.Tensor)}


def stand_in(
    run: Run,
    place: int,
    statement: Statement,
    scope: dict[str, Any],
    missing: Mapping[str, Any],
) -> None:
    """Note what a statement that raised would have written; later lines read the right gradient."""
    for name in statement.assigns:
        fresh = name not in scope
        value = None if fresh else scope[name]
        kept = value.detach().clone() if isinstance(value, torch.Tensor) else value
        run.writes.setdefault(name, []).append(Write(place, fresh, kept))
        if fresh and name in missing:
            scope[name] = missing[name].clone()


def touched(statement: Statement, tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """Return the names whose memory a statement could change: those it reads, and their sharers."""
    storages = {
        tensors[name].untyped_storage().data_ptr()
        for name in (statement.reads | statement.assigns) & tensors.keys()
    }
    return {n for n, v in tensors.items() if v.untyped_storage().data_ptr() in storages}


def note_writes(
    run: Run, place: int, statement: Statement, scope: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Note which names a statement bound anew, and which tensors it changed in place."""
    changed: list[str] = []
    failed = bool(run.failures) and run.failures[-1].statement == place
    for name, value in scope.items():
        if failed and name in statement.assigns:
            continue
        if not isinstance(value, torch.Tensor):
            if name in statement.assigns:
                run.writes.setdefault(name, []).append(Write(place, True, value))
            continue
        old = before.get(name)
        if old is None or old[0] is not value:
            if old is not None or name in statement.assigns or old is None:
                run.writes.setdefault(name, []).append(Write(place, True, value.detach().clone()))
        elif old[1] != value._version:
            changed.append(name)
    written = statement.assigns | statement.reads
    for name in changed:
        others = tuple(other for other in changed if other != name)
        value = scope[name].detach().clone()
        direct = name in written
        run.writes.setdefault(name, []).append(Write(place, False, value, others if direct else ()))


def forget(run: Run, name: str, place: int) -> None:
    """Take back a write of a forward name that is restored."""
    kept = [w for w in run.writes.pop(name, []) if w.statement != place]
    run.writes |= {name: kept} if kept else {}
