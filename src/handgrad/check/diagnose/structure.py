"""Suspects on where entries stand: masks, patterns, repeated indices, a Jacobian's diagonal."""

from __future__ import annotations

import torch

from handgrad.check.diagnose.case import Case, Tensors, found
from handgrad.check.diagnose.paths import MOST, by_use, residual, use_name
from handgrad.check.diagnose.sweep import contributions
from handgrad.check.judge import equal
from handgrad.check.report import Diagnosis
from handgrad.ir import Item, Line, names, walk


def parts_of(case: Case) -> list[tuple[int, Tensors, Tensors]]:
    """Return for each use what the user has for it, if the rest is right, and what it should be."""
    parts = by_use(case)
    if not case.shaped or not 1 <= len(parts) <= MOST:
        return []
    return [(place, residual(case, parts, place), part) for place, part in parts.items()]


def should_be_zero(case: Case) -> Diagnosis | None:
    """The value is right but where the truth is zero."""
    for place, mine, due in parts_of(case):
        pairs = list(zip(mine, due, strict=True))
        if not all(bool((d == 0).any()) and bool(d.any()) for d in due):
            continue
        if all(equal(torch.where(d == 0, 0.0, m), d) for m, d in pairs):
            return extra(case, place, mine[0], due[0])
    return None


def extra(case: Case, place: int, mine: torch.Tensor, due: torch.Tensor) -> Diagnosis:
    """Say how many entries should be zero."""
    line, right = case.consumers[place], int((due != 0).sum())
    wrong = int(((due == 0) & (mine != 0)).sum())
    part = f"in the path through {use_name(case, place)}, " if len(case.consumers) > 1 else ""
    return found(
        placing(case, line, due),
        f"{part}the {right} entries that reach {line.target} are right, the other {wrong} that you "
        f"fill should be 0 (forward: {line.text})",
        f"yours with those {wrong} entries set to 0 equals the truth",
        case.derived_line,
    )


def placing(case: Case, line: Line, due: torch.Tensor) -> str:
    """Return the class of a wrong pattern: `scatter` where entries are picked, else `mask`."""
    rows = due.reshape(due.shape[0], -1).any(1) if due.ndim else due
    if due.ndim > 1 and bool((~rows).any()):
        return "mask"
    values = case.judge.trace.values
    whole = any(
        not values[n].is_floating_point() and values[n].dtype != torch.bool
        for n in names(line.expr)
        if n in values
    )
    picks = any(isinstance(node, Item) for node in walk(line.expr))
    return "scatter" if whole or picks else "mask"


def other_pattern(case: Case) -> Diagnosis | None:
    """The value is the upstream gradient times zeros and ones, as the truth is, but other ones."""
    for place, mine, due in parts_of(case):
        line = case.consumers[place]
        if any(line.target not in p.cotangents for p in case.points):
            continue
        patterns = [
            (pattern(m, p.cotangents[line.target]), pattern(d, p.cotangents[line.target]))
            for m, d, p in zip(mine, due, case.points, strict=True)
        ]
        if any(a is None or b is None for a, b in patterns):
            continue
        have, want = patterns[0]
        assert have is not None
        assert want is not None
        if torch.equal(have, want) or not bool(have.any()):
            continue
        up = "d" + line.target
        return found(
            placing(case, line, due[0]),
            f"{up} goes to the wrong entries of {case.name}: you mark {int(have.sum())} "
            f"({int((have & want).sum())} of them right), {int(want.sum())} should be marked"
            f"{layout_of(want)} (forward: {line.text})",
            f"for {use_name(case, place)} yours is {up} times a pattern of zeros and one number, "
            f"as the truth is, but another pattern",
            case.derived_line,
        )
    return None


def layout_of(want: torch.Tensor) -> str:
    """Return how the marked entries are spread, where that is one in each row."""
    each = want.ndim == 2 and bool((want.sum(1) == 1).all())
    return ", one in each row" if each else ""


