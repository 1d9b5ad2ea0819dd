"""Starts: which plan a call of `hg.compile` came to, so that the next equal one need not trace.

A start is kept under all that its trace could depend on: the function's code and what it reads,
the types of its tensors, the values of its other arguments, and torch's settings. It is kept only
where the run looked at no tensor's values, so that they cannot matter.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from handgrad.native import kept
from handgrad.native.labels import extent
from handgrad.native.reading import TORCH, Reader, Untold
from handgrad.trace.arguments import bound_arguments

FORMAT = "1"  # changes when what is kept does
WHOLE = {torch.int64, torch.int32, torch.int16, torch.int8}


@dataclass(frozen=True)
class Start:
    """What a trace came to.

    Attributes:
        plan: the key of its plan.
        inputs: the tensors that the program reads, in order, with their names among the arguments.
        leaves: the parameters among them.
    """

    plan: str
    inputs: dict[str, str]
    leaves: tuple[str, ...]


def key_of(
    forward: Any, args: Any, kwargs: Any, wanted: list[str], options: tuple[Any, ...]
) -> str:
    """Return the name that a start is kept under; empty where it cannot be told exactly."""
    reader = Reader()
    try:
        facts = [FORMAT, sys.version, kept.version(), kept.machine(), *settings()]
        facts += [*reader.told(wanted), *map(repr, options), *reader.told(forward)]
        seen: dict[int, int] = {}
        for name, value in bound_arguments(forward, args, kwargs).items():
            facts += [name, *argument(value, reader, seen)]
    except (Untold, RecursionError):
        return ""
    return kept.hashed("\0".join(facts))


def argument(value: Any, reader: Reader, seen: dict[int, int]) -> Iterator[str]:
    """Yield what an argument is: of a tensor, all but its values.

    Args:
        value: the argument.
        reader: tells what is no tensor.
        seen: the tensors that were met, numbered; one that is given twice is one.
    """
    if isinstance(value, Tensor):
        number = seen.setdefault(id(value), len(seen))
        yield f"tensor {number} {tensor(value)}"
    elif type(value) in (tuple, list):
        yield f"{type(value).__name__} {len(value)}"
        for part in value:
            yield from argument(part, reader, seen)
    elif type(value) is dict:
        yield f"dict {len(value)}"
        for name, part in value.items():
            yield from reader.told(name)
            yield from argument(part, reader, seen)
    else:
        yield from reader.told(value)


def tensor(value: Tensor) -> str:
    """Return type, shape and strides of a tensor, and whether its whole numbers may be negative.

    Raises:
        Untold: it is of a class of its own, sparse, complex or on another device, or has a hook.
    """
    plain = type(value) in (Tensor, torch.nn.Parameter) and value.layout == torch.strided
    if not plain or value.device.type != "cpu" or value.is_complex() or value.is_neg():
        raise Untold("a tensor that is not plain")
    if value._backward_hooks or getattr(value, "_post_accumulate_grad_hooks", None):
        raise Untold("a tensor with a hook")
    whole = value.dtype in WHOLE and value.numel() > 0
    sign = "negative" if whole and extent(value)[0] < 0 else ""
    return f"{value.dtype} {tuple(value.shape)} {value.stride()} {sign}"


def settings() -> Iterator[str]:
    """Yield torch's settings that a forward pass may depend on.

    Raises:
        Untold: one is in force that this does not know, or a method of tensors is not torch's.
    """
    modes = torch._C._len_torch_function_stack() + torch._C._len_torch_dispatch_stack()
    if modes or not torch._C._is_torch_function_enabled() or torch.is_inference_mode_enabled():
        raise Untold("a mode")
    if torch.is_autocast_enabled("cpu"):
        raise Untold("autocast")
    yield str(torch.get_default_dtype())
    for name, method in vars(Tensor).items():
        if isinstance(method, types.FunctionType):
            if not method.__code__.co_filename.startswith(TORCH):
                raise Untold(f"a method {name}")
            yield f"{name} {method.__name__}"
        else:
            yield f"{name} {type(method).__name__} {getattr(method, '__name__', '')}"


def is_ours(optimiser: Any) -> bool:
    """Tell whether an optimiser is handgrad's own, so that its name and numbers tell it all."""
    return type(optimiser).__module__ == "handgrad.nn.optimisers"


def load(key: str, given: Mapping[str, Tensor]) -> Start | None:
    """Return the start of a key; None if there is none, or a tensor that it reads is not given."""
    data = kept.load(f"{key}.start") if key else None
    try:
        found = Start(data["plan"], dict(data["inputs"]), tuple(data["leaves"])) if data else None
    except (KeyError, TypeError, ValueError):
        return None
    return found if found and given.keys() >= set(found.inputs.values()) else None


def keep(key: str, start: Start, given: Mapping[str, Tensor]) -> None:
    """Keep a start, if all that its program reads is given."""
    if key and start.plan and given.keys() >= set(start.inputs.values()):
        kept.keep(f"{key}.start", asdict(start))
