"""Suspects on operands: a local factor of another form, another name's gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from handgrad.check.diagnose.case import Case, found
from handgrad.check.diagnose.paths import by_use, residual
from handgrad.check.judge import equal
from handgrad.check.reference import Point
from handgrad.check.report import Diagnosis
from handgrad.ir import Line, names

Form = Callable[[torch.Tensor], torch.Tensor]
FORMS: dict[str, tuple[Form, str]] = {
    "{}": (lambda v: v, ""),
    "1 - {}": (lambda v: 1 - v, ""),
    "1 + {}": (lambda v: 1 + v, ""),
    "1 - {}**2": (lambda v: 1 - v**2, "tanh"),
    "{0} * (1 - {0})": (lambda v: v * (1 - v), "a sigmoid"),
    "1 / {}": (lambda v: 1 / v, "a logarithm"),
    "-1 / {}**2": (lambda v: -1 / v**2, "a reciprocal"),
    "1 / {}**2": (lambda v: 1 / v**2, ""),
    "{}**2": (lambda v: v**2, ""),
    "2 * {}": (lambda v: 2 * v, "a square"),
    "{}**3": (lambda v: v**3, ""),
    "{}.exp()": (torch.exp, "exp"),
    "{}.log()": (torch.log, ""),
    "{}.sqrt()": (torch.sqrt, ""),
    "{}.cos()": (torch.cos, "sin"),
    "{}.sin()": (torch.sin, ""),
    "torch.sigmoid({})": (torch.sigmoid, ""),
    "torch.tanh({})": (torch.tanh, ""),
    "({} > 0)": (lambda v: (v > 0).double(), "relu"),
}


def local_factor(case: Case) -> Diagnosis | None:
    """The upstream gradient is multiplied by another expression than the derivative."""
    if not case.shaped:
        return None
    for place, line in case.consumers.items():
        if line.target not in case.local.cuts or len(line.targets) > 1:
            continue
        mine = case.values
        if len(case.consumers) > 1:
            mine = residual(case, by_use(case), place)
        if not elementwise(case, line):
            continue
        if all(equal(m, p.cotangents[line.target]) for m, p in zip(mine, case.points, strict=True)):
            return passed_through(case, line)
        for text, name, known in forms(case, line, mine):
            return another_factor(case, line, text, name, known)
    return None


def elementwise(case: Case, line: Line) -> bool:
    """Tell whether a line gives a tensor of the primal's shape."""
    return tuple(case.judge.trace.values[line.target].shape) == case.shape and case.shape != ()


def forms(case: Case, line: Line, mine: list[torch.Tensor]) -> Iterator[tuple[str, str, str]]:
    """Yield each expression in the line's names that the upstream gradient was multiplied by."""
    near = [case.primal, line.target, *names(line.expr)]
    for name in dict.fromkeys(near):
        if not isinstance(case.points[0].values.get(name), torch.Tensor):
            continue
        for text, (form, known) in FORMS.items():
            if matches(case, line, mine, lambda p, f=form, n=name: f(p.values[n])):
                yield text.format(name), name, known


def matches(
    case: Case, line: Line, mine: list[torch.Tensor], made: Callable[[Point], torch.Tensor]
) -> bool:
    """Tell whether a value is the upstream gradient times an expression, at every point."""
    try:
        return all(
            equal(p.cotangents[line.target] * made(p), m)
            for p, m in zip(case.points, mine, strict=True)
        )
    except (RuntimeError, TypeError):
        return False


def passed_through(case: Case, line: Line) -> Diagnosis:
    """Say that the local derivative is missing."""
    return found(
        "local-derivative",
        f"d{line.target} is passed on as it is: multiply by the derivative of `{line.text}`"
        + right_factor(case, line),
        f"{part_of(case)} equals d{line.target}",
        case.derived_line,
    )


def part_of(case: Case) -> str:
    """Return what is compared: the whole value, or one path of it."""
    return "yours" if len(case.consumers) == 1 else "yours less the other paths"


def right_factor(case: Case, line: Line) -> str:
    """Return what the derivative is, if it has a simple form."""
    due = by_use(case)
    place = next(p for p, each in case.consumers.items() if each is line)
    for text, _, _ in forms(case, line, due.get(place, [])):
        return f", which is {text}"
    return ""


def another_factor(case: Case, line: Line, text: str, name: str, known: str) -> Diagnosis:
    """Say which expression stands in place of the derivative."""
    several = len([n for n in names(line.expr) if n in case.judge.trace.grads]) > 1
    right = right_factor(case, line).removeprefix(", which is ")
    if text == line.target:
        why = f": {line.target} is the function itself, not its derivative"
    elif known and known not in line.text.replace("torch.", ""):
        why = f": with {name} that is the derivative of {known}"
    elif name == line.target:
        why = f": {name} is the output of that line, its input is {case.primal}"
    elif name == case.primal and not several:
        why = f": {name} is the input of that line, its output is {line.target}"
    else:
        why = ""
    return found(
        "operand" if several else "local-derivative",
        f"d{line.target} is multiplied by {text}"
        + (
            f" where the derivative of `{line.text}` is {right}"
            if right
            else f", which is not the derivative of `{line.text}`"
        )
        + why,
        f"{part_of(case)} equals ({text}) * d{line.target}",
        case.derived_line,
    )


def other_gradient(case: Case) -> Diagnosis | None:
    """The value is the gradient of another name."""
    trace = case.judge.trace
    for other in trace.grads:
        if other == case.primal or tuple(trace.values[other].shape) != case.shape:
            continue
        if other in case.local.cuts:
            continue
        cuts = case.whole
        if case.is_value([point.expected(other, cuts) for point in case.points]):
            return found(
                "operand",
                f"this is the gradient of {other}, not of {case.primal}",
                f"yours equals d{other}, through the same gradients",
                case.derived_line,
            )
    return None
