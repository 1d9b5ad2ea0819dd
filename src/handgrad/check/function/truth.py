"""What a Function's gradients should be: autograd through its forward, or finite differences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch

from handgrad.check.function.calls import Subject, Tensors, as_tuple, reseed
from handgrad.check.function.cases import Case
from handgrad.check.function.ctx import Ctx
from handgrad.check.function.differences import Estimate, differences

Gradients = tuple[torch.Tensor | None, ...]  # one for each input


@dataclass(frozen=True)
class Truth:
    """The gradients of one case.

    Attributes:
        grads: for each input that one is asked of, its gradient in float64; None where no path is.
        scales: for each, the size of its summands.
        own: for each, autograd's own error in the case's dtype.
        blind: for each, where autograd itself is not finite in the case's dtype.
    """

    grads: dict[int, torch.Tensor | None]
    scales: dict[int, float]
    own: dict[int, float]
    blind: dict[int, torch.Tensor]


def vjp(
    subject: Subject,
    case: Case,
    places: tuple[int, ...],
    upstreams: Tensors,
    dtype: torch.dtype | None,
) -> dict[int, torch.Tensor | None] | None:
    """Return autograd's gradients through the forward's own lines, None where it cannot.

    Args:
        subject: the Function.
        case: the point.
        places: the differentiable outputs.
        upstreams: their upstream gradients.
        dtype: what to compute in.
    """
    wanted = [place for place, need in enumerate(case.needs) if need]
    values = list(case.change("", layout=repeated(case)).inputs(dtype))
    leaves = {place: values[place].detach().requires_grad_() for place in wanted}
    given = [leaves[k].clone() if k in leaves else value for k, value in enumerate(values)]
    reseed(case.seed)
    try:
        with torch.enable_grad():
            made = subject.surrogate or (lambda *xs: subject.forward(Ctx(case.needs), *xs))
            outputs = as_tuple(made(*given))
            ends = [
                (outputs[k] * up.to(outputs[k].dtype)).sum()  # torch.autograd.grad with upstream
                for k, up in zip(places, upstreams, strict=True)  # gradients would import sympy
                if up is not None and outputs[k].requires_grad
            ]
            if not ends:
                return None  # cut off, as by NumPy, or constant: finite differences tell
            found = torch.autograd.grad(
                reduce(torch.add, ends), list(leaves.values()), allow_unused=True
            )
    except Exception:  # the user's own code under autograd may raise anything
        return None
    return dict(zip(wanted, found, strict=True))


def repeated(case: Case) -> str:
    """Return the layout that matters to the values: only expanding changes them."""
    return case.layout if case.layout == "expanded" else "plain"


def autograd(
    subject: Subject, case: Case, places: tuple[int, ...], upstreams: Tensors
) -> Truth | None:
    """Return autograd's gradients in float64, with the size of their summands."""
    wide = tuple(up.double() if up is not None else None for up in upstreams)
    exact = vjp(subject, case, places, wide, torch.float64)
    if exact is None:
        return None
    generator = torch.Generator().manual_seed(case.seed)
    signed = tuple(up * signs(up, generator) if up is not None else None for up in wide)
    again = vjp(subject, case, places, signed, torch.float64)
    rough = vjp(subject, case, places, wide, torch.float32)
    narrow = case.dtype if case.dtype is not None else given_dtype(case)
    low = vjp(subject, case, places, upstreams, case.dtype) if narrow != torch.float64 else None
    scales, own, blind = {}, {}, {}
    for place, grad in exact.items():
        if grad is None:
            continue
        eps = torch.finfo(torch.float32).eps
        sizes = [finite_size(grad), finite_size((again or {}).get(place))]
        sizes.append(error_of((rough or {}).get(place), grad) / eps)
        scales[place] = max(sizes)
        mine = (low or {}).get(place)
        own[place] = error_of(mine, grad)
        blind[place] = ~grad.isfinite() if mine is None else ~(grad.isfinite() & mine.isfinite())
    return Truth(exact, scales, own, blind)


def given_dtype(case: Case) -> torch.dtype:
    """Return the lowest dtype of the inputs as given."""
    floats = [v.dtype for v in case.values if isinstance(v, torch.Tensor) and v.is_floating_point()]
    return min(floats, key=lambda dtype: -torch.finfo(dtype).eps, default=torch.float64)


def signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return random signs: with them summands that cancelled do not."""
    drawn = torch.randint(0, 2, like.shape, generator=generator).to(like.device)
    return (2 * drawn - 1).to(like.dtype)


def finite_size(value: torch.Tensor | None) -> float:
    """Return the largest finite magnitude."""
    if value is None or not value.numel():
        return 0.0
    return float(value.detach().double().abs().nan_to_num(0.0, 0.0, 0.0).max())


def error_of(value: torch.Tensor | None, exact: torch.Tensor) -> float:
    """Return the largest finite difference."""
    if value is None or value.shape != exact.shape:
        return 0.0
    return finite_size(value.double() - exact)


def outputs_at(
    subject: Subject, case: Case, places: tuple[int, ...], leaf: int, value: torch.Tensor
) -> torch.Tensor:
    """Return the differentiable outputs, flat, with one input replaced."""
    inputs: list[Any] = list(case.change("", layout=repeated(case)).inputs(torch.float64))
    inputs[leaf] = value.clone()
    reseed(case.seed)
    with torch.no_grad():
        outputs = as_tuple(subject.forward(Ctx(case.needs), *inputs))
    return torch.cat([outputs[k].detach().double().flatten() for k in places])


def flat(subject: Subject, case: Case, places: tuple[int, ...], upstreams: Tensors) -> torch.Tensor:
    """Return the upstream gradients in one row, zeros where there is none."""
    inputs = case.inputs(torch.float64)
    reseed(case.seed)
    with torch.no_grad():
        outputs = as_tuple(subject.forward(Ctx(case.needs), *inputs))
    return torch.cat(
        [
            (torch.zeros_like(outputs[k]) if up is None else up).double().flatten()
            for k, up in zip(places, upstreams, strict=True)
        ]
    )


def estimate(
    subject: Subject,
    case: Case,
    places: tuple[int, ...],
    upstreams: Tensors,
    leaf: int,
    entries: torch.Tensor,
) -> Estimate | None:
    """Return finite differences of one input's gradient, None where the forward raises."""
    x = case.change("", layout=repeated(case)).inputs(torch.float64)[leaf].contiguous()
    try:
        return differences(
            lambda value: outputs_at(subject, case, places, leaf, value),
            x,
            flat(subject, case, places, upstreams),
            entries,
        )
    except Exception:  # the user's own forward, a step away
        return None
