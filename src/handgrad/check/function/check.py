"""`check_function`: a verdict for every input of a Function, over a ladder of configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from handgrad.check.compare import DOUBLE
from handgrad.check.function.calls import Subject, described, names_of, quiet, run_forward, same
from handgrad.check.function.cases import Case, Source
from handgrad.check.function.faults import Fault, complete, fault_rows, faults
from handgrad.check.function.judge import Judge, Outcome
from handgrad.check.function.ladder import ladder
from handgrad.check.function.rows import row
from handgrad.check.function.trial import Skipped, Trial, attempt
from handgrad.check.report import Report, Row, Verdict
from handgrad.errors import BadInput, UserCodeFailed

RANDOM = (
    "the forward is random: run twice on the same input with every generator in the same state it "
    "gave two different outputs; seed it, or give what it draws as an input"
)
INTENTS = ("derivative", "surrogate")
EARLY = 3  # ordinary configurations that are looked at with more care
TWICE = 2  # confirmed mistakes of an input; what follows is not looked into
SMALL = 20_000  # entries: finite differences are taken of larger inputs only where they must be


def check_function(
    function: type[torch.autograd.Function],
    *inputs: Any,
    intent: str = "derivative",
    surrogate: Callable[..., Any] | None = None,
    seed: int = 0,
) -> Report:
    """Judge the backward of a custom Function on a ladder of shapes, dtypes, layouts and points.

    Its `backward` is called directly, never through autograd's engine, which would sum a gradient
    to its input's shape and cast it. The truth is autograd through the lines of its `forward` in
    float64, and finite differences where autograd cannot enter. The forward is run at other sizes
    than those given; where it raises there, that configuration is left out and named.

    Args:
        function: the class; `forward(ctx, ...)`, or `forward(...)` with `setup_context`.
        inputs: what to call it with. Gradients are judged of the floating-point tensors, or of
            those alone that require one, if any does. They are not changed.
        intent: `surrogate` where backward is meant to be the derivative of something else than
            forward, as in a straight-through estimator.
        surrogate: with that intent, a function of the same inputs in plain torch.
        seed: what is random is drawn from it.

    Returns:
        A row for each input, `dx`, and one named `backward` or `forward` for what is wrong as a
        whole.

    Raises:
        BadInput: `function` is no Function, or there is nothing to take a gradient of.
        UserCodeFailed: the forward raises on the inputs given.
    """
    validate(function, inputs, intent, surrogate)
    base = torch.autograd.Function
    separate = function.setup_context is not base.setup_context
    names = names_of(function, separate, len(inputs))
    subject = Subject(function, names, separate, surrogate)
    leaves = leaves_of(inputs)
    own = tuple(v.detach().clone() if isinstance(v, torch.Tensor) else v for v in inputs)
    with quiet():
        return report(subject, Source(own, leaves), seed)


def validate(
    function: Any, inputs: tuple[Any, ...], intent: str, surrogate: Callable[..., Any] | None
) -> None:
    """Refuse what cannot be checked."""
    where = "check_function"
    if not (isinstance(function, type) and issubclass(function, torch.autograd.Function)):
        kind = getattr(function, "__name__", type(function).__name__)
        hint = "give the class itself: check_function(MyFunction, x), not MyFunction.apply"
        raise BadInput(f"{kind} is no torch.autograd.Function", where=where, hint=hint)
    if intent not in INTENTS:
        hint = f"one of {', '.join(INTENTS)}"
        raise BadInput(f"intent={intent!r} is not known", where=where, hint=hint)
    if (intent == "surrogate") != (surrogate is not None):
        raise BadInput(
            "intent='surrogate' and surrogate= belong together",
            where=where,
            hint="intent='surrogate', surrogate=lambda x: x",
        )
    if any(isinstance(value, torch.Tensor) and value.is_complex() for value in inputs):
        raise BadInput("complex tensors are not checked", where=where, hint="torch.view_as_real")
    if not leaves_of(inputs):
        hint = "give tensors of float64, float32, float16 or bfloat16"
        raise BadInput("no input is a floating-point tensor", where=where, hint=hint)


def leaves_of(inputs: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the places of the inputs that a gradient is asked of."""
    floats = [
        k for k, v in enumerate(inputs) if isinstance(v, torch.Tensor) and v.is_floating_point()
    ]
    marked = [k for k in floats if inputs[k].requires_grad]
    return tuple(marked or floats)


