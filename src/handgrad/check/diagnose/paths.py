"""Suspects on paths: a use missing, overwritten, counted twice, with another sign or factor."""

from __future__ import annotations

from itertools import combinations

import torch

from handgrad.check.diagnose.case import Case, Tensors, close, common_ratio, found
from handgrad.check.diagnose.factors import named, power, shown
from handgrad.check.diagnose.sweep import between, contributions, held
from handgrad.check.judge import equal
from handgrad.check.report import Diagnosis

MOST = 6  # uses of one name: all subsets of them are tried


def by_use(case: Case, upstream: str = "") -> dict[int, Tensors]:
    """Return the gradient by each use of the primal, at every point.

    Args:
        case: the gradient.
        upstream: `ones` for the derivatives alone, with a cotangent of ones above.
    """
    parts: dict[int, Tensors] = {}
    for point in case.points:
        given = None
        if upstream == "ones":
            given = {n: torch.ones_like(c) for n, c in point.cotangents.items()}
        for place, part in contributions(point, case.primal, case.whole, given).items():
            parts.setdefault(place, []).append(part)
    return parts


def use_name(case: Case, place: int) -> str:
    """Return the name that a use of the primal makes."""
    return case.consumers[place].target


def total(case: Case, parts: list[Tensors]) -> Tensors:
    """Return the sum of parts at every point."""
    sums = [torch.zeros_like(t) for t in case.truth]
    for part in parts:
        sums = [s + at for s, at in zip(sums, part, strict=True)]
    return sums


def missing_use(case: Case) -> Diagnosis | None:
    """The value is the sum of some of the uses."""
    parts = by_use(case)
    if not case.shaped or not 2 <= len(parts) <= MOST:
        return None
    for count in range(len(parts) - 1, 0, -1):
        for done in combinations(parts, count):
            if case.is_value(total(case, [parts[p] for p in done])):
                return still_to_come(case, list(done), [p for p in parts if p not in done])
    return None


def still_to_come(case: Case, done: list[int], left: list[int]) -> Diagnosis:
    """Say which uses are done and which are missing."""
    names = [use_name(case, p) for p in left]
    ready = ", ".join(use_name(case, p) for p in done)
    lost = overwritten(case)
    many = f"{len(done)} of {len(done) + len(left)} paths done; still to come: {', '.join(names)}"
    return found(
        "accumulate",
        f"{many}. {case.primal} is used in {join([use_name(case, p) for p in case.consumers])}"
        f", and the gradients of its uses add"
        + (f"; `{lost}` was overwritten by a later =, use +=" if lost else ""),
        f"yours equals the gradient by {ready} alone; with the part by {', '.join(names)} "
        "it equals the truth",
        case.derived_line,
    )


def join(words: list[str]) -> str:
    """Return words as a list in a sentence."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def overwritten(case: Case) -> str:
    """Return the earlier line whose value a later assignment replaced, or nothing."""
    writes = case.judge.run.writes.get(case.name, [])
    first = case.local.slice[0] if case.local.slice else 0
    lost = [w for w in writes if w.statement < first]
    return case.judge.body[lost[-1].statement].first_line if lost else ""


def factor_on_use(case: Case) -> Diagnosis | None:
    """All uses are there, one of them with a factor, a wrong sign, or twice."""
    parts = by_use(case)
    if not case.shaped or not 2 <= len(parts) <= MOST:
        return None
    for place, part in parts.items():
        rest = residual(case, parts, place)
        times = common_ratio(rest, part)
        if times is not None:
            return one_use_off(case, place, times)
    return None


def residual(case: Case, parts: dict[int, Tensors], place: int) -> Tensors:
    """Return what the user has for one use, if the other uses are right."""
    others = total(case, [p for k, p in parts.items() if k != place])
    return [v - o for v, o in zip(case.values, others, strict=True)]


def one_use_off(case: Case, place: int, times: float) -> Diagnosis:
    """Say by what the path through one use is off."""
    use, rest = use_name(case, place), [use_name(case, p) for p in case.consumers if p != place]
    head = f"the path through {join(rest)} is right; the path through {use}"
    proof = f"yours less the part by {join(rest)} is {shown(times)} times the part by {use}"
    if close(times, -1):
        return found("sign", f"{head} has the wrong sign", proof, case.derived_line)
    if close(times, 2) and not power(case, case.consumers[place]):
        return found("accumulate", f"{head} is counted twice", proof, case.derived_line)
    large = abs(times) > 1
    size = abs(times) if large else 1 / abs(times)
    factor = named(case, size)
    amount = f"{factor} = {shown(size)}" if factor and factor != shown(size) else shown(size)
    square = size == 2 and power(case, case.consumers[place])
    kind = "local-derivative" if square else "bessel" if "/(" in factor else "scale"
    sign = ", and has the wrong sign" if times < 0 else ""
    text = f"{head} is {amount} times too {'large' if large else 'small'}{sign}"
    return found(kind, f"{text} (forward: {case.consumers[place].text})", proof, case.derived_line)


def no_upstream(case: Case) -> Diagnosis | None:
    """The value is the derivative alone, as if the gradient above were ones."""
    if not case.shaped:
        return None
    for place, line in case.consumers.items():
        cut = frozenset(line.targets)
        made: Tensors = []
        for point in case.points:
            ones = {n: torch.ones_like(c) for n, c in point.cotangents.items()}
            made.append(contributions(point, case.primal, cut, ones).get(place, torch.zeros(0)))
        if case.is_value(made) and line.target != case.judge.trace.output:
            up = f"d{line.target}"
            return found(
                "chain",
                f"this is the derivative of {line.target} alone, as if {up} were all ones: "
                f"by the chain rule the gradient above comes in, {up} {size_of(case, line.target)}",
                f"with ones in place of {up} the right line gives exactly yours",
                elementwise_line(case, line.target) or case.derived_line,
            )
    return None


def size_of(case: Case, name: str) -> str:
    """Return the shape of a forward name, as it is told."""
    return str(list(case.judge.trace.values[name].shape))


def elementwise_line(case: Case, target: str) -> str:
    """Return the user's line times the upstream gradient, where that is the repair."""
    full = [p.expected(case.primal, frozenset({target})) for p in case.points]
    try:
        made = [v * p.cotangents[target] for v, p in zip(case.values, case.points, strict=True)]
    except RuntimeError:
        return ""
    right = all(equal(m, f) for m, f in zip(made, full, strict=True))
    return case.try_line(f"{{}} * d{target}") if right else ""


def held_constant(case: Case) -> Diagnosis | None:
    """The value is the gradient with some forward names taken for constants."""
    if not case.shaped or not case.nonzero:
        return None
    middle = between(case.points[0], case.primal, case.whole)
    values = case.judge.trace.values
    middle.sort(key=lambda n: values[n].numel())
    groups = [frozenset({n}) for n in middle[:16]]
    groups += [frozenset(pair) for pair in combinations(middle[:7], 2)]
    for group in groups:
        first = held(case.points[0], case.primal, case.whole, group)
        if equal(first, case.values[0]) and case.is_value(
            [held(p, case.primal, case.whole, group) for p in case.points]
        ):
            order = [n for n in values if n in group]
            depend = "depends" if len(order) == 1 else "depend"
            return found(
                "accumulate",
                f"you treated {join(order)} as constant, but {join(order)} {depend} on "
                f"{case.primal}: still to come is the path through {join(order)}",
                f"the gradient with {join(order)} held constant is exactly yours",
                case.derived_line,
            )
    return None
