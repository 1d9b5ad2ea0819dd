"""Is a recorded forward pass that of the file? Its own plain lines, run by the judge, bear witness.

The recording comes from the process that ran the file, and the file may have reached into it. Where
the file's top level is plain torch, the judge runs that text itself, on the recorded leaves: loss
and gradients must be the recording's. A forward pass in functions or modules has no such witness.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from handgrad.check.plain import BUILTINS, MODULES, Plain, imported, stores
from handgrad.trace import Trace
from handgrad.trace.files import bound_names
from handgrad.trace.replay import same

Scope = dict[str, Any]
CLOSE = 1e-6  # of a gradient's largest entry: the same lines, in the same dtype


def agrees(head: ast.Module, trace: Trace, environment: Mapping[str, Any]) -> bool:
    """Tell whether a file's own text gives a recording's loss and gradients, as far as it can tell.

    Args:
        head: the file's statements up to the one that makes the loss.
        trace: the recording.
        environment: the file's other names.
    """
    start = given(trace, environment)
    often = Counter(name for node in head.body for name in bound_names(node))
    try:
        with torch.enable_grad():
            scope = run(head.body, start)
    except Exception:  # the text alone does not run: it is no witness
        return True
    loss = scope.get(trace.output)
    fixed = {name.name for name in trace.program.inputs} - {*trace.leaves}
    if any(live(scope.get(name)) for name in fixed if often[name] == 1):
        return False  # what depends on a leaf is no input
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad or loss.numel() != 1:
        return True
    if not same(loss.detach(), trace.values[trace.output]):
        return False
    named = {n: scope[n] for n in trace.values if often[n] == 1 and live(scope.get(n))}
    total = (loss * trace.upstream.to(loss.dtype)).sum()
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    none = {name: torch.zeros_like(value) for name, value in named.items()}
    return all(
        near(none[name] if grad is None else grad, trace.grads.get(name, none[name]))
        for name, grad in zip(named, found, strict=True)
    )


def given(trace: Trace, environment: Mapping[str, Any]) -> Scope:
    """Return what setting up gives: the recording's inputs, and the file's other names."""
    found = {**environment, **trace.program.scalars, "__builtins__": dict(BUILTINS)}
    for name in (each.name for each in trace.program.inputs):
        found[name] = trace.values[name].clone().requires_grad_(name in trace.leaves)
    return found


def run(body: list[ast.stmt], start: Scope) -> Scope:
    """Run the plain statements that read what depends on leaves; the others set up.

    Returns:
        The names whose values are known at the end.
    """
    often = Counter(name for node in body for name in bound_names(node))
    by_module = {id(module): home for home, module in MODULES.items()}
    modules = {n: by_module[id(v)] for n, v in start.items() if id(v) in by_module}
    scope: Scope = {n: v for n, v in start.items() if n not in often}
    for node in body:
        bound = bound_names(node)
        reads = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and not stores(n)}
        moving = any(live(scope.get(name)) for name in reads)
        plain = Plain(scope.keys() - modules.keys() - {"__builtins__"}, modules).statement(node)
        if imported(node):
            scope |= {n: MODULES[home] for n, home in imported(node).items()}
        elif moving and plain:
            exec(compile(ast.Module([node], []), "<forward>", "exec"), scope)
        else:
            for name in bound:
                once = often[name] == 1 and name in start and not moving
                scope[name] = start[name] if once else None
    return scope


def live(value: Any) -> bool:
    """Tell whether a value depends on a leaf, or is a list of such."""
    if isinstance(value, list | tuple):
        return any(map(live, value))
    return isinstance(value, torch.Tensor) and value.requires_grad


def near(grad: torch.Tensor, recorded: torch.Tensor) -> bool:
    """Tell whether a gradient is the recorded one, but for rounding."""
    if grad.shape != recorded.shape or not grad.numel():
        return grad.shape == recorded.shape
    off, size = (grad - recorded).abs().nan_to_num(), recorded.abs().nan_to_num()
    return float(off.max()) <= CLOSE * (float(size.max()) + 1)