@dataclass
class Findings:
    """What was found so far.

    Attributes:
        outcomes: for each input, one for each configuration.
        skipped: configurations that the forward does not run at.
        faults: mistakes of the whole.
        plain: how many ordinary configurations there were.
    """

    outcomes: dict[int, list[Outcome]]
    skipped: list[Skipped] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    plain: int = 0


def report(subject: Subject, source: Source, seed: int) -> Report:
    """Run the ladder and gather the rows."""
    given = Case("", source.values, source.needs, seed, dtype=None)
    differs, count = first_runs(subject, given)
    if differs:
        rows = tuple(
            Row("d" + subject.names[leaf], Verdict.UNCONFIRMED, note=differs)
            for leaf in source.leaves
        )
        return Report(rows)
    found = Findings({leaf: [] for leaf in source.leaves})
    judge = Judge(tolerance(subject, source, seed))
    for case in ladder(source, count, seed, lambda case: accepts(subject, case)):
        note(found, judge, subject, case)
    rows = fault_rows(found.faults)
    rows += [
        row(subject, leaf, found.outcomes[leaf], found.skipped, seed) for leaf in source.leaves
    ]
    return Report(tuple(rows))


def accepts(subject: Subject, case: Case) -> bool:
    """Tell whether the forward runs at a case."""
    try:
        run_forward(subject, case.inputs(), case.needs, case.seed)
    except Exception:  # the user's own forward, at sizes it may not take
        return False
    return True


def note(found: Findings, judge: Judge, subject: Subject, case: Case) -> None:
    """Judge one configuration and note what was found."""
    trial = attempt(subject, case)
    if isinstance(trial, Skipped):
        found.skipped.append(trial)
        return
    ordinary = not case.edge and case.dtype == torch.float64
    found.plain += ordinary
    early = ordinary and found.plain <= EARLY
    found.faults += faults(trial, twice=early)
    if trial.backward.error or not complete(trial):
        return
    opinion = early and small(trial) and subject.surrogate is None
    for leaf, outcomes in found.outcomes.items():
        if not case.needs[leaf]:
            continue
        wrong = sum(each.verdict is Verdict.WRONG for each in outcomes)
        outcomes.append(judge.outcome(trial, leaf, opinion, known=wrong >= TWICE))
        if early:
            judge.natural[leaf] = max(judge.natural.get(leaf, 0.0), outcomes[-1].scale)


def small(trial: Trial) -> bool:
    """Tell whether finite differences cost little."""
    sizes = [v.numel() for v in trial.case.values if isinstance(v, torch.Tensor)]
    return sum(sizes) <= SMALL


def first_runs(subject: Subject, case: Case) -> tuple[str, int]:
    """Say that the forward gives two answers on the same input, if it does; count its outputs.

    Raises:
        UserCodeFailed: it raises.
        BadInput: no gradient can come from what it returns.
    """
    try:
        first, second = (
            run_forward(subject, case.inputs(), case.needs, case.seed) for _ in range(2)
        )
    except Exception as error:  # the user's own code may raise anything
        raise UserCodeFailed(
            f"{subject.function.__name__}.forward raised {described(error)}",
            where="check_function",
            hint="call it with inputs that it takes",
        ) from error
    pairs = zip(first.outputs, second.outputs, strict=False)
    differs = any(
        isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and not same(a, b)
        for a, b in pairs
    )
    if not first.places:
        raise BadInput(
            "no output is a floating-point tensor that a gradient can come from",
            where="check_function",
            hint="return one that is not marked non-differentiable",
        )
    return RANDOM if differs else "", len(first.places)


class Lowest(TorchFunctionMode):
    """Watch the lowest precision that a tensor is made in."""

    eps = 0.0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function and note its outputs' precision."""
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                self.eps = max(self.eps, torch.finfo(value.dtype).eps)
        return result


def tolerance(subject: Subject, source: Source, seed: int) -> float:
    """Return the relative tolerance in float64: more where the forward computes in less."""
    case = Case("", source.values, source.needs, seed)
    inputs = case.inputs()
    watch = Lowest()
    try:
        with watch:
            run_forward(subject, inputs, case.needs, seed)
    except Exception:  # the user's own forward, in float64
        return DOUBLE
    return max(DOUBLE, 16 * watch.eps) if watch.eps > torch.finfo(torch.float64).eps else DOUBLE
