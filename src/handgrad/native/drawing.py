"""Random draws: made anew by PyTorch before each step, in the memory that native code reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.derive.backward import values_read
from handgrad.ir import Expr, Item, Name, names
from handgrad.native.engines import Draws
from handgrad.native.lower.budget import CannotLower
from handgrad.trace import Trace

# they have no row, so that nothing says that they read a shape only
SHAPED = {"rand_like", "randn_like", "randint_like", "ones_like", "zeros_like", "empty_like"}


@dataclass(frozen=True)
class Drawing:
    """The draws of a forward pass.

    Attributes:
        draws: what makes each drawn input, by its name, in order.
        scope: what they read beside tensors of the step; of what they take but the shape, an
            array of that shape.
    """

    draws: Mapping[str, Any]
    scope: Mapping[str, Any]

    def __call__(self, tensors: Mapping[str, Tensor]) -> None:
        """Draw anew, into the tensors that were drawn before."""
        scope = {**self.scope, **tensors}
        with torch.no_grad():
            for name, code in self.draws.items():
                tensors[name].copy_(eval(code, scope))


def drawing(trace: Trace) -> Draws | None:
    """Return what draws the inputs of a step anew; None where nothing is drawn.

    Raises:
        CannotLower: a draw needs the values of what the step itself computes.
    """
    if not trace.draws:
        return None
    given = {name.name for name in trace.program.inputs}
    scope: dict[str, Any] = {"torch": torch, "F": F}
    scope |= {**trace.program.scalars, **trace.program.externals}
    found: dict[str, Any] = {}
    for name, draw in trace.draws.items():
        line = draw.line
        computed = [n for n in names(line.expr) if n not in given]
        for each in computed:
            if each in by_value(line.expr):
                raise CannotLower(
                    f"the draw of {name} needs the values of {each}, which the step computes",
                    where=str(line.span or ""),
                    why=line.text,
                )
            value = trace.values[each]
            scope[each] = torch.zeros(value.shape, dtype=value.dtype)
        found[name] = compile(line.text.partition("=")[2].strip(), "<draw>", "eval")
    return Drawing(found, scope)


def by_value(expr: Expr) -> set[str]:
    """Return the names whose values an expression reads, not only their shape and type."""
    found, waiting = set[str](), [expr]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Name):
            found.add(node.name)
        elif isinstance(node, Item):
            waiting.append(node.call)
        elif node.op.name.rpartition(".")[2] not in SHAPED:
            waiting += values_read(node)
    return found
