"""Verdicts on gradients given as tensors: shape and dtype first, then values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch

from handgrad.check.report import Report, Row, Verdict
from handgrad.check.scale import DOUBLE, in_double, largest, scales
from handgrad.errors import BadInput
from handgrad.trace import Trace

FACTOR = 8.0  # calibrated: on 3,750 correct float32 gradients the ratio was at most 6.0


def check_tensors(trace: Trace, gradients: Mapping[str, Any]) -> Report:
    """Judge gradients against autograd's.

    Args:
        trace: the forward pass that they belong to.
        gradients: tensors by name, `{"dlogits": tensor}`; None is *to do*.

    Raises:
        BadInput: a name is not `d` and a forward name.
    """
    sizes, truth = scales(trace), in_double(trace)
    rows = []
    for name, given in gradients.items():
        primal = primal_of(name, trace)
        rows.append(judge(name, given, trace.grads[primal], truth[primal], sizes[primal]))
    return Report(tuple(rows))


def primal_of(name: str, trace: Trace) -> str:
    """Return the forward name that a gradient's name belongs to.

    Raises:
        BadInput: there is none, or no gradient reaches it.
    """
    primal = trace.aliases.get(name[1:], name[1:])
    if name.startswith("d") and primal in trace.grads:
        return primal
    close = difflib.get_close_matches(name, ["d" + n for n in trace.grads], 1)
    exists = name.startswith("d") and primal in trace.values
    raise BadInput(
        f"{name}: {trace.output} does not depend on {primal}"
        if exists
        else f"{name} is no gradient of this forward pass",
        why="" if exists else f"known: {', '.join('d' + n for n in trace.grads)}",
        hint=f"did you mean {close[0]}?" if close else "name it `d` + the forward name",
    )


def judge(name: str, given: Any, truth: torch.Tensor, exact: torch.Tensor, scale: float) -> Row:
    """Judge one gradient.

    Args:
        name: its name.
        given: what the user has.
        truth: autograd's, in the run's own dtype.
        exact: autograd's, in float64.
        scale: the magnitude of the summands.
    """
    expected = tuple(truth.shape)
    if given is None:
        return Row(name, Verdict.TO_DO, expected_shape=expected)
    if not isinstance(given, torch.Tensor):
        given = torch.as_tensor(given)
    given = given.detach()
    measured = notebook(given, truth)
    verdict, note = verdict_of(given, truth, exact, scale)
    return Row(
        name,
        verdict,
        shape=tuple(given.shape),
        expected_shape=expected,
        exact=measured[0],
        approximate=measured[1],
        maxdiff=measured[2],
        note=note,
    )


def notebook(given: torch.Tensor, truth: torch.Tensor) -> tuple[bool, bool, float]:
    """Measure as the notebook's `cmp` does, broadcasting included."""
    try:
        difference = given - truth
        exact = bool(torch.all(given == truth))
        approximate = torch.allclose(given.to(truth.dtype), truth)
    except RuntimeError:
        return False, False, float("nan")
    return exact, approximate, float(difference.abs().max()) if difference.numel() else 0.0


def verdict_of(
    given: torch.Tensor, truth: torch.Tensor, exact: torch.Tensor, scale: float
) -> tuple[Verdict, str]:
    """Return the verdict and, where it needs a word, what was measured."""
    if given.shape != truth.shape:
        note = f"shape {list(given.shape)}, should be {list(truth.shape)}"
        if given.numel() == truth.numel():
            again, _ = verdict_of(given.reshape(truth.shape), truth, exact, scale)
            if again.good:
                return Verdict.SHAPE, note
        return Verdict.WRONG, note
    if given.dtype != truth.dtype:
        return Verdict.WRONG, f"dtype {given.dtype}, should be {truth.dtype}"
    kinds = classes(given), classes(truth)
    if not torch.equal(*kinds):
        return Verdict.WRONG, "NaN or infinite in other places than autograd's"
    if bool((kinds[0] != 0).any()):
        return Verdict.UNTESTED, "NaN or infinite values"
    if truth.numel() and not bool(truth.any()):
        return zero_verdict(given, bound(truth, exact, scale))
    if torch.equal(given, truth):
        return Verdict.CORRECT, ""
    return close_verdict(given, truth, exact, scale)


def zero_verdict(given: torch.Tensor, least: float) -> tuple[Verdict, str]:
    """Judge a gradient that autograd says is zero everywhere: nothing is tested by it."""
    if largest(given) > least:
        return Verdict.WRONG, "autograd's is zero everywhere"
    return Verdict.UNTESTED, "zero everywhere: what flows in is zero, so any formula would pass"


def close_verdict(
    given: torch.Tensor, truth: torch.Tensor, exact: torch.Tensor, scale: float
) -> tuple[Verdict, str]:
    """Judge by the size of the error, against float64 and the summands' magnitude."""
    error = largest(given.double() - exact)
    if error <= bound(truth, exact, scale):
        return Verdict.ROUNDING, ""
    relative = error / scale if scale else float("inf")
    return Verdict.WRONG, f"off by {error:.2g}, {relative:.2g} of its summands' size"


def bound(truth: torch.Tensor, exact: torch.Tensor, scale: float) -> float:
    """Return how large an error may be that is rounding alone."""
    if truth.dtype == torch.float64:
        return DOUBLE * scale
    own = largest(truth.double() - exact)
    return FACTOR * (own + torch.finfo(truth.dtype).eps * scale)


def classes(tensor: torch.Tensor) -> torch.Tensor:
    """Return 0 for finite entries, 1 for NaN, 2 and 3 for the infinities."""
    kinds = torch.zeros(tensor.shape, dtype=torch.int8)
    kinds[torch.isnan(tensor)] = 1
    kinds[tensor == float("inf")] = 2
    kinds[tensor == -float("inf")] = 3
    return kinds


def compare(given: torch.Tensor | None, x: torch.Tensor, name: str = "") -> Row:
    """Judge a gradient against `x.grad`, knowing nothing of the forward pass.

    Args:
        given: the gradient, or None.
        x: the primal; autograd's gradient is read from it.
        name: how the row is called.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of .grad of a tensor that keeps none
        truth = x.grad
    if given is None:
        return Row(name, Verdict.TO_DO, expected_shape=tuple(x.shape))
    if truth is None:
        note = "it has no .grad: call retain_grad() on it before loss.backward()"
        shape = tuple(given.shape)
        return Row(name, Verdict.UNTESTED, shape=shape, expected_shape=tuple(x.shape), note=note)
    row = judge(name, given, truth, truth.double(), largest(truth) * rounds(truth.dtype))
    if row.verdict is Verdict.WRONG and row.maxdiff <= torch.finfo(truth.dtype).eps:
        # no summands are known here: a gradient this small may be rounding and nothing else
        return Row(**{**vars(row), "verdict": Verdict.UNCONFIRMED})
    return row


def rounds(dtype: torch.dtype) -> float:
    """Return how many roundings are allowed where autograd's own error is not known."""
    return 1.0 if dtype == torch.float64 else 16.0
