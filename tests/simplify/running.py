"""Runs forward passes, what is derived and what is simplified, and autograd beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F

import handgrad as hg
from simplify.cases import PAIRS


def floating(arguments: Mapping[str, Any]) -> list[str]:
    """Return the names of the real tensors."""
    return [
        n for n, v in arguments.items() if isinstance(v, torch.Tensor) and v.is_floating_point()
    ]


def upstream_of(forward: Callable[..., Any], arguments: Mapping[str, Any]) -> torch.Tensor | None:
    """Draw the gradient of a forward pass's result, None for a scalar."""
    with torch.no_grad():
        result = forward(**arguments)
    if result.ndim == 0:
        return None
    generator = torch.Generator().manual_seed(99)
    return torch.randn(result.shape, generator=generator, dtype=result.dtype)


def traced(
    forward: Callable[..., Any], arguments: Mapping[str, Any], leaves: Iterable[str] = ()
) -> hg.Trace:
    """Trace a forward pass, its upstream gradient drawn."""
    wrt = list(leaves) or None
    return hg.trace(forward, wrt=wrt, upstream=upstream_of(forward, arguments), **arguments)


def autograd(
    forward: Callable[..., Any], arguments: Mapping[str, Any], leaves: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """Return autograd's gradient of every leaf that has one, as `{"dx": tensor}`."""
    names = list(leaves) or floating(arguments)
    fresh = {n: arguments[n].detach().clone().requires_grad_() for n in names}
    upstream = upstream_of(forward, arguments)
    result = forward(**{**arguments, **fresh})
    found = torch.autograd.grad(result, list(fresh.values()), upstream, allow_unused=True)
    return {"d" + n: g for n, g in zip(names, found, strict=True) if g is not None}


def forward_lines(trace: hg.Trace) -> str:
    """Return the forward lines, a name that is assigned again under its own name."""
    return "\n".join(line.text for line in trace.lines) + "\n"


def run_at(source: str, trace: hg.Trace, **more: Any) -> dict[str, Any]:
    """Run lines of a backward pass on a trace's values: another trace's than they were made on."""
    scope: dict[str, Any] = {"torch": torch, "F": F, **trace.program.scalars, **trace.values}
    scope |= more
    scope["d" + trace.output] = trace.upstream
    with torch.no_grad():
        exec(compile(source, "<lines>", "exec"), scope)
    return scope


def has_simplify() -> bool:
    """Tell whether this build has a simplifier."""
    return find_spec("handgrad.simplify") is not None


def simplified(backward: hg.Backward, **options: Any) -> Any:
    """Simplify a backward pass; where there is no simplifier, return it as it is."""
    if not has_simplify():
        return backward
    return import_module("handgrad.simplify").simplify(backward, **options)


@cache
def backward_of(file: str) -> tuple[hg.Backward, Any]:
    """Return what is derived for a case's spelling, known by its file, and what is simplified."""
    case, spelling = next((c, s) for c, s in PAIRS if s.file == file)
    backward = hg.derive(traced(case.function(spelling), case.draw(), case.leaves), strict=True)
    return backward, simplified(backward)
