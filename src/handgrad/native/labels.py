"""Indices among the inputs: how many entries they number, and which sample is outside."""

from __future__ import annotations

import weakref

from torch import Tensor

from handgrad.errors import BadInput

SEEN: dict[int, tuple[weakref.ref[Tensor], int, tuple[int, int]]] = {}  # by the tensor's id


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
    if not tensor.numel():
        return
    least, most = extent(tensor)
    if least >= -size and most < size:
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


def extent(tensor: Tensor) -> tuple[int, int]:
    """Return the least and the greatest entry, from memory while the tensor is as it was.

    Torch counts what is written into a tensor, as autograd needs it; memory that belongs to
    another library or process is looked at anew each time.
    """
    owned = not tensor.is_inference() and tensor.untyped_storage().resizable()
    known = SEEN.get(id(tensor))
    if owned and known is not None and known[0]() is tensor and known[1] == tensor._version:
        return known[2]
    found = int(tensor.min()), int(tensor.max())
    if owned:
        key = id(tensor)
        SEEN[key] = weakref.ref(tensor, lambda _: SEEN.pop(key, None)), tensor._version, found
    return found
