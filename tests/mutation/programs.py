"""Forward passes with a right backward pass of each, line by line, in float64."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.models import character_mlp
from handgrad.trace import Trace
from handgrad.trace.files import trace_file
from handgrad.train.data import Vocabulary, build_dataset, load_words

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@dataclass(frozen=True, eq=False)
class Program:
    """A forward pass and its backward pass.

    Attributes:
        name: of the example.
        trace: the forward pass.
        lines: the right backward pass, one assignment each.
    """

    name: str
    trace: Trace
    lines: tuple[str, ...]

    @property
    def source(self) -> str:
        """Return the backward pass as text."""
        return "\n".join(self.lines) + "\n"

    @property
    def made(self) -> dict[str, tuple[str, ...]]:
        """Return for each forward name the names that the lines that read it make."""
        found: dict[str, tuple[str, ...]] = {}
        for line in self.trace.lines:
            for node in ast.walk(ast.parse(line.text)):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    found[node.id] = (*found.get(node.id, ()), *line.targets)
        return found


@cache
def programs() -> tuple[Program, ...]:
    """Return the examples and the seed."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        traced = {file.stem: trace_file(str(file)) for file in sorted(EXAMPLES.glob("*.py"))}
    finally:
        torch.set_default_dtype(before)
    return tuple(program(name, t) for name, t in [("seed", seed(torch.float64)), *traced.items()])


def program(name: str, trace: Trace) -> Program:
    """Return a forward pass with the backward pass that handgrad derives."""
    return Program(name, trace, tuple(hg.derive(trace).source.splitlines()))


def seed(dtype: torch.dtype, batch: int = 11, hidden: int = 13) -> Trace:
    """Return the seed's forward pass on a few of the built-in names."""
    words = load_words()[:200]
    vocabulary = Vocabulary.from_words(words)
    X, Y = build_dataset(words, vocabulary)
    generator = torch.Generator().manual_seed(character_mlp.SEED)
    made = character_mlp.parameters(len(vocabulary), generator, n_hidden=hidden, dtype=dtype)
    rows = torch.randint(0, len(X), (batch,), generator=generator)
    given = {**made, "Xb": X[rows], "Yb": Y[rows], "n": batch}
    return hg.trace(character_mlp.small_steps, **given)


def scope_of(trace: Trace, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a backward pass may read: forward values, sizes, the upstream gradient."""
    scope: dict[str, Any] = {"torch": torch, "F": F, **trace.program.scalars}
    scope |= {n: v.clone() for n, v in (trace.values if values is None else values).items()}
    scope["d" + trace.output] = trace.upstream.clone()
    return scope
