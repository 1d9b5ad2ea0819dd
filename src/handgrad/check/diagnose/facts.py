"""What was measured of a wrong gradient, where no reason is proved."""

from __future__ import annotations

import torch

from handgrad.check.judge import EXACT, Local


def facts(local: Local) -> str:
    """Return where a gradient differs, with its ratio and correlation to the truth."""
    if not local.values or not local.full:
        return ""
    value, truth = local.values[0], local.full[0]
    if value.shape != truth.shape:
        return f"alone: shape {list(value.shape)}, should be {list(truth.shape)}"
    if not truth.numel():
        return ""
    wrong = (value - truth).abs() > EXACT * max(float(truth.abs().max()), 1e-300)
    wrong |= value.isnan()
    return "alone: " + "; ".join([where(wrong), *likeness(value, truth)])


def where(wrong: torch.Tensor) -> str:
    """Return which entries differ: all, some rows, some columns, or how many."""
    count, total = int(wrong.sum()), wrong.numel()
    if count == total:
        return f"all {total} entries differ"
    text = f"{count} of {total} entries differ"
    if wrong.ndim != 2:
        return text
    for axis, word in ((1, "row"), (0, "column")):
        some = wrong.any(axis)
        marked, size = some.nonzero().flatten().tolist(), some.numel()
        if len(marked) < size and bool(wrong.all(axis)[some].all()):
            return f"{text}: all in {listed(word, marked)}"
        if len(marked) < size:
            text += f", in {len(marked)} of {size} {word}s"
    return text


def listed(word: str, marked: list[int]) -> str:
    """Return rows or columns by number, at most five."""
    shown = ", ".join(map(str, marked[:5])) + (", ..." if len(marked) > 5 else "")
    return f"{word}{'s' if len(marked) > 1 else ''} {shown}"


def likeness(value: torch.Tensor, truth: torch.Tensor) -> list[str]:
    """Return the ratio of lengths, and the correlation where there is one."""
    one, other = float(value.norm()), float(truth.norm())
    said = []
    if one != one:
        return ["NaN in it"]
    if other:
        said.append(f"{one / other:.3g} times as long as it should be")
    if one and other:
        said.append(f"correlation {float((value * truth).sum()) / (one * other):.3f}")
    return said
