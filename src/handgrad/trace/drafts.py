"""The arguments of a torch call: which values they are, and how their scalars were written."""

from __future__ import annotations

import ast
import itertools
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch

from handgrad.ops.table import ALIASES
from handgrad.trace.code import code_of
from handgrad.trace.counting import Axis, counted
from handgrad.trace.source import Reader, Scalar, Unreadable, argument_nodes

NUMBERS = {int, float, bool}
LONG = 200  # parts
PLAIN = (
    *(type(None), type(...), bool, int, float, str, slice, range, tuple, list, np.generic),
    *(torch.dtype, torch.device, torch.memory_format, torch.layout),
)


class Resolver(Protocol):
    """What knows which value a tensor is, and what scalars' names have stood for."""

    scalars: dict[str, list[Any]]
    counts: dict[str, list[Axis | None]]

    def resolve(
        self, tensor: torch.Tensor, frame: FrameType | None = None, node: Any = None
    ) -> Any:
        """Return the value that a tensor is now."""
        ...


@dataclass
class Written:
    """An argument as the user wrote it.

    Attributes:
        value: what it was.
        node: its syntax.
        word: the keyword that it was given by, empty if by place.
        taken: whether a parameter has its text already.
    """

    value: Any
    node: Any
    word: str = ""
    taken: bool = False


class Drafts:
    """Turn the arguments of one call into Values and Scalars.

    Args:
        recorder: what knows the values.
        frame: the user's, in which the call stands.
        args: the call's arguments by position.
        kwargs: and by keyword.
        outer: for a call that torch's own code makes, that of the user's call around it.

    Attributes:
        unspelled: an argument has no text that gives it back.
    """

    def __init__(
        self,
        recorder: Resolver,
        frame: FrameType,
        args: Any,
        kwargs: Any,
        outer: Drafts | None = None,
    ) -> None:
        self.recorder, self.frame = recorder, frame
        self.inner, self.unspelled = outer is not None, False
        code = code_of(frame)
        self.reader = Reader(frame, code.source)
        self.written: list[Written] = [] if outer is None else outer.written
        if outer is not None or not (args or kwargs):
            return
        positions, keywords = argument_nodes(code.node(frame), len(args))
        for arg, node in itertools.zip_longest(args, positions):
            self.pair(arg, node)
        for word, value in kwargs.items():
            self.pair(value, keywords.get(word), ALIASES.get(word) or word)
        if len(args) == 2 and isinstance(args[1], int | float) and len(positions) == 2:
            self.pair(args[1], positions[0])  # 2 * x is reported as x.mul(2)

    def pair(self, value: Any, node: Any, word: str = "") -> None:
        """Remember which node a value was written as, the parts of a tuple one by one too."""
        if node is not None:
            self.written.append(Written(value, node, word))
        elements = getattr(node, "elts", None)
        if isinstance(value, tuple | list) and elements and len(elements) == len(value):
            for part, inside in zip(value, elements, strict=True):
                self.pair(part, inside, word)

    def draft(self, value: Any, param: str) -> Any:
        """Return an argument as Value, Scalar, or tuple of them."""
        if isinstance(value, torch.Tensor):
            found = self.recorder.resolve(value, self.frame, self.node(value))
            if not found.hint and found.op is None and not found.names:
                found.hint = self.hint(value)
            return found
        if isinstance(value, np.ndarray):
            return self.recorder.resolve(torch.as_tensor(value))
        if isinstance(value, tuple | list):
            whole = self.scalar(value, param) if not tensors_in(value) else None
            if isinstance(whole, Scalar) and (whole.holes or self.is_whole(value)):
                return whole
            parts = tuple(self.draft(part, param) for part in value)
            if any(not isinstance(part, Scalar) for part in parts):
                return parts
            if any(part.holes for part in parts):
                return parts
            return whole
        return self.scalar(value, param)

    def is_whole(self, value: Any) -> bool:
        """Tell whether a sequence was passed as one thing, its parts not written out."""
        written = [each.node for each in self.written if each.value is value]
        return bool(written) and not any(hasattr(node, "elts") for node in written)

    def scalar(self, value: Any, param: str) -> Scalar:
        """Return a static with its text, and remember what its names stood for.

        A text is taken once, in the order of the arguments: `view(B, H)` is no `view(B, B)` where
        both are 2 today.
        """
        mine = [each for each in self.written if each.word in ("", param) and not each.taken]
        mine = self.written if self.inner else mine
        for each in sorted(mine, key=lambda each: not each.word):
            if not (each.value is value or same_static(each.value, value)):
                continue
            try:
                scalar = self.reader.written(value, each.node)
            except Unreadable:
                continue
            each.taken = True
            for hole in scalar.holes:
                if hole.name and hole.tensor is None:
                    self.recorder.scalars.setdefault(hole.name, []).append(hole.value)
                    axis = counted(self.frame, hole.name)
                    self.recorder.counts.setdefault(hole.name, []).append(axis)
            return scalar
        self.unspelled = self.unspelled or not spellable(value)
        return Scalar(value)

    def hint(self, tensor: torch.Tensor) -> str:
        """Return the source text of a tensor argument."""
        node = self.node(tensor)
        return "" if node is None else ast.unparse(node)

    def node(self, tensor: torch.Tensor) -> Any:
        """Return the node that a tensor argument was written as, None if it has none."""
        return next((each.node for each in self.written if each.value is tensor), None)


def spellable(value: Any, most: int = LONG) -> bool:
    """Tell whether a plain value has a text that a line can hold: a long list is data."""
    waiting, seen = [value], 0
    while waiting:
        each, seen = waiting.pop(), seen + 1
        if seen > most or not isinstance(each, PLAIN):
            return False
        if isinstance(each, tuple | list):
            waiting += each[: most + 1]
    return True


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
