"""One configuration, run: forward, upstream gradients, the user's backward, the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from handgrad.check.function.calls import (
    Backward,
    Forward,
    Subject,
    Tensors,
    run_backward,
    run_forward,
)
from handgrad.check.function.cases import Case, laid_out
from handgrad.check.function.truth import Truth, autograd, vjp


@dataclass(frozen=True)
class Trial:
    """What happened in one configuration.

    Attributes:
        subject: the Function.
        case: the configuration.
        forward: its forward.
        upstreams: what backward was given, for every output.
        ends: of those, the ones of differentiable outputs; None where nothing flows.
        backward: what came back.
        truth: autograd's gradients, None where there are none.
    """

    subject: Subject
    case: Case
    forward: Forward
    upstreams: tuple[Any, ...]
    ends: Tensors
    backward: Backward
    truth: Truth | None

    @property
    def told(self) -> str:
        """Return the name of the case, inputs by their names."""
        return told(self.case, self.subject)

    def given(self, leaf: int) -> Any:
        """Return what backward returned for an input."""
        return self.backward.returned[leaf]

    def again(self, change: Callable[[torch.Tensor], torch.Tensor], leaf: int) -> Any:
        """Return autograd's gradient of an input for changed upstream gradients."""
        ends = tuple(None if up is None else change(up.double()) for up in self.ends)
        found = vjp(self.subject, self.case, self.forward.places, ends, torch.float64)
        return None if found is None else found.get(leaf)


@dataclass(frozen=True)
class Skipped:
    """A configuration that the forward does not run at."""

    told: str
    why: str


def told(case: Case, subject: Subject) -> str:
    """Return the name of a case, inputs by their names."""
    return case.name.format(*subject.names)


def attempt(subject: Subject, case: Case) -> Trial | Skipped:
    """Run one configuration."""
    try:
        forward = run_forward(subject, case.inputs(), case.needs, case.seed)
    except Exception as error:  # the user's own forward, at a size or dtype it may not take
        return Skipped(told(case, subject), type(error).__name__)
    if case.edge and not forward.finite:
        return Skipped(told(case, subject), "")
    upstreams = drawn(forward, case)
    silent = forward.places[case.silent] if case.silent is not None else None
    ends = tuple(None if place == silent else upstreams[place] for place in forward.places)
    truth = autograd(subject, case, forward.places, ends)
    backward = run_backward(subject, forward, fresh(upstreams), case.seed + 1)
    return Trial(subject, case, forward, upstreams, ends, backward, truth)


def fresh(upstreams: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return copies that lie in memory as the upstream gradients do."""
    return tuple(
        up if not isinstance(up, torch.Tensor) or 0 in up.stride() else up.clone()
        for up in upstreams
    )


def drawn(forward: Forward, case: Case) -> tuple[Any, ...]:
    """Draw an upstream gradient for every output: of both signs, never the same twice, never 0."""
    generator = torch.Generator().manual_seed(case.seed)
    silent = forward.places[case.silent] if case.silent is not None else None
    return tuple(
        one(output, place in forward.places and place != silent, forward, case, generator)
        for place, output in enumerate(forward.outputs)
    )


def one(
    output: Any, flows: bool, forward: Forward, case: Case, generator: torch.Generator
) -> torch.Tensor | None:
    """Return the upstream gradient of one output; zeros or None where none flows, as torch does."""
    if not isinstance(output, torch.Tensor):
        return None
    if not flows:
        return torch.zeros_like(output) if forward.ctx.materialize_grads else None
    size = 0.5 + torch.rand(output.shape, generator=generator)
    sign = 2 * torch.randint(0, 2, output.shape, generator=generator) - 1
    made = (size * sign).double() * case.factor
    return laid_out(made.to(output.device, output.dtype), case.upstream)
