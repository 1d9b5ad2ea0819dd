"""Tensors as bytes, by safetensors: nothing that is read here can run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from handgrad.errors import BadInput

HEADER = 1 << 20  # bytes; a thousand tensors take a tenth of it
PICKLES = (b"PK\x03\x04", *(bytes([0x80, version]) for version in range(2, 6)))
"""How files begin that are unpickled when they are loaded: torch's archives, plain pickles."""


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as the content of a safetensors file, the same for the same tensors."""
    from safetensors.torch import save

    return save({name: tensor.detach().contiguous() for name, tensor in tensors.items()})


def from_bytes(data: bytes, where: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, each in memory of its own.

    Raises:
        BadInput: it is a pickle, or no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    refuse_pickle(data, where)
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(HEADER, len(data) - 8):
        raise not_tensors(where, f"its header would have {length:,} bytes")
    try:
        found = load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        raise not_tensors(where, str(error)) from None
    return {name: tensor.clone() for name, tensor in found.items()}


def refuse_pickle(data: bytes, where: str) -> None:
    """Refuse what would have to be unpickled.

    Raises:
        BadInput: it would.
    """
    if data.startswith(PICKLES):
        raise BadInput(
            "this is a pickle, whatever its name is",
            where=where,
            why="loading a pickle runs the code in it; handgrad never does",
            hint="save the tensors with safetensors in a program that you trust the file to",
        )


def refuse_file(path: Path) -> None:
    """Refuse a file where the folder of a run is asked for, and say so of a pickle.

    Raises:
        BadInput: it is a file, or nothing.
    """
    if path.is_dir():
        return
    if path.is_file():
        with path.open("rb") as file:
            refuse_pickle(file.read(8), str(path))
        raise BadInput(f"{path} is a file", hint="give the folder of a run, as --out named it")
    raise BadInput(f"no such folder: {path}", hint="give the folder of a run, as --out named it")


def not_tensors(where: str, why: str) -> BadInput:
    """Say that a file does not hold tensors."""
    return BadInput(
        "this is not a safetensors file", where=where, why=why, hint="use another checkpoint"
    )


def differing(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return a line for each tensor that is missing, unknown, or of another shape or dtype."""
    lines = []
    for name in sorted(expected.keys() | found.keys()):
        mine, other = described(found.get(name)), described(expected.get(name))
        if mine != other:
            lines.append(f"{name}: {mine} in the checkpoint, {other} wanted")
    return lines


def described(tensor: Tensor | None) -> str:
    """Return shape and dtype as `[3, 64] float32`; `none` of no tensor."""
    if tensor is None:
        return "none"
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def fill(target: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into tensors of the same names, in place."""
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(values[name])
