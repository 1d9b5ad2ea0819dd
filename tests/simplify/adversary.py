"""Simplifies forward passes written as text, and compares with autograd on values of choice."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from textwrap import dedent
from typing import Any

import torch

import handgrad as hg
from simplify.cases.declare import compiled
from simplify.running import autograd, run_at, simplified, traced


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    """Draw a float64 tensor."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def function_of(lines: str, names: Iterable[str]) -> Any:
    """Return lines as a function of some names; what the last line assigns is its result."""
    lines = dedent(lines).strip()
    output = lines.splitlines()[-1].split(" = ")[0]
    file = f"<forward {sha256(lines.encode()).hexdigest()[:12]}>"
    return compiled(tuple(names), lines, output, file)


def shortened(lines: str, leaves: Iterable[str] = (), **given: Any) -> Any:
    """Derive and simplify lines on some values."""
    trace = traced(function_of(lines, given), given, leaves)
    return simplified(hg.derive(trace, strict=True))


def agree_at(lines: str, source: str, leaves: Iterable[str] = (), **given: Any) -> None:
    """Compare what is simplified with autograd on some values, where autograd's is finite."""
    function = function_of(lines, given)
    truth = autograd(function, given, leaves)
    found = run_at(source, traced(function, given, leaves))
    for name, gradient in truth.items():
        mine = found[name] if name in found else found[f"{name}_"]  # a builtin's name
        assert (mine.shape, mine.dtype) == (gradient.shape, gradient.dtype), f"{name}\n{source}"
        finite = gradient.isfinite()
        right = torch.isclose(mine, gradient, rtol=1e-9, atol=1e-12 * reach(gradient[finite]))
        assert bool((right | ~finite).all()), f"{name}\n{source}\n{mine}\n{gradient}"


def reach(values: torch.Tensor) -> float:
    """Return the largest magnitude, 1 at least."""
    return max(1.0, float(values.abs().max())) if values.numel() else 1.0


def holds(lines: str, *values: dict[str, Any], leaves: Iterable[str] = ()) -> str:
    """Simplify lines on the first values and compare on all; return what is simplified."""
    source = shortened(lines, leaves, **values[0]).source
    for given in values:
        agree_at(lines, source, leaves, **given)
    return source
