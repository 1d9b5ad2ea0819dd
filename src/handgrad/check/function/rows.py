"""From what was found in every configuration to one row for each input."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Sequence

import torch

from handgrad.check.function.calls import Subject
from handgrad.check.function.judge import Outcome
from handgrad.check.function.suspects import explain
from handgrad.check.function.trial import Skipped
from handgrad.check.report import Row, Verdict

BAD = (Verdict.WRONG, Verdict.SHAPE, Verdict.TO_DO)
TOLD = 3  # reasons for configurations left out that are told


def row(
    subject: Subject, leaf: int, outcomes: Sequence[Outcome], skipped: Sequence[Skipped], seed: int
) -> Row:
    """Return the row of one input."""
    name = "d" + subject.names[leaf]
    failed = [outcome for outcome in outcomes if outcome.verdict in BAD]
    if failed:
        return failing(subject, name, outcomes, failed, seed)
    plain = Row(name, Verdict.CORRECT)
    if not outcomes:
        note = "backward gave nothing to judge"
        return Row(name, Verdict.UNCONFIRMED, note=note)
    first = outcomes[0]
    plain = measured(plain, first)
    doubted = [o for o in outcomes if o.second]
    decided = [o for o in outcomes if o.verdict.good and not o.zero]
    if doubted:
        note = f"{doubted[0].note} ({doubted[0].trial.told})"
        return Row(**{**vars(plain), "verdict": Verdict.UNCONFIRMED, "note": note})
    if decided:
        note = passed(outcomes, skipped)
        return Row(**{**vars(plain), "note": note})
    undecided = [o for o in outcomes if o.verdict is Verdict.UNCONFIRMED]
    if undecided:
        note = undecided[0].note
        return Row(**{**vars(plain), "verdict": Verdict.UNCONFIRMED, "note": note})
    why = [o.note for o in outcomes if o.verdict is Verdict.UNTESTED]
    note = why[0] if why else "its gradient is zero in every configuration: any formula would pass"
    return Row(**{**vars(plain), "verdict": Verdict.UNTESTED, "note": note})


def passed(outcomes: Sequence[Outcome], skipped: Sequence[Skipped]) -> str:
    """Say in how many configurations a gradient is right, and where the forward raised."""
    good = sum(o.verdict.good for o in outcomes)
    note = f"{good} configurations"
    raised = [f"{each.told} ({each.why})" for each in skipped if each.why]
    if raised:
        more = f" and {len(raised) - TOLD} more" if len(raised) > TOLD else ""
        note += f"; the forward raises at {', '.join(raised[:TOLD])}{more}"
    extra = next((o.note for o in outcomes if o.verdict.good and o.note), "")
    return f"{note}; {extra}" if extra else note


def failing(
    subject: Subject, name: str, outcomes: Sequence[Outcome], failed: list[Outcome], seed: int
) -> Row:
    """Return the row of a gradient that is wrong somewhere: the first place, and how often."""
    first = failed[0]
    verdict = first.verdict
    if verdict is Verdict.SHAPE and any(o.verdict is Verdict.WRONG for o in failed):
        verdict = Verdict.WRONG
    if verdict is Verdict.TO_DO and not never(outcomes):
        verdict = Verdict.WRONG
    note = f"{first.note}, at {first.trial.told}"
    if len(failed) < len(outcomes):
        note += f"; wrong in {len(failed)} of {len(outcomes)} configurations"
    note += f" (seed {seed})"
    if verdict is Verdict.TO_DO:
        note += "; give only the inputs that have a gradient requires_grad=True to leave it out"
    line, number = last_return(subject, first.leaf)
    diagnosis = None if verdict is Verdict.TO_DO else explain(failed, outcomes)
    row = measured(Row(name, verdict, line=line, number=number, note=note), first)
    return Row(**{**vars(row), "diagnosis": diagnosis})


def never(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether backward never returned this gradient."""
    return all(o.given is None for o in outcomes)


def measured(row: Row, outcome: Outcome) -> Row:
    """Return a row with what the notebook's `cmp` would show."""
    given, expected = outcome.given, outcome.expected
    shape = tuple(outcome.trial.forward.inputs[outcome.leaf].shape)
    found: dict[str, object] = {"expected_shape": shape}
    if isinstance(given, torch.Tensor):
        found["shape"] = tuple(given.shape)
        if expected is not None and given.shape == expected.shape:
            truth = expected.to(given.dtype)
            found["exact"] = bool((given == truth).all())
            found["approximate"] = torch.allclose(given, truth)
            apart = (given - truth).abs()
            found["maxdiff"] = float(apart.max()) if apart.numel() else 0.0
    return Row(**{**vars(row), **found})


def last_return(subject: Subject, leaf: int) -> tuple[str, int]:
    """Return the part of backward's last `return` that is one input's gradient, and its line."""
    try:
        lines, start = inspect.getsourcelines(subject.function.backward)
        source = textwrap.dedent("".join(lines))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError):  # no source, as of a notebook that is gone
        return "", 0
    returns = [n for n in ast.walk(tree) if isinstance(n, ast.Return) and n.value is not None]
    if not returns:
        return "", 0
    last = max(returns, key=lambda node: node.lineno)
    text = (ast.get_source_segment(source, last) or "").splitlines()[0]
    return text, start + last.lineno - 1
