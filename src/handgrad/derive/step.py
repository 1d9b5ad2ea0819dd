"""A derived backward pass compiled to one plain function: the loss and every leaf's gradient."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.derive.backward import Backward


@dataclass(frozen=True)
class Step:
    """Forward and backward lines in one function, run without autograd.

    Attributes:
        source: its text, plain PyTorch.
        inputs: the forward names that it takes, in order.
        leaves: the names that it returns gradients of.
        function: the compiled text.
        scalars: the traced value of each number, for those that are not given.
    """

    source: str
    inputs: tuple[str, ...]
    leaves: tuple[str, ...]
    function: Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
    scalars: Mapping[str, Any]

    def __call__(self, values: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the output and the gradient of every leaf, by the leaf's name."""
        with torch.no_grad():
            output, gradients = self.by_name(values)
        return output, dict(zip(self.leaves, gradients, strict=True))

    def by_name(self, values: Mapping[str, Any]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the output and the gradients in the order of the leaves."""
        given = {**self.scalars, **values}
        return self.function(*[given[name] for name in self.inputs])


def compile_step(backward: Backward, leaves: Iterable[str] | None = None) -> Step:
    """Compile a derived backward pass together with its forward pass.

    Sizes that the lines take from the tensors may differ from the trace's; the gradient that the
    backward pass starts from is the trace's own.

    Args:
        backward: the lines.
        leaves: whose gradients are returned; by default those of every leaf that has one.
    """
    trace = backward.trace
    inputs = tuple([name.name for name in trace.program.inputs] + list(trace.program.scalars))
    if leaves is None:
        leaves = (name for name in trace.leaves if name in trace.grads)
    leaves = tuple(leaves)
    gradients = "".join(f"d{name}, " for name in leaves)
    body = [
        *(line.text for line in trace.lines),
        *(each.line.text for each in backward.lines),
        f"return {trace.output}, ({gradients})",
    ]
    source = f"def step({', '.join(inputs)}):\n" + textwrap.indent("\n".join(body), "    ") + "\n"
    scope: dict[str, Any] = {"torch": torch, "F": F, backward.start: trace.upstream}
    exec(compile(source, "<step>", "exec"), scope)
    return Step(source, inputs, leaves, scope["step"], trace.program.scalars)
