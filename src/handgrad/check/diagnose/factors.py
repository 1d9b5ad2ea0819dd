"""Suspects on the size of the whole value: its sign, a factor, a constant that was added."""

from __future__ import annotations

from handgrad.check.diagnose.case import Case, common_ratio, found, named_factor, single
from handgrad.check.judge import equal
from handgrad.check.report import Diagnosis
from handgrad.ir import Call


def flipped(case: Case) -> Diagnosis | None:
    """The value is minus the truth."""
    if not case.nonzero or not case.becomes(lambda v, _: -v):
        return None
    return found(
        "sign",
        f"the sign is wrong: every entry of {case.name} is minus what it should be",
        "minus yours equals the truth",
        case.try_line("-{}"),
    )


def scaled(case: Case) -> Diagnosis | None:
    """The value is a constant times the truth."""
    times = common_ratio(case.values, case.truth)
    if times is None or (case.truth[0].numel() < 2 and len(case.points) < 2):
        return None
    size, large = abs(times), abs(times) > 1
    factor = named(case, size if large else 1 / size)
    amount = f"{factor} = {shown(size if large else 1 / size)}" if factor else ""
    if not amount or amount.split(" = ")[0] == amount.split(" = ")[-1]:
        amount = shown(size if large else 1 / size)
    sign = ", and has the wrong sign" if times < 0 else ""
    form = (
        ("-" if times < 0 else "")
        + ("{} / " if large else "{} * ")
        + (bracketed(factor) if factor else shown(size if large else 1 / size))
    )
    return found(
        kind(case, times, factor),
        f"every entry of {case.name} is {amount} times too {'large' if large else 'small'}{sign}"
        f"{because(case)}",
        f"yours {'/' if large else '*'} {factor or shown(size if large else 1 / size)} "
        f"equals the truth{' but for the sign' if times < 0 else ''}",
        case.try_line(form),
    )


def named(case: Case, value: float) -> str:
    """Return how a factor is written with the numbers and sizes in scope."""
    return named_factor(case, value, axis_sizes(case))


def axis_sizes(case: Case) -> dict[str, int]:
    """Return the sizes around a gradient, by how they are written."""
    values = case.judge.trace.values
    made = [target for line in case.consumers.values() for target in line.targets]
    sizes: dict[str, int] = {}
    for name in [case.primal, *made, *sorted(case.local.cuts)]:
        value = values[name]
        sizes |= {f"{name}.shape[{k}]": s for k, s in enumerate(value.shape) if s > 1}
        if value.ndim > 1:
            sizes[f"{name}.numel()"] = value.numel()
    return sizes


def kind(case: Case, times: float, factor: str) -> str:
    """Return the class of a factor."""
    if "/(" in factor and "1/(1-" not in factor:
        return "bessel"
    lines = list(case.consumers.values())
    if abs(times) in (0.5, 2.0) and len(lines) == 1 and power(case, *lines):
        return "local-derivative"
    return "scale"


def power(case: Case, line: object) -> bool:
    """Tell whether a forward line is nothing but a power of the primal."""
    expr = getattr(line, "expr", None)
    return isinstance(expr, Call) and single(line) and "**" in getattr(line, "text", "")  # type: ignore[arg-type]


def because(case: Case) -> str:
    """Return a reason for a factor that the user's own text shows, or nothing."""
    mine = " ".join(statement.text for statement in case.statements)
    if "mean(" in mine:
        return ": mean divides by the number of entries, the gradients of all uses only add"
    forward = " ".join(line.text for line in case.consumers.values())
    return f" (forward: {forward})" if forward and len(forward) < 70 else ""


def bracketed(text: str) -> str:
    """Return a factor, in brackets where it is divided by."""
    plain = text.replace("_", "").replace(".", "").replace("[", "").replace("]", "")
    return text if plain.isalnum() or text.startswith("(") else f"({text})"


def shown(number: float) -> str:
    """Return a number as it is told."""
    return str(int(number)) if number == int(number) else f"{number:.6g}"


def offset(case: Case) -> Diagnosis | None:
    """The value is the truth plus a constant."""
    if not case.shaped or case.truth[0].numel() < 2:
        return None
    rests = [v - t for v, t in zip(case.values, case.truth, strict=True)]
    constant = float(rests[0].reshape(-1)[0])
    if not constant or not case.becomes(lambda v, _: v - constant):
        return None
    if any(bool((t - t.reshape(-1)[0]).abs().max() <= 1e-12) for t in case.truth):
        return None
    start = f"torch.zeros_like({case.primal})"
    return found(
        "init",
        f"every entry of {case.name} is {shown(round(constant, 9))} too large: "
        f"what gradients are added to must start from zeros",
        f"yours - {shown(round(constant, 9))} equals the truth",
        f"{case.name} = {start}"
        if any(".ones" in s.text for s in case.statements)
        else case.derived_line,
    )


def drawn_anew(case: Case) -> Diagnosis | None:
    """The value differs from run to run: random numbers are drawn in the backward pass."""
    point = case.points[0]
    again = case.judge.evaluate(case.name, case.local.slice, point, point.cotangents)
    if equal(again, case.values[0]):
        return None
    return found(
        "mask",
        f"{case.name} is another one each time the line runs: it draws random numbers anew; "
        f"keep what the forward pass drew and use that",
        "run twice on the same tensors, the line gives two different values",
        case.derived_line,
    )
