"""What a recording is made of: a value for each tensor of the run, and what people should know."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge

from handgrad.ir import Op
from handgrad.trace.source import Place


@dataclass(eq=False)
class Value:
    """One tensor of the recorded run.

    Attributes:
        op: the row that made it, None for an input.
        args: the row's arguments: Values, Scalars, tuples of them.
        item: which output of the op it is, None if it is the only one.
        group: shared by the outputs of one call.
        frames: for each user frame of the call, outermost first, its key and statement.
        names: where it was bound: depth of the frame, name, key of the frame, statement.
        requires: whether the user's own graph has a gradient for it.
        edge: where that graph has its gradient.
        random: it was drawn: another run gives another tensor.
        depends: it is a leaf that has a gradient, or made of one.
        passed: it was given to the run, or made of what was: another call brings other entries.
        cut: it depends on a leaf, and its line ran without gradients.
        written: its memory was written through another tensor, or later on: the graph has no
            gradient of it that could be compared.
    """

    tensor: torch.Tensor
    order: int
    op: Op | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    item: int | None = None
    group: tuple[Value, ...] = ()
    frames: tuple[tuple[int, Place], ...] = ()
    names: list[tuple[int, str, int, Place]] = field(default_factory=list)
    leaf: bool = False
    requires: bool = False
    edge: GradientEdge | None = None
    snapshot: torch.Tensor | None = None
    hint: str = ""
    random: bool = False
    cut: bool = False
    depends: bool = False
    passed: bool = False
    written: bool = False

    @property
    def data(self) -> torch.Tensor:
        """Return the tensor as it was when this value was made."""
        held = self.tensor if self.snapshot is None else self.snapshot
        return held.clone() if held.is_inference() else held.detach()

    @property
    def form(self) -> tuple[tuple[int, ...], torch.dtype]:
        """Return the shape and dtype that it had when it was made."""
        held = self.tensor if self.snapshot is None else self.snapshot
        return tuple(held.shape), held.dtype

    @property
    def comparable(self) -> bool:
        """Tell whether the user's graph has its gradient; of a leaf always."""
        return self.edge is not None and (self.op is None or not self.written)

    @property
    def place(self) -> Place | None:
        """Return the statement, of the outermost frame, that made the value."""
        return self.frames[0][1] if self.frames else None

    def holds(self, tensor: torch.Tensor) -> None:
        """Take a tensor of the user's, with its place in their graph, as what this value is."""
        self.tensor = tensor
        self.requires = tensor.requires_grad and not views_leaf(tensor)
        with torch.enable_grad():  # the edge of a view of a leaf is made when it is asked for
            self.edge = get_gradient_edge(tensor) if self.requires else None


@dataclass(frozen=True)
class Note:
    """Something about the forward pass that a person should know."""

    kind: str
    place: Place | None
    text: str


@dataclass(frozen=True)
class Stale:
    """A tensor whose memory was written through another one."""

    made: Place | None
    written: Place | None
    writers: tuple[Value, ...] = ()


def outputs_of(result: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors of a call's result; empty unless it is a tensor or tuple of tensors."""
    if isinstance(result, torch.Tensor):
        return (result,)
    if not isinstance(result, tuple | list):
        return ()
    return tuple(result) if all(isinstance(part, torch.Tensor) for part in result) else ()


def values_in(args: Iterable[Any]) -> Iterator[Value]:
    """Yield the values among arguments, those in tuples too."""
    for arg in args:
        if isinstance(arg, Value):
            yield arg
        elif isinstance(arg, tuple):
            yield from values_in(arg)


def tensors_among(args: Iterable[Any], kwargs: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """Yield the tensors among a call's arguments, those in tuples and lists too."""
    for arg in itertools.chain(args, kwargs.values()):
        if isinstance(arg, torch.Tensor):
            yield arg
        elif isinstance(arg, tuple | list):
            yield from tensors_among(arg, {})


def differentiable(args: Iterable[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether a gradient could flow to an argument of a call that is made now."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors_among(args, kwargs))


def is_parameter(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is a leaf; torch calls a leaf's view without gradients one too."""
    return tensor.is_leaf and tensor.requires_grad and not views_leaf(tensor)


def views_leaf(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is a view of a leaf, made without gradients."""
    base = tensor._base if tensor.is_leaf and tensor._is_view() else None
    return base is not None and base.requires_grad
