"""Run a forward pass natively and eagerly, and compare loss and gradients."""

from __future__ import annotations

from typing import Any

import torch

import handgrad as hg
from handgrad.native.bind import Bound
from handgrad.native.build import build
from handgrad.native.lower.step import lower_step
from handgrad.native.write.unit import write_unit


def native_gradients(trace: hg.Trace, backward: hg.Backward | None = None, **options: Any):
    """Return the loss and the gradient of every leaf, by native code."""
    backward = backward or hg.derive(trace)
    leaves = tuple(name for name in trace.leaves if name in trace.grads)
    step = lower_step(backward, leaves)
    gradients = {f"d{name}": array for name, array in step.gradients.items()}
    unit = write_unit(step, {"loss": step.output, **gradients})
    bound = Bound(unit, build(unit.source, **options), step.inputs)
    for name in step.inputs:
        tensor = step.constants[name] if name in step.constants else trace.values[name]
        bound.bind(name, tensor.contiguous())
    bound.run()
    return bound.output("loss"), {name: bound.output(f"d{name}") for name in leaves}


def distance(got: torch.Tensor, truth: torch.Tensor, scale: float) -> float:
    """Return the largest difference, over a scale; NaN and infinity must agree."""
    if truth.numel() == 0:
        return 0.0
    got, truth = got.double(), truth.double()
    same = (got == truth) | (got.isnan() & truth.isnan())
    off = (got - truth).abs().masked_fill(same, 0)
    return float(off.max()) / scale


def trains_as_torch(forward: Any, args: dict[str, torch.Tensor], leaves: list[str], steps: int = 3):
    """Do some steps natively and by autograd and `torch.optim.SGD`; return the compiled step.

    Loss and parameters are compared at each: what a step leaves behind is what the next reads.
    """
    theirs = {n: t.clone().requires_grad_(n in leaves) for n, t in args.items()}
    ours = {n: t.clone() for n, t in args.items()}
    m = hg.compile(forward, **ours, wrt=leaves, optimizer=hg.nn.SGD(0.05))
    assert m.backend == "native", m.note
    optimiser = torch.optim.SGD([theirs[n] for n in leaves], 0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = forward(**theirs)
        loss.backward()
        optimiser.step()
        torch.testing.assert_close(m.step(), loss.detach(), rtol=1e-10, atol=1e-10)
        for n in leaves:
            torch.testing.assert_close(ours[n], theirs[n].detach(), rtol=1e-10, atol=1e-10)
    return m
