"""What a textbook case is: its arguments, its known form, and the ways people write its forward."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from textwrap import dedent, indent
from typing import Any

import torch
import torch.nn.functional as F

IGNORED = -100


@dataclass(frozen=True)
class Draw:
    """An argument: how it is drawn, and the names of its sizes.

    Attributes:
        kind: what its entries are.
        sizes: the axes, by size name or number.
        below: for labels, the name of the number of classes.
    """

    kind: str
    sizes: tuple[str | int, ...]
    below: str = ""

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape at given sizes."""
        return tuple(sizes[s] if isinstance(s, str) else s for s in self.sizes)

    def tensor(self, sizes: Mapping[str, int], generator: torch.Generator) -> torch.Tensor:
        """Draw the argument."""
        shape = self.shape(sizes)
        match self.kind:
            case "label":
                return torch.randint(0, sizes[self.below], shape, generator=generator)
            case "label or ignored":
                found = torch.randint(0, sizes[self.below], shape, generator=generator)
                found[1::2] = IGNORED
                return found
            case "causal":
                return torch.ones(shape, dtype=torch.bool).triu(1)
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
        match self.kind:
            case "positive":
                return drawn.abs() + 0.3
            case "unit":
                return drawn.sigmoid()
            case "distribution":
                return drawn.softmax(-1)
        return drawn


def real(*sizes: str | int) -> Draw:
    """Draw normal entries."""
    return Draw("real", sizes)


def positive(*sizes: str | int) -> Draw:
    """Draw entries of at least 0.3."""
    return Draw("positive", sizes)


def unit(*sizes: str | int) -> Draw:
    """Draw entries between 0 and 1."""
    return Draw("unit", sizes)


def distribution(*sizes: str | int) -> Draw:
    """Draw rows that sum to 1."""
    return Draw("distribution", sizes)


def labels(*sizes: str | int, below: str) -> Draw:
    """Draw class numbers."""
    return Draw("label", sizes, below)


def some_ignored(*sizes: str | int, below: str) -> Draw:
    """Draw class numbers, every second one ignored."""
    return Draw("label or ignored", sizes, below)


def causal(*sizes: str | int) -> Draw:
    """Mask what comes later."""
    return Draw("causal", sizes)


@dataclass(frozen=True)
class Spelling:
    """One way to write a case's forward pass.

    Attributes:
        name: what tells it from the others.
        forward: its lines.
        textbook: the form that a textbook gives, in this spelling's own names.
        operations: how many operations that form has, counted by hand.
        output: the name of the result.
        file: where its lines are found by tools that show source.
    """

    name: str
    forward: str
    textbook: str
    operations: int
    output: str
    file: str = ""


@dataclass(frozen=True)
class Case:
    """A gradient whose short form textbooks know.

    Attributes:
        name: what it is called.
        arguments: each argument and how it is drawn; one named like a size is that number.
        sizes: sizes to run at; the first are those to trace at.
        asked: the gradients whose operations are counted.
        spellings: the ways to write it.
        leaves: the arguments with a gradient; all real ones if empty.
        seed: what the arguments are drawn from.
    """

    name: str
    arguments: Mapping[str, Draw | str]
    sizes: tuple[Mapping[str, int], ...]
    asked: tuple[str, ...]
    spellings: tuple[Spelling, ...]
    leaves: tuple[str, ...] = ()
    seed: int = 0

    def draw(self, place: int = 0) -> dict[str, Any]:
        """Return the arguments at one of the sizes."""
        sizes, generator = self.sizes[place], torch.Generator().manual_seed(self.seed + place)
        return {
            name: sizes[how] if isinstance(how, str) else how.tensor(sizes, generator)
            for name, how in self.arguments.items()
        }

    def function(self, spelling: Spelling) -> Callable[..., Any]:
        """Return a spelling's forward pass as a function."""
        return compiled(tuple(self.arguments), spelling.forward, spelling.output, spelling.file)


def case(
    name: str,
    arguments: Mapping[str, Draw | str],
    sizes: tuple[Mapping[str, int], ...],
    asked: str,
    spellings: tuple[Spelling, ...],
    leaves: str = "",
) -> Case:
    """Declare a case."""
    spellings = tuple(replace(s, file=f"<{name}: {s.name}>") for s in spellings)
    return Case(name, arguments, sizes, tuple(asked.split()), spellings, tuple(leaves.split()))


def spelling(name: str, forward: str, textbook: str, operations: int) -> Spelling:
    """Declare a way to write a case; the last line of the forward assigns its result."""
    forward, textbook = dedent(forward).strip(), dedent(textbook).strip()
    output = forward.splitlines()[-1].split(" = ")[0]
    return Spelling(name, forward, textbook, operations, output)


def compiled(names: tuple[str, ...], lines: str, output: str, file: str) -> Callable[..., Any]:
    """Return lines as a function of some names, its source known to tools that show it."""
    source = f"def forward({', '.join(names)}):\n{indent(lines, '    ')}\n    return {output}\n"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(compile(source, file, "exec"), scope)
    return scope["forward"]
