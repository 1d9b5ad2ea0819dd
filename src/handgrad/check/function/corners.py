"""Where a derivative is a choice: does a gradient lie between the one-sided slopes?"""

from __future__ import annotations

from typing import Any

import torch

from handgrad.check.function.calls import run_backward, run_forward
from handgrad.check.function.differences import between
from handgrad.check.function.trial import Trial
from handgrad.check.function.truth import finite_size, flat, outputs_at

MOST = 24  # directions of a kind
LINEAR = 1e-6  # of the gradient's size: what outputs give one by one is what they give mixed


def within(trial: Trial, leaf: int, given: torch.Tensor, apart: torch.Tensor) -> bool:
    """Tell whether a gradient at a corner lies between the one-sided slopes, in every direction.

    Each output is looked at alone: several corners together bend both ways.

    Args:
        trial: the configuration.
        leaf: the input.
        given: its gradient.
        apart: where it is not autograd's.
    """
    x = trial.forward.inputs[leaf].detach().double().contiguous()
    table = one_by_one(trial, leaf, given)
    if table is None:
        return False
    generator = torch.Generator().manual_seed(trial.case.seed)
    flags = apart.flatten().double().cpu()
    along = [torch.zeros_like(flags).index_fill_(0, k, 1.0) for k in flags.nonzero()[:MOST]]
    along += [flags, torch.ones_like(flags)]
    along += [torch.randn(x.numel(), generator=generator).double() for _ in range(MOST)]

    def f(value: torch.Tensor) -> torch.Tensor:
        return outputs_at(trial.subject, trial.case, trial.forward.places, leaf, value)

    for direction in along:
        step = direction.to(x.device)
        low, high = (side[: len(table)] for side in between(f, x, step.reshape(x.shape)))
        mine = table @ step
        slack = 1e-5 * (low.abs() + high.abs() + mine.abs()) + 1e-8 * float(step.abs().max())
        if not bool(((low - slack <= mine) & (mine <= high + slack)).all()):
            return False
    return True


def one_by_one(trial: Trial, leaf: int, given: torch.Tensor) -> torch.Tensor | None:
    """Return an input's gradient for each output entry alone, a row each.

    None where backward raises, or where the rows do not make up the gradient that was given.
    """
    upstream = flat(trial.subject, trial.case, trial.forward.places, trial.ends)
    count = min(len(upstream), 2 * MOST)
    rows = []
    for place in range(count):
        hot = torch.zeros_like(upstream)
        hot[place] = 1.0
        returned = answered(trial, hot)
        if returned is None or not isinstance(returned[leaf], torch.Tensor):
            return None
        rows.append(returned[leaf].detach().double().flatten())
    if not rows:
        return None
    table = torch.stack(rows)
    if count == len(upstream):
        apart = finite_size((upstream @ table).reshape(given.shape) - given)
        if apart > LINEAR * finite_size(given):
            return None
    return table


def answered(trial: Trial, upstream: torch.Tensor) -> tuple[Any, ...] | None:
    """Return what backward gives for a flat upstream gradient, from a fresh forward."""
    case = trial.case
    try:
        forward = run_forward(trial.subject, case.inputs(), case.needs, case.seed)
    except Exception:  # the user's own forward: it ran before
        return None
    ends: list[Any] = list(trial.upstreams)
    for place in forward.places:
        output = forward.outputs[place]
        part, upstream = upstream[: output.numel()], upstream[output.numel() :]
        ends[place] = part.reshape(output.shape).to(output.dtype)
    back = run_backward(trial.subject, forward, tuple(ends), case.seed + 1)
    return None if back.error else back.returned
