"""State that a forward pass has beside its tensors: generators, and numbers that a module keeps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from handgrad.trace.blind import Look

NUMPY = np.random.mtrand._rand  # what np.random.normal draws from
PLAIN = (bool, int, float, str, type(None))


class Outside:
    """What a run may change that is no tensor, as it was before.

    Args:
        forward: the forward pass: a module's own numbers are looked at.
    """

    def __init__(self, forward: Any) -> None:
        self.where = where(forward)
        modules = list(forward.modules()) if isinstance(forward, torch.nn.Module) else []
        self.numbers = [(module, plain_attributes(module)) for module in modules]
        self.torch, self.python = torch.get_rng_state(), random.getstate()
        self.numpy = NUMPY.get_state()

    def rewind(self) -> None:
        """Let a second run find what the first one found."""
        torch.set_rng_state(self.torch)
        random.setstate(self.python)
        NUMPY.set_state(self.numpy)
        self.restore()

    def restore(self) -> None:
        """Put a module's numbers back: a trace is no step of training."""
        for module, before in self.numbers:
            for name in plain_attributes(module).keys() | before.keys():
                if name in before:
                    module.__dict__[name] = before[name]

    def changed(self) -> Iterator[Look]:
        """Yield what a run changed, which another run would find changed."""
        if random.getstate() != self.python:
            yield Look("state", self.where, "it draws from Python's random")
        if repr(NUMPY.get_state()) != repr(self.numpy):
            yield Look("state", self.where, "it draws from numpy.random")
        for module, before in self.numbers:
            now = plain_attributes(module)
            for name in sorted(n for n, value in before.items() if now.get(n, value) != value):
                text = f"{type(module).__name__}.{name} becomes {now[name]!r}"
                yield Look("state", where(module), text)


def where(forward: Any) -> str:
    """Return the file and line of a function or of a module's forward pass."""
    target = forward.forward if isinstance(forward, torch.nn.Module) else forward
    code = getattr(target, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def plain_attributes(module: torch.nn.Module) -> dict[str, Any]:
    """Return the numbers and words that a module keeps."""
    return {name: value for name, value in vars(module).items() if type(value) in PLAIN}