def pattern(part: torch.Tensor, upstream: torch.Tensor) -> torch.Tensor | None:
    """Return where a part is the upstream gradient times one number, zero elsewhere; or None."""
    try:
        over = part / upstream.expand(part.shape)
    except RuntimeError:
        return None
    marked = part != 0
    if not bool(marked.any()) or (bool(marked.all()) and part.numel() < 2):
        return None
    numbers = over[marked]
    near = bool((numbers - numbers[0]).abs().max() <= 1e-9 * numbers[0].abs())
    return marked if near else None


def repeated_lost(case: Case) -> Diagnosis | None:
    """Rows that an index picks once are right, rows picked more often are not."""
    if not case.shaped or not case.truth[0].ndim:
        return None
    for line in case.consumers.values():
        for index in names(line.expr):
            tensor = case.judge.trace.values.get(index)
            if tensor is None or tensor.is_floating_point() or tensor.dtype == torch.bool:
                continue
            counts = torch.bincount(tensor.reshape(-1).clamp(min=0), minlength=len(case.truth[0]))
            if len(counts) == len(case.truth[0]) and lost_rows(case, counts):
                return lost(case, line, index, counts)
    return None


def lost_rows(case: Case, counts: torch.Tensor) -> bool:
    """Tell whether exactly rows that are picked more than once differ."""
    once = counts <= 1
    if not bool((counts == 1).any()) or not bool((counts > 1).any()):
        return False
    return all(
        equal(v[once], t[once]) and not equal(v[~once], t[~once]) and bool(v[~once].any())
        for v, t in zip(case.values, case.truth, strict=True)
    )


def lost(case: Case, line: Line, index: str, counts: torch.Tensor) -> Diagnosis:
    """Say that gradients of repeated indices were overwritten."""
    single, several = int((counts == 1).sum()), int((counts > 1).sum())
    return found(
        "scatter",
        f"{case.name} is right in the {single} rows that {index} picks once and wrong only "
        f"among the {several} picked more often: an assignment or += by index keeps one of them, "
        f"they must add",
        f"rows picked once equal the truth; the differences are all in rows that {index} repeats",
        f"{case.name} = torch.zeros_like({case.primal}).index_put(({index},), d{line.target}, "
        "accumulate=True)"
        if line.target in case.local.cuts
        else case.derived_line,
    )


def diagonal_only(case: Case) -> Diagnosis | None:
    """The value takes the diagonal of a Jacobian for the whole."""
    for cut in sorted(case.local.cuts):
        point = case.points[0]
        if case.values[0].shape != point.values[cut].shape or case.values[0].numel() < 2:
            continue
        if len(case.local.cuts) == 1 and all(
            diagonal_at(case, k, cut) for k in range(len(case.points))
        ):
            return found(
                "jacobian-diagonal",
                f"this is only the diagonal of the Jacobian of {cut}: every entry of "
                f"{case.primal} also moves the other entries of {cut}, and those paths are missing",
                f"each entry tried equals its own d{cut} times the derivative of that same entry",
                case.derived_line if f"d{cut}" in case.derived_line else "",
            )
    return None


def diagonal_at(case: Case, number: int, cut: str) -> bool:
    """Tell whether a few entries are the diagonal's product with the upstream gradient."""
    point, value = case.points[number], case.values[number].reshape(-1)
    upstream = point.cotangents[cut].reshape(-1)
    count = value.numel()
    mixed = False
    for entry in sorted({(k * 7919 + 1) % count for k in range(6)}):
        one = torch.zeros_like(upstream)
        one[entry] = upstream[entry]
        given = {**point.cotangents, cut: one.reshape(point.cotangents[cut].shape)}
        parts = contributions(point, case.primal, frozenset({cut}), given).values()
        row = sum(part.reshape(-1) for part in parts)
        if not isinstance(row, torch.Tensor):
            return False
        if not abs(float(row[entry] - value[entry])) <= 1e-9 * float(row.abs().max()):
            return False
        mixed = mixed or int((row != 0).sum()) > 1
    return mixed
