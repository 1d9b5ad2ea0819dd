"""One torch call of the user's, and the recorder as what looks at one call sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from handgrad.errors import BadInput
from handgrad.ir import Op, Static
from handgrad.trace.source import Place, place_of
from handgrad.trace.values import Stale, Value, tensors_among

UNDIFFERENTIABLE = ("the derivative for", "is not differentiable with respect to")
Scopes = dict[tuple[CodeType, int], dict[str, Any]]
HOLDING = (np.generic, np.ndarray, tuple, list, Static)


@dataclass(frozen=True)
class Called:
    """One torch call.

    Attributes:
        frames: those of the user's code in which it stands, innermost first.
    """

    func: Any
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    frames: list[FrameType]

    @property
    def places(self) -> tuple[tuple[int, Place], ...]:
        """Return each frame's key and statement, outermost first."""
        return tuple((id(frame), place_of(frame)) for frame in reversed(self.frames))

    @property
    def place(self) -> Place:
        """Return the statement of the outermost frame."""
        return place_of(self.frames[-1])

    def refused(self, what: str, why: str = "", hint: str = "") -> BadInput:
        """Return an error that names the call's line."""
        text = self.place.text
        return BadInput(
            what, where=str(self.place.span), why=f"{text}\n{why}" if why else text, hint=hint
        )


class Tape(Protocol):
    """What is recorded so far, for those who record one call."""

    values: list[Value]
    current: dict[int, Value]
    stale: dict[int, Stale]
    scopes: Scopes
    first_values: list[tuple[torch.Tensor, torch.Tensor]]
    externals: dict[str, Any]
    asked: dict[int, int]
    read: set[int]
    apart: bool
    makes_leaves: bool

    def input(self, tensor: torch.Tensor, name: str = "", leaf: bool = False) -> Value:
        """Note a tensor that comes from outside."""
        ...

    def resolve(
        self, tensor: torch.Tensor, frame: FrameType | None = None, node: Any = None
    ) -> Value:
        """Return the value that a tensor is now."""
        ...

    def add(self, op: Op, args: Mapping[str, Any], places: Any, result: Any) -> tuple[Value, ...]:
        """Add the values of one call."""
        ...

    def record_template(
        self, text: str, called: Called, args: Mapping[str, torch.Tensor], result: Any
    ) -> tuple[Value, ...]:
        """Record a text with operands in braces that is no single call of torch's."""
        ...

    def sharing(self, tensor: torch.Tensor) -> list[Value]:
        """Return the values that lie on the memory of a tensor."""
        ...

    def adopt(self, mine: torch.Tensor, tensor: torch.Tensor) -> None:
        """Let the value that was recorded for a tensor of ours be the user's equal one."""
        ...

    def drafts(self, called: Called) -> Any:
        """Return what reads a call's arguments in the user's text."""
        ...


class Again:
    """Record what is called inside, though a call of the user's is being looked at.

    Args:
        mode: the recorder.
        apart: what is called is not the user's own: their graph knows nothing of it.
    """

    def __init__(self, mode: Any, apart: bool = False) -> None:
        self.mode, self.apart = mode, apart
        self.before = False
        self.hooks = saved_tensors_hooks(same, same) if apart else None

    def __enter__(self) -> None:
        self.before, self.mode.apart = self.mode.apart, self.mode.apart or self.apart
        if self.hooks is not None:  # what we save is none of a checkpoint's business
            self.hooks.__enter__()
        TorchFunctionMode.__enter__(self.mode)

    def __exit__(self, *error: object) -> None:
        TorchFunctionMode.__exit__(self.mode, *error)
        if self.hooks is not None:
            self.hooks.__exit__(*error)
        self.mode.apart = self.before


def same(tensor: torch.Tensor) -> torch.Tensor:
    """Save a tensor as it is."""
    return tensor


class NoDerivative(Exception):
    """Torch has no derivative with respect to some leaves: they can be none."""

    def __init__(self, leaves: tuple[Value, ...], error: RuntimeError) -> None:
        super().__init__("no derivative")
        self.leaves, self.error = leaves, error


def run(tape: Tape, called: Called) -> Any:
    """Make a call.

    Raises:
        NoDerivative: torch has no derivative with respect to one of the leaves in it.
    """
    try:
        return called.func(*called.args, **called.kwargs)
    except RuntimeError as error:
        leaves = [v for v in tape.values if v.leaf and v.requires]
        if any(words in str(error) for words in UNDIFFERENTIABLE):
            given = {id(tensor) for tensor in tensors_among(called.args, called.kwargs)}
            leaves = [v for v in leaves if id(v.tensor) in given and without(called, v.tensor)]
        elif "Can't call numpy()" not in str(error):
            raise
        if not leaves:
            raise
        raise NoDerivative(tuple(leaves), error) from error


def without(called: Called, leaf: torch.Tensor) -> bool:
    """Tell whether a call runs where one tensor in it has no gradient."""

    def cut(value: Any) -> Any:
        return value.detach() if value is leaf else value

    try:
        args = [cut(value) for value in called.args]
        called.func(*args, **{word: cut(value) for word, value in called.kwargs.items()})
    except RuntimeError:
        return False
    return True


def plain(given: Any) -> Any:
    """Return arguments with NumPy's numbers and arrays, and rules' own, as torch takes them."""
    if isinstance(given, Static):
        return given.value
    if isinstance(given, np.generic):
        return given.item()
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return torch.as_tensor(given)
    if type(given) in (tuple, list) and any(isinstance(g, HOLDING) for g in given):
        parts = [plain(part) for part in given]
        return tuple(parts) if isinstance(given, tuple) else parts
    if type(given) is dict:
        return {word: plain(part) for word, part in given.items()}
    return given


def public(func: Any) -> Any:
    """Return the function that users know for one of `torch.ops.aten`."""
    if isinstance(func, torch._ops.OpOverload) and func.namespace == "aten":
        name = func.overloadpacket.__name__
        return getattr(torch, name, getattr(torch.Tensor, name, func))
    return func


def apart_from(result: Any, called: Called) -> Any:
    """Return results none of which is an argument itself: each is a value of its own."""
    if isinstance(result, torch.Tensor):
        return result
    given = {id(tensor) for tensor in tensors_among(called.args, called.kwargs)}
    if not any(id(part) in given for part in result):
        return result
    parts = [part.view_as(part) if id(part) in given else part for part in result]
    return tuple(parts) if type(result) is tuple else parts


def transformed(args: tuple[Any, ...]) -> bool:
    """Tell whether a call is inside torch.func: what it makes is no tensor of the user's lines."""
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor  # pyright: ignore[reportAttributeAccessIssue]
    inside = torch._C._are_functorch_transforms_active()
    return inside or any(wrapped(tensor) for tensor in tensors_among(args, {}))


def refuse_autocast(frames: list[FrameType]) -> None:
    """Refuse a line whose dtype is chosen by autocast: its text alone would choose another.

    Raises:
        BadInput: autocast is on.
    """
    if torch.is_autocast_enabled("cpu"):
        place = place_of(frames[-1])
        raise BadInput(
            "autocast chooses the dtype of this line, and no backward line says which",
            where=str(place.span),
            why=place.text,
            hint="leave autocast out of what is traced, or cast on a line: `x.bfloat16()`",
        )
