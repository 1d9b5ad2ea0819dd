"""A trace: a forward program run once, with every value and autograd's gradient of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import torch

from handgrad.ir import Line, Name, Program
from handgrad.trace.rerun import Rerun
from handgrad.trace.values import Note


@dataclass(frozen=True)
class ShapeRow:
    """One forward line with what it makes and what it reads.

    Attributes:
        makes: name, shape and dtype of each result.
        reads: the same of each tensor that the line reads.
        parameters: how many trainable entries the line reads.
    """

    line: str
    makes: tuple[tuple[str, tuple[int, ...], str], ...]
    reads: tuple[tuple[str, tuple[int, ...], str], ...]
    parameters: int


@dataclass(frozen=True)
class Draw:
    """A random draw: an input that another run of the forward pass makes anew.

    Attributes:
        line: how it is drawn.
        before: the place of the first program line that comes after it.
    """

    line: Line
    before: int

    def __repr__(self) -> str:
        return f"Draw({self.line.text!r}, before={self.before})"


@dataclass(frozen=True, repr=False)
class Trace:
    """A forward pass, recorded.

    Attributes:
        program: its lines.
        values: every named tensor, detached.
        grads: autograd's gradient of every named tensor that has one.
        leaves: names of the tensors that gradients are wanted for.
        upstream: the gradient of the output that the backward pass starts from.
        given: whether the caller gave that upstream gradient.
        aliases: other names that the user bound to a value.
        notes: what a person should know: detached paths, branches on values.
        origins: of each input that is an argument or a parameter, its name there.
        draws: the inputs that the forward pass drew at random, in order.
        updates: for each argument or buffer that the forward pass changed, the line that says how.
        rerun: the user's own function, to be called at other sizes; None if there is none.
    """

    program: Program
    values: Mapping[str, torch.Tensor]
    grads: Mapping[str, torch.Tensor]
    leaves: tuple[str, ...]
    upstream: torch.Tensor
    given: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    draws: Mapping[str, Draw] = field(default_factory=dict)
    updates: Mapping[str, Line] = field(default_factory=dict)
    rerun: Rerun | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Return the forward lines in order."""
        return self.program.lines

    @property
    def output(self) -> str:
        """Return the name of the result."""
        return self.program.output

    def drawing(self) -> tuple[Trace, list[int]]:
        """Return the trace with what it drew as lines of its own, and where each line went."""
        lines: list[Line] = []
        places: list[int] = []
        for place in range(len(self.lines) + 1):
            lines += [draw.line for draw in self.draws.values() if draw.before == place]
            places.append(len(lines))
            lines += self.lines[place : place + 1]
        inputs = tuple(n for n in self.program.inputs if n.name not in self.draws)
        program = replace(self.program, lines=tuple(lines), inputs=inputs)
        return replace(self, program=program, draws={}), places

    @property
    def names(self) -> dict[str, Name]:
        """Return every tensor's name in the program, with shape and dtype."""
        found = {name.name: name for name in self.program.inputs}
        for line in self.lines:
            for target in line.targets:
                value = self.values[target]
                found[target] = Name(target, tuple(value.shape), value.dtype)
        return found

    def shapes(self) -> tuple[ShapeRow, ...]:
        """Return each line with the shapes of what it makes and reads."""
        from handgrad.ir import names

        return tuple(
            ShapeRow(
                line.text,
                tuple(self.described(target) for target in line.targets),
                tuple(self.described(name) for name in names(line.expr)),
                sum(self.values[n].numel() for n in names(line.expr) if n in self.leaves),
            )
            for line in self.lines
        )

    def described(self, name: str) -> tuple[str, tuple[int, ...], str]:
        """Return a tensor's name, shape and dtype."""
        value = self.values[name]
        return name, tuple(value.shape), str(value.dtype).removeprefix("torch.")

    def to_dict(self) -> dict[str, Any]:
        """Return the lines with their shapes as plain data."""
        return {
            "output": self.output,
            "leaves": list(self.leaves),
            "lines": [
                {
                    "line": line.text,
                    "source": line.source,
                    "where": str(line.span or ""),
                    "makes": {n: {"shape": list(s), "dtype": d} for n, s, d in row.makes},
                    "reads": {n: {"shape": list(s), "dtype": d} for n, s, d in row.reads},
                    "parameters": row.parameters,
                }
                for line, row in zip(self.lines, self.shapes(), strict=True)
            ],
            "notes": [{"kind": note.kind, "text": note.text} for note in self.notes],
        }

    def _repr_html_(self) -> str:
        # what displays is above what computes: it is looked up only when a notebook asks
        return str(import_module("handgrad.render.html").trace_html(self))

    def __repr__(self) -> str:
        shape = list(self.values[self.output].shape)
        leaves = ", ".join(self.leaves)
        return f"Trace of {len(self.lines)} lines, {self.output} {shape}, leaves {leaves}"
