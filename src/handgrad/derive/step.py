"""A derived pass compiled to one plain function: the loss, every leaf's gradient, what changes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.derive.backward import Backward
from handgrad.spell import spell
from handgrad.trace import Trace


@dataclass(frozen=True)
class Step:
    """Forward and backward lines in one function, run without autograd.

    Attributes:
        source: its text, plain PyTorch.
        inputs: the forward names that it takes, in order.
        leaves: the names that it returns gradients of.
        states: the inputs that the forward pass changes, whose new values it returns last.
        function: the compiled text.
        scalars: the traced value of each number, for those that are not given.
    """

    source: str
    inputs: tuple[str, ...]
    leaves: tuple[str, ...]
    states: tuple[str, ...]
    function: Callable[..., tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]]
    scalars: Mapping[str, Any]

    def __call__(self, values: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the output and the gradient of every leaf, by the leaf's name."""
        with torch.no_grad():
            output, gradients, _ = self.by_name(values)
        return output, dict(zip(self.leaves, gradients, strict=True))

    def by_name(
        self, values: Mapping[str, Any]
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the output, the gradients in the leaves' order, and the states' new values."""
        given = {**self.scalars, **values}
        return self.function(*[apart(given[name]) for name in self.inputs])


def apart(value: Any) -> Any:
    """Return a value apart from autograd: a view of a parameter asks for a gradient of its own."""
    return value.detach() if isinstance(value, Tensor) else value


def compile_step(backward: Backward, leaves: Iterable[str] | None = None) -> Step:
    """Compile a derived backward pass together with its forward pass.

    Sizes that the lines take from the tensors may differ from the trace's; the gradient that the
    backward pass starts from is the trace's own. What the forward pass draws is drawn anew.

    Args:
        backward: the lines.
        leaves: whose gradients are returned; by default those of every leaf that has one.
    """
    trace = backward.trace
    given = [n.name for n in trace.program.inputs if n.name not in trace.draws]
    inputs = (*given, *trace.program.scalars)
    if leaves is None:
        leaves = (name for name in trace.leaves if name in trace.grads)
    leaves = tuple(leaves)
    gradients = "".join(f"d{name}, " for name in leaves)
    states = "".join(f"{spell(line.expr)}, " for line in trace.updates.values())
    body = [
        *forward_lines(trace),
        *(each.line.text for each in backward.lines),
        f"return {trace.output}, ({gradients}), ({states})",
    ]
    source = f"def step({', '.join(inputs)}):\n" + textwrap.indent("\n".join(body), "    ") + "\n"
    scope: dict[str, Any] = {"torch": torch, "F": F, **trace.program.externals}
    scope[backward.start] = trace.upstream
    exec(compile(source, "<step>", "exec"), scope)
    return Step(source, inputs, leaves, tuple(trace.updates), scope["step"], trace.program.scalars)


def forward_lines(trace: Trace) -> Iterator[str]:
    """Yield the forward lines, each draw where the forward pass drew."""
    for place in range(len(trace.lines) + 1):
        yield from (draw.line.text for draw in trace.draws.values() if draw.before == place)
        yield from (line.text for line in trace.lines[place : place + 1])
