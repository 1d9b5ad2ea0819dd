"""Indices among the inputs: how many entries they number, and which sample is outside."""

from __future__ import annotations

from torch import Tensor

from handgrad.errors import BadInput
from handgrad.native.lower.stages import ordered
from handgrad.native.lower.step import Step
from handgrad.native.lower.tree import walk


def bounds_of(step: Step) -> dict[str, int]:
    """Return for each input that is used as an index how many entries it numbers."""
    found: dict[str, int] = {}
    roots = [step.output, *step.gradients.values(), *step.updates.values()]
    for array in ordered(roots):
        for entry in (array.body, *array.places):
            for node in walk(entry) if entry is not None else ():
                if node.op != "wrap" or node.args[0].op != "read":
                    continue
                source, size = node.args[0].args[0], node.args[1]
                if source.kind == "input":
                    found[source.name] = min(size, found.get(source.name, size))
    return found


def refuse_outside(name: str, tensor: Tensor, size: int, whole: str = "") -> None:
    """Refuse indices that number no entry, naming the first.

    Args:
        name: the input's name.
        tensor: its indices.
        size: how many entries there are.
        whole: what the tensor is, if not the input itself.

    Raises:
        BadInput: an index is outside.
    """
    if not tensor.numel() or (int(tensor.min()) >= -size and int(tensor.max()) < size):
        return
    place = ((tensor < -size) | (tensor >= size)).nonzero()[0].tolist()
    value = int(tensor[tuple(place)])
    of = f" of {whole}" if whole else ""
    spot = f"{place}" if len(place) > 1 else f"[{place[0]}]" if place else ""
    raise BadInput(
        f"{name}{spot}{of} is {value}, and it numbers one of {size}: 0 to {size - 1}",
        where=f"sample {place[0]}" if place else "",
        hint="look at how the data was encoded; nothing was updated",
    )
