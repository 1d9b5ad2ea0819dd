"""Suspects on shape: a sum over a stretched axis, keepdim, transposes, layout, cropping."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product

import torch

from handgrad.check.diagnose.case import Case, found
from handgrad.check.report import Diagnosis


def said(shape: torch.Size | tuple[int, ...]) -> str:
    """Return a shape as it is told."""
    return str(list(shape))


def dims(axes: tuple[int, ...]) -> str:
    """Return axes as an argument."""
    return str(axes[0]) if len(axes) == 1 else str(axes)


def missing_keepdim(case: Case) -> Diagnosis | None:
    """The numbers are right, axes of size 1 are missing or too many."""
    if case.shaped or not case.becomes(lambda v, _: v.reshape(case.shape)):
        return None
    mine, due = tuple(case.values[0].shape), case.shape
    if [s for s in mine if s != 1] != [s for s in due if s != 1]:
        return found(
            "shape",
            f"{case.name} holds the right numbers in shape {said(mine)}; "
            f"{case.primal} is {said(due)}",
            f"reshaped to {said(due)} yours equals the truth",
            case.try_line(f"{{}}.reshape({', '.join(map(str, due))})"),
        )
    return found(
        "keepdim",
        f"the numbers are right, the shape is {said(mine)} and should be {said(due)}: "
        f"a comparison would broadcast one against the other",
        f"reshaped to {said(due)} yours equals the truth",
        keepdim_line(case, mine, due),
    )


def keepdim_line(case: Case, mine: tuple[int, ...], due: tuple[int, ...]) -> str:
    """Return the user's line with keepdim, where a reduction ends it."""
    text = case.right_hand
    if len(mine) < len(due) and text.endswith(")") and (".sum(" in text or ".mean(" in text):
        return f"{case.name} = {text[:-1]}{'' if text.endswith('()') else ', '}keepdim=True)"
    return case.try_line(f"{{}}.reshape({', '.join(map(str, due))})")


def missing_sum(case: Case) -> Diagnosis | None:
    """An axis along which the primal was stretched is not summed."""
    mine = case.values[0]
    if case.shaped or mine.ndim == 0:
        return None
    for count in range(1, mine.ndim + 1):
        for axes, keep in product(combinations(range(mine.ndim), count), (True, False)):
            if case.becomes(lambda v, _, a=axes, k=keep: v.sum(a, keepdim=k)):
                return unsummed(case, axes, keep)
    return None


def unsummed(case: Case, axes: tuple[int, ...], keep: bool) -> Diagnosis:
    """Say which axes are to be summed."""
    mine = case.values[0]
    sizes = " and ".join(f"{mine.shape[a]} along dim {a}" for a in axes)
    call = f".sum({dims(axes)}{', keepdim=True' if keep else ''})"
    return found(
        "broadcast-sum",
        f"{case.name} is {said(mine.shape)} and {case.primal} is {said(case.shape)}: "
        f"the forward pass uses {case.primal} once for each of {sizes}, "
        f"and the gradients of all uses add",
        f"yours{call} equals the truth",
        case.try_line("{}" + call),
    )


def not_expanded(case: Case) -> Diagnosis | None:
    """The value is right but for stretching it to the primal's shape."""
    if case.shaped or not case.becomes(lambda v, _: v.expand(case.shape)):
        return None
    return found(
        "shape",
        f"{case.name} is {said(case.values[0].shape)} and {case.primal} is {said(case.shape)}: "
        f"a sum hands its gradient to each of the entries that it added",
        f"yours expanded to {said(case.shape)} equals the truth",
        case.try_line(f"{{}}.expand_as({case.primal})"),
    )


def transposed(case: Case) -> Diagnosis | None:
    """The value is the truth with its axes in another order."""
    ndim = case.values[0].ndim
    if ndim < 2 or ndim > 5 or not case.nonzero:
        return None
    orders = sorted(permutations(range(ndim)), key=lambda p: sum(a != i for i, a in enumerate(p)))
    for order in orders[1:]:
        if case.becomes(lambda v, _, o=order: v.permute(o)):
            moved = [i for i, a in enumerate(order) if i != a]
            swap = len(moved) == 2
            call = f".transpose({moved[0]}, {moved[1]})" if swap else f".permute{order}"
            call = ".T" if ndim == 2 else call
            return found(
                "transpose",
                f"this is the transpose of the gradient: yours is {said(case.values[0].shape)}, "
                f"{case.primal} is {said(case.shape)}",
                f"yours{call} equals the truth",
                turned(case) or case.try_line("{}" + call),
            )
    return None


def turned(case: Case) -> str:
    """Return the derived line, which has the operands of a product in their order."""
    return case.derived_line if " @ " in case.right_hand and "@" in case.derived_line else ""


def scrambled(case: Case) -> Diagnosis | None:
    """The right entries, in other places."""
    if not case.shaped or case.truth[0].numel() < 4 or not case.nonzero:
        return None
    if not case.becomes(lambda v, p: same_entries(v, case.truth[case.points.index(p)])):
        return None
    wrong = int((case.values[0] != case.truth[0]).sum())
    return found(
        "layout",
        f"the numbers are right and stand in the wrong places "
        f"({wrong} of {case.truth[0].numel()}): "
        f"undo the forward's reshape and transposes in reverse order",
        "sorted, your entries equal the truth's",
        case.derived_line,
    )


def same_entries(value: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the truth if a value has the same entries in any order, else the value."""
    one, other = value.reshape(-1).sort().values, truth.reshape(-1).sort().values
    near = bool((one - other).abs().max() <= 1e-12 * other.abs().max())
    return truth if near and len(set(other.tolist())) > 2 else value


def uncropped(case: Case) -> Diagnosis | None:
    """The value is the truth with a border around it."""
    mine, due = case.values[0].shape, case.shape
    if len(mine) != len(due) or not all(a >= b for a, b in zip(mine, due, strict=True)):
        return None
    if tuple(mine) == due:
        return None
    for starts in offsets(tuple(mine), due):
        crop = tuple(slice(s, s + size) for s, size in zip(starts, due, strict=True))
        if case.becomes(lambda v, _, c=crop: v[c]):
            text = ", ".join(
                ":" if a == b else f"{s}:{s + b}" for s, a, b in zip(starts, mine, due, strict=True)
            )
            return found(
                "shape",
                f"{case.name} is {said(mine)} and {case.primal} is {said(due)}: "
                f"the border that the forward pass padded is still there, crop it off",
                f"yours[{text}] equals the truth",
                case.try_line(f"{{}}[{text}]"),
            )
    return None


def offsets(mine: tuple[int, ...], due: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield where the smaller shape may lie in the larger, at most some hundred places."""
    ranges = [range(a - b + 1) for a, b in zip(mine, due, strict=True)]
    for count, starts in enumerate(product(*ranges)):
        if count > 200:
            return
        yield starts
