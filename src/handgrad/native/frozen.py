"""What a pass takes from tensors as Python numbers: a step that is made once would keep it."""

from __future__ import annotations

from collections.abc import Iterable

from handgrad.errors import BadInput
from handgrad.trace.blind import Look

NUMBERS = {"item", "tolist", "__float__", "__int__", "__index__", "numpy", "__array__"}
BRANCHES = {"__bool__", "equal", "allclose", "is_nonzero"}


def frozen(looks: Iterable[Look]) -> tuple[Look, ...]:
    """Return the calls that took a number or a branch from a tensor, one for each line.

    What is only printed decides nothing.
    """
    found = {
        (look.where, look.text if look.name == "state" else ""): look
        for look in looks
        if look.name in NUMBERS | BRANCHES | {"state"}
        and not (look.checks and look.name in BRANCHES)
        and not look.text.startswith("print(")
    }
    return tuple(found.values())


def refuse(look: Look) -> BadInput:
    """Say that a line takes from a tensor what every step would keep."""
    if look.name in BRANCHES:
        what = "the forward pass branches on a tensor's values, and a step has one branch only"
        instead = "choose by torch.where"
    elif look.name == "state":
        what = "the forward pass is another one the next time, and a step would stay as it is now"
        instead = "draw with torch, keep what changes in a buffer"
    else:
        what = (
            "the forward pass takes a number from a tensor, and a step would keep it as it is now"
        )
        instead = "compute with the tensor itself"
    hint = f"{instead}, or pass freeze_values=True to keep what this call finds"
    return BadInput(what, where=look.where, why=look.text, hint=hint)


def note(looks: Iterable[Look]) -> str:
    """Say which lines' numbers and branches stay as they were."""
    found = frozen(looks)
    if not found:
        return ""
    told = "; ".join(f"{look.where}: {look.text}" for look in found)
    return f"numbers and branches taken from tensors stay as they were traced: {told}"
