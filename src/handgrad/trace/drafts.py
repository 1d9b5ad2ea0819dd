"""The arguments of a torch call: which values they are, and how their scalars were written."""

from __future__ import annotations

import ast
import itertools
from types import FrameType
from typing import Any, Protocol

import torch

from handgrad.trace.code import code_of
from handgrad.trace.counting import Axis, counted
from handgrad.trace.source import Reader, Scalar, Unreadable, argument_nodes

NUMBERS = {int, float, bool}


class Resolver(Protocol):
    """What knows which value a tensor is, and what scalars' names have stood for."""

    scalars: dict[str, list[Any]]
    counts: dict[str, list[Axis | None]]

    def resolve(self, tensor: torch.Tensor, frame: FrameType | None = None) -> Any:
        """Return the value that a tensor is now."""
        ...


class Drafts:
    """Turn the arguments of one call into Values and Scalars."""

    def __init__(
        self, recorder: Resolver, frame: FrameType, func: Any, args: Any, kwargs: Any
    ) -> None:
        self.recorder, self.frame = recorder, frame
        code = code_of(frame)
        self.reader = Reader(frame, code.source)
        positions, keywords = argument_nodes(code.node(frame), len(args))
        self.nodes: list[tuple[Any, Any]] = []
        for arg, node in itertools.zip_longest(args, positions):
            self.pair(arg, node)
        for word, value in kwargs.items():
            self.pair(value, keywords.get(word))
        if len(args) == 2 and isinstance(args[1], int | float) and len(positions) == 2:
            self.nodes.append((args[1], positions[0]))  # 2 * x is reported as x.mul(2)

    def pair(self, value: Any, node: Any) -> None:
        """Remember which node a value was written as, the parts of a tuple one by one too."""
        self.nodes.append((value, node))
        elements = getattr(node, "elts", None)
        if isinstance(value, tuple | list) and elements and len(elements) == len(value):
            for part, inside in zip(value, elements, strict=True):
                self.pair(part, inside)

    def draft(self, value: Any, param: str) -> Any:
        """Return an argument as Value, Scalar, or tuple of them."""
        if isinstance(value, torch.Tensor):
            found = self.recorder.resolve(value, self.frame)
            if not found.hint and found.op is None and not found.names:
                found.hint = self.hint(value)
            return found
        if isinstance(value, tuple | list):
            whole = self.scalar(value) if not tensors_in(value) else None
            if isinstance(whole, Scalar) and (whole.holes or self.is_whole(value)):
                return whole
            parts = tuple(self.draft(part, param) for part in value)
            if any(not isinstance(part, Scalar) for part in parts):
                return parts
            if any(part.holes for part in parts):
                return parts
            return whole
        return self.scalar(value)

    def is_whole(self, value: Any) -> bool:
        """Tell whether a sequence was passed as one thing, its parts not written out."""
        written = [node for known, node in self.nodes if known is value]
        return bool(written) and not any(hasattr(node, "elts") for node in written)

    def scalar(self, value: Any) -> Scalar:
        """Return a static with its text, and remember what its names stood for."""
        for known, node in self.nodes:
            if node is None or not (known is value or same_static(known, value)):
                continue
            try:
                scalar = self.reader.written(value, node)
            except Unreadable:
                continue
            for hole in scalar.holes:
                if hole.name and hole.tensor is None:
                    self.recorder.scalars.setdefault(hole.name, []).append(hole.value)
                    axis = counted(self.frame, hole.name)
                    self.recorder.counts.setdefault(hole.name, []).append(axis)
            return scalar
        return Scalar(value)

    def hint(self, tensor: torch.Tensor) -> str:
        """Return the source text of a tensor argument."""
        for known, node in self.nodes:
            if known is tensor and node is not None:
                return ast.unparse(node)
        return ""


def same_static(a: Any, b: Any) -> bool:
    """Tell whether two plain values are one and the same argument."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return False
    return type(a) is type(b) and not tensors_in(a) and not tensors_in(b) and bool(a == b)


def tensors_in(value: Any) -> bool:
    """Tell whether a nested value holds a tensor."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, torch.Tensor):
            return True
        if isinstance(each, tuple | list):
            waiting += [part for part in each if type(part) not in NUMBERS]
    return False
