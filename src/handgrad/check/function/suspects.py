"""Why a gradient of a Function is wrong: said only where undoing the mistake gives the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from handgrad.check.function.calls import as_tuple
from handgrad.check.function.judge import Outcome, largest
from handgrad.check.report import Diagnosis

PROVED = 1e-9  # of the summands' size
ENOUGH = 6  # configurations that a transformation is proved in


@dataclass(frozen=True)
class Evidence:
    """Configurations in which one gradient is wrong, and both values are known.

    Attributes:
        name: `dx`.
        failed: those configurations, in float64.
    """

    name: str
    failed: tuple[Outcome, ...]

    def proved(self, transform: Callable[[Outcome], torch.Tensor | None]) -> bool:
        """Tell whether a transformation gives the truth in all of them."""
        return all(equal(transform(each), each) for each in self.failed)

    @property
    def count(self) -> str:
        """Say in how many configurations it was proved."""
        many = len(self.failed)
        return f"in {many} configurations" if many > 1 else "in this configuration"


def explain(failed: Sequence[Outcome], outcomes: Sequence[Outcome]) -> Diagnosis | None:
    """Return the first suspect that is proved."""
    usable = [
        o
        for o in failed
        if o.trial.case.dtype == torch.float64
        and not o.trial.case.edge
        and isinstance(o.given, torch.Tensor)
        and o.expected is not None
        and o.expected.numel() > 1
        and bool(o.given.isfinite().all())
    ]
    first = failed[0]
    name = "d" + first.trial.subject.names[first.leaf]
    if isinstance(first.given, torch.Tensor) and first.note.startswith("dtype"):
        return wrong_dtype(name, first)
    if not usable:
        return None
    evidence = Evidence(name, tuple(usable[:ENOUGH]))
    found = (suspect(evidence) for suspect in SUSPECTS)
    return next((diagnosis for diagnosis in found if diagnosis is not None), None)


def equal(value: Any, outcome: Outcome, truth: torch.Tensor | None = None) -> bool:
    """Tell whether a transformed value is the truth, or another tensor in its place."""
    expected = outcome.expected if truth is None else truth
    if not isinstance(value, torch.Tensor) or expected is None or value.shape != expected.shape:
        return False
    return largest(value.double() - expected) <= PROVED * outcome.scale


def wrong_dtype(name: str, outcome: Outcome) -> Diagnosis:
    """Say that a gradient has another dtype than its input."""
    dtype = outcome.trial.forward.inputs[outcome.leaf].dtype
    return Diagnosis(
        "dtype",
        f"{name} is {outcome.given.dtype}, its input {dtype}",
        "shape and dtype are compared before values",
        f"{name} = {name}.to({name[1:]}.dtype)",
    )


def wanted(outcome: Outcome) -> torch.Tensor:
    """Return the truth of an outcome that is evidence: there it is known."""
    assert outcome.expected is not None
    return outcome.expected


def unreduced(evidence: Evidence) -> Diagnosis | None:
    """Find a sum over broadcast axes that is missing."""
    first = evidence.failed[0]
    if first.given.shape == wanted(first).shape or not evidence.proved(summed):
        return None
    x = evidence.name[1:]
    extra = first.given.dim() - wanted(first).dim()
    axes = [*range(extra)]
    axes += [
        k + extra
        for k, size in enumerate(wanted(first).shape)
        if size == 1 and first.given.shape[k + extra] != 1
    ]
    text = f"{x} is broadcast, so its gradient is summed over dim {told(axes)}; that sum is missing"
    keep = "" if axes == [*range(extra)] else ", keepdim=True"
    return Diagnosis(
        "broadcast",
        text,
        f"summed to the shape of {x} it equals the truth {evidence.count}",
        f"{evidence.name} = {evidence.name}.sum(dim={told(axes)}{keep})",
    )


def told(axes: list[int]) -> str:
    """Return axes as they are written."""
    return str(axes[0]) if len(axes) == 1 else str(tuple(axes))


def summed(outcome: Outcome) -> torch.Tensor | None:
    """Return a gradient summed to the shape of its input."""
    shape = outcome.expected.shape if outcome.expected is not None else None
    try:
        return None if shape is None else outcome.given.sum_to_size(shape)
    except RuntimeError:
        return None


def reshaped(evidence: Evidence) -> Diagnosis | None:
    """Find right values in another shape."""

    def transform(outcome: Outcome) -> torch.Tensor | None:
        expected = outcome.expected
        if expected is None or outcome.given.numel() != expected.numel():
            return None
        return outcome.given.reshape(expected.shape)

    if evidence.failed[0].given.shape == wanted(evidence.failed[0]).shape:
        return None
    if not evidence.proved(transform):
        return None
    x = evidence.name[1:]
    return Diagnosis(
        "keepdim",
        f"the values of {evidence.name} are right, its shape is not that of {x}",
        f"reshaped it equals the truth {evidence.count}",
        f"{evidence.name} = {evidence.name}.reshape({x}.shape), or keepdim=True in the sum",
    )


def transposed(evidence: Evidence) -> Diagnosis | None:
    """Find the right gradient transposed."""
    if not evidence.proved(lambda o: o.given.mT if o.given.dim() >= 2 else None):
        return None
    return Diagnosis(
        "transpose",
        f"{evidence.name} is the right gradient transposed",
        f"transposed it equals the truth {evidence.count}",
        f"{evidence.name} = {evidence.name}.mT",
    )


def negated(evidence: Evidence) -> Diagnosis | None:
    """Find the wrong sign."""
    if not evidence.proved(lambda o: -o.given):
        return None
    return Diagnosis(
        "sign",
        f"{evidence.name} has the wrong sign",
        f"its negative equals the truth {evidence.count}",
        f"{evidence.name} = -{evidence.name}",
    )


def unused(evidence: Evidence) -> Diagnosis | None:
    """Find an upstream gradient that is left out: right only for a sum."""

    def alone(outcome: Outcome) -> torch.Tensor | None:
        ones = outcome.trial.again(torch.ones_like, outcome.leaf)
        if ones is None or largest(ones) <= PROVED * outcome.scale:
            return None
        return outcome.expected if equal(outcome.given, outcome, ones) else None

    if any(o.given.shape != wanted(o).shape for o in evidence.failed):
        return None
    if not evidence.proved(alone):
        return None
    return Diagnosis(
        "upstream",
        f"{evidence.name} does not use the upstream gradient",
        f"it equals the truth for an upstream gradient of ones {evidence.count}",
        f"{evidence.name} = upstream * ({evidence.name})",
    )


def factor(evidence: Evidence) -> Diagnosis | None:
    """Find a factor: the same everywhere, or a size of an input."""
    ratios = [ratio(outcome) for outcome in evidence.failed]
    if any(found is None for found in ratios):
        return None
    known = [found for found in ratios if found is not None]
    for text, values in named(evidence):
        if all(abs(found / value - 1) < 1e-7 for found, value in zip(known, values, strict=True)):
            return told_factor(evidence, text, known)
    return None


def told_factor(evidence: Evidence, text: str, known: list[float]) -> Diagnosis:
    """Say which factor is too much."""
    values = ", ".join(f"{value:.6g}" for value in known[:3])
    return Diagnosis(
        "factor",
        f"{evidence.name} is {text} times the truth",
        f"the ratio is the same for every entry: {values} in the first configurations",
        f"{evidence.name} = {evidence.name} / ({text})",
    )


def ratio(outcome: Outcome) -> float | None:
    """Return the number that a gradient is too large by, if there is one."""
    given, expected = outcome.given.double(), outcome.expected
    if expected is None or given.shape != expected.shape or not bool(expected.any()):
        return None
    found = float((given * expected).sum() / (expected * expected).sum())
    if not found:
        return None
    return found if largest(given - found * expected) <= PROVED * outcome.scale else None


def named(evidence: Evidence) -> Iterator[tuple[str, list[float]]]:
    """Yield factors by name, with their value in each configuration: sizes, then plain numbers."""
    trials = [outcome.trial for outcome in evidence.failed]
    first = trials[0]
    if len({tuple(map(shape_of, trial.case.values)) for trial in trials}) > 1:
        for place, value in enumerate(first.case.values):
            if not isinstance(value, torch.Tensor):
                continue
            name = first.subject.names[place]
            for axis in range(value.dim()):
                sizes = [float(trial.case.values[place].shape[axis]) for trial in trials]
                yield from variants(f"{name}.shape[{axis}]", sizes)
            yield from variants(
                f"{name}.numel()", [float(trial.case.values[place].numel()) for trial in trials]
            )
    for name, value in zip(first.subject.names, first.case.values, strict=True):
        if isinstance(value, int | float) and value not in (0, 1):
            for text, number in arguments(name, value):
                yield text, [number] * len(trials)
    known = [ratio(outcome) or 0.0 for outcome in evidence.failed]
    if len({f"{value:.7g}" for value in known}) == 1:
        yield f"{known[0]:.7g}", [known[0]] * len(known)


def arguments(name: str, value: float) -> Iterator[tuple[str, float]]:
    """Yield factors made of an argument that is a number: `1/(1 - p)`."""
    yield name, value
    yield f"1/{name}", 1 / value
    yield f"(1 - {name})", 1 - value
    yield f"1/(1 - {name})", 1 / (1 - value)


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, and nothing for what is none."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


def variants(name: str, sizes: list[float]) -> Iterator[tuple[str, list[float]]]:
    """Yield a size, its inverse, and the ratios of an unbiased estimate."""
    yield name, sizes
    if all(sizes):
        yield f"1/{name}", [1 / size for size in sizes]
    if all(size > 1 for size in sizes):
        yield f"{name}/({name} - 1)", [size / (size - 1) for size in sizes]
        yield f"({name} - 1)/{name}", [(size - 1) / size for size in sizes]
        yield f"({name} - 1)", [size - 1 for size in sizes]
        yield f"1/({name} - 1)", [1 / (size - 1) for size in sizes]


def squared(evidence: Evidence) -> Diagnosis | None:
    """Find an upstream gradient that is multiplied in twice."""

    def twice(outcome: Outcome) -> torch.Tensor | None:
        other = outcome.trial.again(torch.square, outcome.leaf)
        fits = other is not None and equal(outcome.given, outcome, other)
        return outcome.expected if fits else None

    if any(o.given.shape != wanted(o).shape for o in evidence.failed):
        return None
    if not evidence.proved(twice):
        return None
    return Diagnosis(
        "upstream",
        f"{evidence.name} is multiplied by the upstream gradient twice",
        f"it equals the truth for the square of the upstream gradient {evidence.count}",
    )


def swapped(evidence: Evidence) -> Diagnosis | None:
    """Find the gradient of another input in this one's place."""
    first = evidence.failed[0]
    for other, need in enumerate(first.trial.case.needs):
        if not need or other == first.leaf:
            continue

        def transform(outcome: Outcome, other: int = other) -> torch.Tensor | None:
            returned = outcome.trial.backward.returned[other]
            return returned if isinstance(returned, torch.Tensor) else None

        if evidence.proved(transform):
            names = first.trial.subject.names
            return Diagnosis(
                "order",
                f"{evidence.name} is returned in the place of d{names[other]}",
                f"what stands in the place of d{names[other]} equals the truth {evidence.count}",
                "return the gradients in the order of the forward's inputs",
            )
    return None


