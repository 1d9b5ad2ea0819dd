"""Values as plain data and bytes, for a process that is not trusted: nothing in it is ever run.

Tensors are their dtype, their shape and their raw bytes; numbers, texts, slices and lists of them
are tagged lists. What is none of these stays where it is, and only its type is told.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
EXACT = 2**53  # integers up to here are the same in every reader of JSON
MOST_AXES = 64
DEEPEST = 40
LONGEST = 2**20  # characters of one text, digits of one number


class Broken(BaseException):
    """The other process can be asked no more.

    It is no `Exception`: those are caught wherever a person's code may raise one.
    """


class BadTalk(Broken):
    """Something that was sent does not have the form that it must have."""


@dataclass(frozen=True)
class Opaque:
    """A value that stays in the process that has it.

    Attributes:
        kind: the name of its type.
        home: the module that it is, or that its type or function is of.
    """

    kind: str
    home: str = ""


def type_name(value: Any) -> str:
    """Return the name of a value's type, wherever the value is."""
    return value.kind if isinstance(value, Opaque) else type(value).__name__


@dataclass
class Packed:
    """Data for JSON, with the tensors in it as bytes beside it.

    Attributes:
        parts: the bytes of each tensor.
        size: how many bytes there are.
    """

    parts: list[bytes] = field(default_factory=list[bytes])
    size: int = 0

    def data(self, value: Any) -> Any:
        """Return a value as what JSON can hold."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return value.encode("utf-8", "backslashreplace").decode()
        if kind is int:
            return value if abs(value) < EXACT else tagged_integer(value)
        if kind is dict:
            return ["dict", *([self.data(k), self.data(v)] for k, v in value.items())]
        if kind in (list, tuple, torch.Size):
            return ["list" if kind is list else "tuple", *map(self.data, value)]
        if kind is float:
            return ["float", value.hex()]
        return self.special(value)

    def special(self, value: Any) -> Any:
        """Return a value of a less common kind."""
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if isinstance(value, slice | range):
            ends = map(self.data, (value.start, value.stop, value.step))
            return ["slice" if isinstance(value, slice) else "range", *ends]
        if value is ...:
            return ["ellipsis"]
        if isinstance(value, torch.dtype) and value in NAMES:
            return ["dtype", NAMES[value]]
        if isinstance(value, Opaque):
            return ["opaque", value.kind, value.home]
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
        return ["opaque", type(value).__name__, home if isinstance(home, str) else ""]

    def tensor(self, value: torch.Tensor) -> Any:
        """Return a tensor's form; its bytes are put aside."""
        if value.device.type == "meta":
            return ["meta", NAMES.get(value.dtype, "float64"), list(value.shape)]
        if value.layout != torch.strided or value.device.type != "cpu" or value.dtype not in NAMES:
            return ["opaque", type(value).__name__, "torch"]
        with torch._C.DisableTorchFunction():
            whole = value.detach().contiguous()
            count = whole.numel() * whole.element_size()
            self.parts.append(ctypes.string_at(whole.data_ptr(), count) if count else b"")
        start, self.size = self.size, self.size + count
        return ["tensor", NAMES[value.dtype], list(value.shape), start]


def tagged_integer(value: int) -> Any:
    """Return an integer too large for JSON's numbers; one that is beyond reason stays."""
    return ["integer", hex(value)] if value.bit_length() < 4 * LONGEST else ["opaque", "int", ""]


def unpacked(data: Any, body: bytes, depth: int = 0) -> Any:
    """Return the value that data stands for.

    Raises:
        BadTalk: it stands for none.
    """
    if data is None or isinstance(data, bool | int | str):
        return data
    if not isinstance(data, list) or not data or depth > DEEPEST:
        raise BadTalk("a value is missing")
    tag, *rest = data
    made = READERS.get(tag) if isinstance(tag, str) else None
    if made is None:
        raise BadTalk("a value of no known kind")
    try:
        return made(rest, body, depth + 1)
    except (ValueError, TypeError, KeyError, OverflowError, RuntimeError) as error:
        raise BadTalk(f"a {tag} is broken") from error


def tensor_of(rest: list[Any], body: bytes, _: int) -> torch.Tensor:
    """Return the tensor of a form, its bytes taken from the body."""
    name, shape, start = rest
    dtype, sizes = DTYPES[name], shape_of(shape)
    size = torch.empty((), dtype=dtype).element_size()
    count = math.prod(sizes) * size
    if type(start) is not int or not 0 <= start <= start + count <= len(body):
        raise BadTalk("a tensor has not as many bytes as entries")
    raw = bytearray(body[start : start + count])
    if not raw:
        return torch.empty(sizes, dtype=dtype)
    if dtype is torch.bool:
        return (torch.frombuffer(raw, dtype=torch.uint8) != 0).reshape(sizes)
    return torch.frombuffer(raw, dtype=dtype).reshape(sizes).clone()


def meta_of(rest: list[Any], body: bytes, _: int) -> torch.Tensor:
    """Return a tensor of which only dtype and shape were told."""
    name, shape = rest
    return torch.empty(shape_of(shape), dtype=DTYPES[name], device="meta")


def shape_of(sizes: Any) -> tuple[int, ...]:
    """Return a shape."""
    if not isinstance(sizes, list) or len(sizes) > MOST_AXES:
        raise BadTalk("a shape is missing")
    if not all(type(size) is int and 0 <= size < EXACT for size in sizes):
        raise BadTalk("a shape holds something else than sizes")
    return tuple(sizes)


def several(kind: Callable[[list[Any]], Any]) -> Callable[[list[Any], bytes, int], Any]:
    """Return a reader of a sequence."""
    return lambda rest, body, depth: kind([unpacked(each, body, depth) for each in rest])


def mapping_of(rest: list[Any], body: bytes, depth: int) -> dict[str, Any]:
    """Return a mapping by text."""
    found: dict[str, Any] = {}
    for key, value in rest:
        if not isinstance(key, str):
            raise BadTalk("a key is no text")
        found[key] = unpacked(value, body, depth)
    return found


def ends(rest: list[Any], body: bytes, depth: int) -> list[int | None]:
    """Return the three numbers of a slice or range."""
    found = [unpacked(each, body, depth) for each in rest]
    if len(found) != 3 or not all(each is None or type(each) is int for each in found):
        raise BadTalk("a slice is not of integers")
    return found


def opaque_of(rest: list[Any], body: bytes, _: int) -> Opaque:
    """Return what stands for a value that stays where it is."""
    kind, home = rest
    if not isinstance(kind, str) or not isinstance(home, str):
        raise BadTalk("a type has no name")
    return Opaque(kind[:200], home[:200])


READERS: Mapping[str, Callable[[list[Any], bytes, int], Any]] = {
    "dict": mapping_of,
    "list": several(list),
    "tuple": several(tuple),
    "float": lambda rest, body, _: float.fromhex(rest[0]),
    "integer": lambda rest, body, _: int(rest[0], 16),
    "tensor": tensor_of,
    "meta": meta_of,
    "slice": lambda rest, body, depth: slice(*ends(rest, body, depth)),
    "range": lambda rest, body, depth: range(*(each or 0 for each in ends(rest, body, depth))),
    "ellipsis": lambda rest, body, _: ...,
    "dtype": lambda rest, body, _: DTYPES[rest[0]],
    "opaque": opaque_of,
}
