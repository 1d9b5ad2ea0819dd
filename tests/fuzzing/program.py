"""A random program: its text, its arguments, and how to run it in plain PyTorch."""

from __future__ import annotations

import dataclasses
import json
import linecache
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

HEAD = """\
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
"""


@dataclass(frozen=True)
class Argument:
    """One argument of a program: how it is drawn.

    Attributes:
        kind: "float", "whole" (floats with ties), "positive", "index" or "mask".
        below: what the entries of an index are smaller than.
        leaf: it requires a gradient.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    below: int = 0
    leaf: bool = False

    @property
    def text(self) -> str:
        """Return how the argument is drawn, as text."""
        size = f"({', '.join(map(str, self.shape))}{',' if len(self.shape) == 1 else ''})"
        match self.kind:
            case "index":
                return f"torch.randint(0, {self.below}, {size})"
            case "mask":
                return f"torch.rand({size}) > 0.4"
            case "whole":
                text = f"torch.randint(-2, 3, {size}).double()"
            case "positive":
                text = f"torch.rand({size}, dtype=torch.float64) + 0.2"
            case _:
                text = f"torch.randn({size}, dtype=torch.float64) * 0.8"
        return f"({text}).requires_grad_()" if self.leaf else text


@dataclass(frozen=True)
class Program:
    """A program.

    Attributes:
        source: definitions and a function `forward`, or a module `model`.
        constructs: which of the named constructs it has.
        module: it is a module.
    """

    seed: int
    source: str
    arguments: tuple[Argument, ...]
    constructs: tuple[str, ...] = ()
    module: bool = False

    @property
    def script(self) -> str:
        """Return the program as one text that can be run."""
        due = wanted(self)
        given = [dataclasses.replace(a, leaf=a.name in due) for a in self.arguments]
        drawn = "".join(f"    {a.name}={a.text},\n" for a in given)
        call = "model" if self.module else "forward"
        return (
            f"{self.source}\n\ntorch.manual_seed({self.seed})\narguments = dict(\n{drawn})\n"
            f"torch.manual_seed({self.seed})\nloss = {call}(**arguments)\n"
        )

    def to_json(self) -> str:
        """Return the program as text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Program:
        """Read what `to_json` wrote."""
        given = json.loads(text)
        arguments = tuple(
            Argument(**{**each, "shape": tuple(each["shape"])}) for each in given.pop("arguments")
        )
        return cls(**{**given, "arguments": arguments, "constructs": tuple(given["constructs"])})

    def draw(self) -> dict[str, Tensor]:
        """Return the arguments, always the same ones."""
        scope: dict[str, Any] = {"torch": torch}
        torch.manual_seed(self.seed)
        return {a.name: eval(a.text, scope).detach() for a in self.arguments}

    def load(self) -> Any:
        """Run the definitions; return the function or module, fresh."""
        file = f"<program {self.seed}>"
        lines = self.source.splitlines(keepends=True)
        linecache.cache[file] = (len(self.source), None, lines, file)
        scope: dict[str, Any] = {"__name__": f"program_{self.seed}"}
        torch.manual_seed(self.seed)
        exec(compile(self.source, file, "exec", dont_inherit=True), scope)
        return scope["model" if self.module else "forward"]


def scalar_of(result: Any) -> Tensor:
    """Return the loss among what a program gave back."""
    if isinstance(result, dict):
        return result["loss"]
    parts = list(result) if isinstance(result, list | tuple) else [result]
    return next(p for p in parts if isinstance(p, Tensor) and p.ndim == 0 and p.requires_grad)


@dataclass(frozen=True)
class Plain:
    """A run in plain PyTorch: the loss, each leaf and its gradient."""

    loss: Tensor
    leaves: Mapping[str, Tensor]
    grads: Mapping[str, Tensor | None]


def ready(
    program: Program, arguments: Mapping[str, Tensor], plain: bool = False
) -> dict[str, Tensor]:
    """Return fresh copies of the arguments, requiring a gradient as the program's text says.

    In plain PyTorch all whose gradients are due must require one.
    """
    asked = wanted(program) if plain else {a.name for a in program.arguments if a.leaf}
    return {n: t.detach().clone().requires_grad_(n in asked) for n, t in arguments.items()}


def wanted(program: Program) -> set[str]:
    """Return the arguments whose gradients are due: those that require one, or else all floats."""
    asked = {a.name for a in program.arguments if a.leaf}
    every = {a.name for a in program.arguments if a.kind not in ("index", "mask")}
    return asked or (set() if program.module else every)


def run_plain(program: Program, arguments: Mapping[str, Tensor]) -> Plain:
    """Run a program in autograd alone."""
    target = program.load()
    given = {n: t.detach().clone() for n, t in arguments.items()}
    leaves = {n: given[n].requires_grad_() for n in given if n in wanted(program)}
    torch.manual_seed(program.seed)
    loss = scalar_of(target(**given))
    if program.module:
        leaves |= dict(target.named_parameters())
    else:
        leaves |= module_parameters(target)
    leaves = {n: t for n, t in leaves.items() if t.requires_grad}
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return Plain(loss.detach(), leaves, dict(zip(leaves, grads, strict=True)))


def module_parameters(function: Any) -> dict[str, Tensor]:
    """Return the parameters of the modules among a function's globals."""
    found = {}
    for name, value in function.__globals__.items():
        if isinstance(value, torch.nn.Module):
            found |= {f"{name}.{inner}": p for inner, p in value.named_parameters()}
    return found