def saved(evidence: Evidence) -> Diagnosis | None:
    """Find a saved tensor in whose place another input or output was meant."""
    first = evidence.failed[0].trial
    kept = first.forward.ctx.to_save
    names = [*first.subject.names, *outputs_named(len(first.forward.outputs))]
    for place, tensor in enumerate(kept):
        for other, name in enumerate(names):
            candidate = [*first.forward.inputs, *first.forward.outputs][other]
            if not isinstance(candidate, torch.Tensor) or candidate is tensor:
                continue

            def transform(o: Outcome, place: int = place, other: int = other) -> Any:
                return substituted(o, place, other)

            if getattr(tensor, "shape", None) == candidate.shape and evidence.proved(transform):
                return Diagnosis(
                    "saved",
                    f"saved tensor {place} of the backward should be {name}",
                    f"with {name} in its place {evidence.name} equals the truth {evidence.count}",
                    f"ctx.save_for_backward(...) with {name} as argument {place}",
                )
    return None


def outputs_named(count: int) -> list[str]:
    """Return words for the outputs."""
    return ["the output"] if count == 1 else [f"output {place}" for place in range(count)]


def substituted(outcome: Outcome, place: int, other: int) -> torch.Tensor | None:
    """Return what backward gives with another tensor in a saved one's place."""
    forward = outcome.trial.forward
    ctx, kept = forward.ctx, forward.ctx.to_save
    candidate = [*forward.inputs, *forward.outputs][other]
    try:
        ctx.to_save = (*kept[:place], candidate.detach().clone(), *kept[place + 1 :])
        with torch.no_grad():
            copies = tuple(None if up is None else up.clone() for up in outcome.trial.upstreams)
            return as_tuple(outcome.trial.subject.backward(ctx, *copies))[outcome.leaf]
    except Exception:  # the user's own code, on another tensor than it expects
        return None
    finally:
        ctx.to_save = kept


def straight_through(evidence: Evidence) -> Diagnosis | None:
    """Find the gradient of something else: the upstream itself where the forward is flat."""

    def passed(outcome: Outcome) -> torch.Tensor | None:
        ends = outcome.trial.ends
        same = len(ends) == 1 and ends[0] is not None and torch.equal(outcome.given, ends[0])
        return outcome.expected if same and outcome.zero else None

    if not evidence.proved(passed):
        return None
    x = evidence.name[1:]
    return Diagnosis(
        "surrogate",
        f"{evidence.name} is the upstream gradient, and the forward is flat: its derivative is 0",
        f"it equals the upstream gradient {evidence.count}",
        f"if a straight-through estimator is meant: intent='surrogate', surrogate=lambda {x}: {x}",
    )


SUSPECTS = (
    straight_through,
    reshaped,
    unreduced,
    transposed,
    negated,
    unused,
    factor,
    squared,
    swapped,
    saved,
)
