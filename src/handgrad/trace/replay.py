"""Run a program's own text again: it must give the recorded values, and autograd its gradients."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.errors import BadInput
from handgrad.ir import Line, Program
from handgrad.spell import spell
from handgrad.trace.values import Value


def replay(
    program: Program, values: Mapping[str, Value]
) -> tuple[Program, dict[str, torch.Tensor]]:
    """Run the lines on fresh leaves.

    Returns:
        The program, its lines spelled anew where the user's text does not run by itself, and its
        tensors by name, connected to each other by autograd.

    Raises:
        BadInput: a line gives another value than before.
    """
    scope = scope_of(program)
    for name in program.inputs:
        value = values[name.name]
        scope[name.name] = value.data.clone().requires_grad_(value.leaf and value.requires)
    with warnings.catch_warnings(action="ignore"):  # the person's own run has told them
        lines = [run_line(line, scope, values) for line in program.lines]
    tensors = {name: scope[name] for name in values}
    return dataclasses.replace(program, lines=tuple(lines)), tensors


def scope_of(program: Program) -> dict[str, Any]:
    """Return what lines may read beside tensors."""
    return {"torch": torch, "F": F, **program.scalars, **program.externals}


def run_line(line: Line, scope: dict[str, Any], values: Mapping[str, Value]) -> Line:
    """Run one line in a scope, which then holds what it makes; return it as it had to be spelled.

    Raises:
        BadInput: it gives another value than the recorded one.
    """
    spelled = f"{', '.join(line.targets)} = {spell(line.expr)}"
    problem = ""
    for text in dict.fromkeys((line.text, spelled)):
        trial = scope
        try:
            with torch.set_grad_enabled(line.differentiable):
                exec(compile(text, "<forward>", "exec"), trial)
        except Exception as error:  # the user's text need not run by itself
            problem = f"{type(error).__name__}: {error}"
            continue
        off = [t for t in line.targets if not same(trial.get(t), values[t].data)]
        if not off:
            return line if text == line.text else dataclasses.replace(line, text=text)
        problem = f"{off[0]} differs from the recorded value"
    raise BadInput(
        f"{line.target} is not the same when its line runs again",
        where=str(line.span or ""),
        why=f"{line.text}\n{problem}",
        hint="make the line depend on named tensors only: seed or name every random draw",
    )


def same(again: Any, recorded: torch.Tensor) -> bool:
    """Tell whether two runs gave the same tensor, up to the last bits."""
    if not isinstance(again, torch.Tensor):
        return False
    if again.shape != recorded.shape or again.dtype != recorded.dtype:
        return False
    if again.layout is not torch.strided or recorded.layout is not torch.strided:
        return again.layout is recorded.layout and same(again.to_dense(), recorded.to_dense())
    if not again.is_floating_point():
        return bool(torch.equal(again, recorded))
    if torch.equal(again, recorded):
        return True
    eps = torch.finfo(again.dtype).eps
    return torch.allclose(again.detach(), recorded, rtol=64 * eps, atol=64 * eps, equal_nan=True)


def gradients(
    output: torch.Tensor, tensors: Mapping[str, torch.Tensor], upstream: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Return autograd's gradient of every tensor that the output depends on."""
    named = {n: t for n, t in tensors.items() if t.requires_grad}
    # the weighted sum starts the same backward pass, and `grad_outputs=` would import sympy for it
    total = (output * upstream.to(output.dtype)).sum()
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {name: grad for name, grad in zip(named, found, strict=True) if grad is not None}
