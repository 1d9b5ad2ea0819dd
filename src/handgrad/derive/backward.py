"""The backward program: one line for each cotangent, run and compared before anyone sees it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive.sweep import Contribution
from handgrad.errors import Undecided
from handgrad.escape import escaped
from handgrad.ir import Call, Expr, Item, Line, Name, operands
from handgrad.trace import Trace


@dataclass(frozen=True)
class BackwardLine:
    """One line of the backward pass.

    Attributes:
        line: the assignment.
        primal: the forward name whose cotangent it makes; empty for a part with a name of its own.
        forward: place of the forward line that it belongs to.
        contributions: the paths that add up in it.
    """

    line: Line
    primal: str
    forward: int
    contributions: tuple[Contribution, ...] = ()

    @property
    def name(self) -> str:
        """Return the name that the line assigns."""
        return self.line.target

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of what the line makes."""
        return self.line.expr.shape


@dataclass(frozen=True, repr=False)
class Backward:
    """A backward pass, in lines.

    Attributes:
        trace: the forward pass that it belongs to.
        lines: its lines, in order.
        opaque: for each op without a rule, its name and the place of its forward line.
    """

    trace: Trace
    lines: tuple[BackwardLine, ...]
    opaque: tuple[tuple[str, int], ...] = ()
    start: str = field(default="")

    @property
    def source(self) -> str:
        """Return the lines as text, one assignment each."""
        return "\n".join(each.line.text for each in self.lines) + "\n"

    @property
    def residuals(self) -> tuple[str, ...]:
        """Return the forward names whose values the lines read, not merely their shapes."""
        own = {each.name for each in self.lines} | {self.start}
        read = (n for each in self.lines for n in names_by_value(each.line.expr))
        return tuple(dict.fromkeys(n for n in read if n not in own))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return every forward name that the lines read, for value or shape."""
        read = (n for each in self.lines for n in names_in_text(each.line.text))
        return tuple(dict.fromkeys(n for n in read if n in self.trace.values))

    def drawing(self) -> Backward:
        """Return the lines with a forward pass that draws at random in lines of its own."""
        trace, places = self.trace.drawing()
        lines = tuple(replace(each, forward=places[each.forward]) for each in self.lines)
        opaque = tuple((name, places[place]) for name, place in self.opaque)
        return replace(self, trace=trace, lines=lines, opaque=opaque)

    def run(self, values: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """Run the lines.

        Args:
            values: forward tensors by name; the trace's own by default.

        Returns:
            Every cotangent by name: `{"dh": tensor, ...}`.
        """
        program = self.trace.program
        scope: dict[str, Any] = {"torch": torch, "F": F, **program.scalars, **program.externals}
        scope |= self.trace.values if values is None else values
        scope[self.start] = self.trace.upstream
        with torch.no_grad():
            exec(compile(self.source, "<backward>", "exec"), scope)
        return {each.name: scope[each.name] for each in self.lines if each.primal}

    def to_dict(self) -> dict[str, Any]:
        """Return the lines as plain data."""
        return {
            "output": self.trace.output,
            "residuals": list(self.residuals),
            "lines": [
                {
                    "line": each.line.text,
                    "name": each.name,
                    "shape": list(each.shape),
                    "forward": self.trace.lines[each.forward].text,
                }
                for each in self.lines
            ],
            "without_rule": [name for name, _ in self.opaque],
        }

    def _repr_html_(self) -> str:
        # what displays is above what computes: it is looked up only when a notebook asks
        return str(import_module("handgrad.render.html").backward_html(self))

    def __repr__(self) -> str:
        return f"Backward of {self.trace.output}: {len(self.lines)} lines\n{escaped(self.source)}"


def refuse_nan(trace: Trace) -> None:
    """Refuse a forward pass with NaN in it, naming the line where it first appears.

    Raises:
        Undecided: a value is NaN, or the output is infinite.
    """
    read = {n for line in trace.lines for n in names_by_value(line.expr)}
    for name in trace.program.inputs:
        value = entries(trace.values[name.name])
        if name.name in read and bool(value.isnan().any()):
            raise not_a_number(value, name.name, "", "an input")
    for line in trace.lines:
        for target in line.targets:
            value = entries(trace.values[target])
            bad = bool(value.isnan().any())
            if bad or (target == trace.output and not bool(value.isfinite().all())):
                raise not_a_number(value, target, str(line.span or ""), line.text)


def entries(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor as a dense one."""
    return value if value.layout is torch.strided else value.to_dense()


def not_a_number(value: torch.Tensor, name: str, where: str, text: str) -> Undecided:
    """Say where NaN or infinity first appears."""
    bad = value.isnan() if bool(value.isnan().any()) else ~value.isfinite()
    first = bad.nonzero()[0].tolist()
    kind = "NaN" if bool(value.isnan().any()) else "infinite"
    return Undecided(
        f"{name} is {kind} at {int(bad.sum())} of {value.numel()} entries, first at {first}",
        where=where,
        why=f"{text}\nno gradient can be compared with autograd's here",
        hint="mend the forward pass first: a log or root of a number too small, a division by zero",
    )


def names_in_text(text: str) -> list[str]:
    """Return the names that a line loads, those in sizes such as `x.shape[0]` too."""
    loads = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name))
    return list(dict.fromkeys(n.id for n in loads if isinstance(n.ctx, ast.Load)))


def names_by_value(expr: Expr) -> list[str]:
    """Return the names that an expression reads for their values, not merely their shapes."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    waiting = [expr]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Name):
            found[node.name] = None
        elif id(node) not in seen:
            seen.add(id(node))
            inside = [node.call] if isinstance(node, Item) else [*values_read(node)]
            waiting += reversed(inside)
    return list(found)


def values_read(call: Call) -> Iterator[Expr]:
    """Yield the operands of a call that it reads for more than their shape."""
    for param, arg in call.args.items():
        if param not in call.op.structural:
            yield from operands(arg)
