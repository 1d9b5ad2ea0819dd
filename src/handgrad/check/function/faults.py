"""Mistakes of the whole backward: it raises, returns too few, or changes what is not its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from handgrad.check.function.calls import run_backward, same
from handgrad.check.function.trial import Trial, fresh
from handgrad.check.report import Diagnosis, Row, Verdict


@dataclass(frozen=True)
class Fault:
    """One mistake, in one configuration."""

    method: str
    kind: str
    text: str
    told: str
    suggestion: str = ""


def faults(trial: Trial, twice: bool) -> Iterator[Fault]:
    """Yield the mistakes of a configuration.

    Args:
        trial: the configuration.
        twice: whether to call backward once more with the same ctx.
    """
    for place in trial.forward.unmarked:
        name = trial.subject.names[place]
        text = f"forward changes its input {name} in place and does not mark it dirty"
        hint = f"ctx.mark_dirty({name}), or work on {name}.clone()"
        yield Fault("forward", "mutates", text, trial.told, hint)
    back = trial.backward
    if back.error:
        yield Fault("backward", "raises", f"raised {back.error}", trial.told)
        return
    wanted, got = len(trial.case.values), len(back.returned)
    if not complete(trial):
        text = f"returned {got} gradient{'s' * (got != 1)} for {wanted} inputs"
        names = ", ".join(f"d{name}" for name in trial.subject.names)
        yield Fault("backward", "count", text, trial.told, f"return {names}")
    for words in back.changed:
        text = f"backward changes {words} in place"
        hint = "make a new tensor: torch hands the same one to others"
        yield Fault("backward", "mutates", text, trial.told, hint)
    yield from strays(trial)
    if twice and not back.changed:
        yield from unsteady(trial)


def complete(trial: Trial) -> bool:
    """Tell whether there is a gradient for each input; more are allowed if they are None."""
    wanted, returned = len(trial.case.values), trial.backward.returned
    return len(returned) >= wanted and all(extra is None for extra in returned[wanted:])


def strays(trial: Trial) -> Iterator[Fault]:
    """Yield gradients of what is no tensor: torch refuses them."""
    for name, value, given in zip(
        trial.subject.names, trial.case.values, trial.backward.returned, strict=False
    ):
        if given is not None and not isinstance(value, torch.Tensor):
            text = f"returned a gradient for {name}, which is a {type(value).__name__}"
            yield Fault("backward", "stray", text, trial.told, f"return None for {name}")


def unsteady(trial: Trial) -> Iterator[Fault]:
    """Call backward again with the same ctx: it must give the same."""
    again = run_backward(trial.subject, trial.forward, fresh(trial.upstreams), trial.case.seed + 2)
    if again.error:
        return  # freeing what is saved after the first call is allowed
    for name, first, second in zip(
        trial.subject.names, trial.backward.returned, again.returned, strict=False
    ):
        both = isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)
        if both and not same(first, second):
            text = f"called twice with the same ctx, backward returns two different d{name}"
            hint = "change nothing that is saved, and draw nothing at random in backward"
            yield Fault("backward", "unsteady", text, trial.told, hint)
            return


def fault_rows(found: list[Fault]) -> list[Row]:
    """Return one row for each method that has a mistake: its first one, then others in brief."""
    rows = []
    for method in ("forward", "backward"):
        kinds: dict[str, list[Fault]] = {}
        for fault in found:
            if fault.method == method:
                kinds.setdefault(fault.kind, []).append(fault)
        if not kinds:
            continue
        note = "; also ".join(f"{group[0].text}, at {group[0].told}" for group in kinds.values())
        first = next(iter(kinds.values()))
        diagnosis = None
        if first[0].kind != "raises":
            proof = f"seen in {len(first)} configurations"
            diagnosis = Diagnosis(first[0].kind, first[0].text, proof, first[0].suggestion)
        rows.append(Row(method, Verdict.WRONG, note=note, diagnosis=diagnosis))
    return rows
