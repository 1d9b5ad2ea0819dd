"""Judge what a backward returned in one configuration: structure first, then values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from handgrad.check.compare import DOUBLE, FACTOR
from handgrad.check.function.corners import within
from handgrad.check.function.differences import Estimate
from handgrad.check.function.trial import Trial
from handgrad.check.function.truth import estimate, finite_size
from handgrad.check.report import Verdict

AGREES = 1e-6  # of the gradient's size: how far finite differences are believed
MOST = 12  # entries of an input that finite differences are taken at
PART = 1e-3  # of a gradient's size at ordinary points: its summands are no smaller elsewhere
ZERO = 1e-12  # of the summands' size: smaller is zero in exact arithmetic


@dataclass(frozen=True)
class Outcome:
    """One input in one configuration.

    Attributes:
        trial: the configuration.
        leaf: the input.
        verdict: what its gradient is worth there.
        note: what was measured.
        expected: the truth, in float64, where it is known at every entry.
        scale: the size of the summands.
        zero: whether the truth is zero.
        second: whether finite differences contradict autograd, which the gradient equals.
    """

    trial: Trial
    leaf: int
    verdict: Verdict
    note: str = ""
    expected: torch.Tensor | None = None
    scale: float = 0.0
    zero: bool = False
    second: bool = False

    @property
    def given(self) -> Any:
        """Return what backward returned."""
        return self.trial.given(self.leaf)


@dataclass(frozen=True)
class Judge:
    """What is known about a Function before its configurations are judged.

    Attributes:
        loose: relative tolerance in float64: larger where the forward itself computes in less.
        natural: for each input, the size of its gradient at ordinary points; filled on the way.
        cut: inputs whose path through the forward autograd does not see; filled on the way.
    """

    loose: float
    natural: dict[int, float] = field(default_factory=dict)
    cut: set[int] = field(default_factory=set)

    def outcome(
        self, trial: Trial, leaf: int, opinion: bool = False, known: bool = False
    ) -> Outcome:
        """Judge one input in one configuration.

        Args:
            trial: the configuration.
            leaf: the input.
            opinion: whether finite differences are asked although autograd agrees.
            known: whether the gradient is known to be wrong already: nobody else is asked.
        """
        truth, given = trial.truth, trial.given(leaf)
        if truth is None or leaf in self.cut:
            return self.by_differences(trial, leaf, given)
        expected = truth.grads.get(leaf)
        floor = 1.0 if trial.case.edge else PART  # a sum that cancels exactly shows no size
        floor *= self.natural.get(leaf, 0.0) * trial.case.factor
        if self.loose > DOUBLE:  # in float32 the small rest of a difference shows no size either
            floor = max([floor, *(largest(up) for up in trial.ends if up is not None)])
        scale = max(truth.scales.get(leaf, 0.0), floor)
        if expected is None:
            value = trial.forward.inputs[leaf]
            expected = torch.zeros(value.shape, dtype=torch.float64, device=value.device)
        zero = largest(expected) <= ZERO * scale
        base = Outcome(trial, leaf, Verdict.CORRECT, "", expected, scale, zero)
        wrong = structure(base, given)
        if wrong is not None:
            return wrong
        if given is None:
            return self.second_opinion(base) if opinion else base
        judged = self.values(base, given)
        if judged.verdict is Verdict.WRONG and trial.case.dtype == torch.float64:
            return judged if known else self.arbitrated(judged, given)
        return self.second_opinion(judged) if opinion and judged.verdict.good else judged

    def values(self, base: Outcome, given: torch.Tensor) -> Outcome:
        """Judge values by the size of their error."""
        trial, leaf, expected = base.trial, base.leaf, base.expected
        assert trial.truth is not None
        assert expected is not None
        blind = trial.truth.blind.get(leaf)
        seen = torch.ones_like(expected, dtype=torch.bool) if blind is None else ~blind
        if expected.numel() and not bool(seen.any()):
            return changed(base, Verdict.UNTESTED, "autograd's gradient is not finite either")
        off = ~given.isfinite() & seen
        if bool(off.any()):
            kind = "NaN" if bool(given[off].isnan().any()) else "infinite"
            return changed(base, Verdict.WRONG, f"{kind} where the derivative is finite")
        error = largest((given.double() - expected)[seen])
        bound = self.bound(base, given.dtype)
        if error <= bound:
            return base
        if base.zero:
            return changed(base, Verdict.WRONG, f"{error:.2g} where the derivative is zero")
        part = f"{error / base.scale:.2g} of its summands' size" if base.scale else "should be 0"
        return changed(base, Verdict.WRONG, f"off by {error:.2g}, {part}")

    def bound(self, base: Outcome, dtype: torch.dtype) -> float:
        """Return how far off a gradient may be."""
        assert base.trial.truth is not None
        if dtype == torch.float64:
            return self.loose * base.scale
        own = base.trial.truth.own.get(base.leaf, 0.0)
        return FACTOR * (own + max(torch.finfo(dtype).eps, self.loose / 16) * base.scale)

    def arbitrated(self, judged: Outcome, given: torch.Tensor) -> Outcome:
        """Ask finite differences where autograd and the user's gradient disagree.

        Autograd may be cut in the forward (`.data`, NumPy), lose digits at a hard point, or pick
        another of several subgradients.
        """
        expected, finite = judged.expected, bool(given.isfinite().all())
        if not finite or expected is None:
            return judged
        apart = (given - expected).abs() > self.bound(judged, given.dtype)
        found = opinion_of(judged, apart.flatten())
        if found is None:
            return judged
        mine, theirs = given.flatten()[found.places], expected.flatten()[found.places]
        sure = found.reliable(max(judged.scale, largest(given)))
        near = close(mine, found, judged.scale) & ~close(theirs, found, judged.scale)
        if bool(sure.any()) and bool(near[sure].all()):
            if bool(sure.all()) or within(judged.trial, judged.leaf, given, apart):
                if not judged.trial.case.edge:
                    self.cut.add(judged.leaf)
                return changed(judged, Verdict.CORRECT, "", zero=False)
            return judged
        corner = not bool(sure.any()) and judged.trial.case.edge
        if corner and within(judged.trial, judged.leaf, given, apart):
            note = f"at {judged.trial.told} another subgradient than autograd's, as good"
            return changed(judged, Verdict.CORRECT, note)
        return judged

    def second_opinion(self, judged: Outcome) -> Outcome:
        """Let finite differences downgrade a gradient that equals autograd's."""
        expected = judged.expected
        if expected is None or self.loose > DOUBLE:
            return judged
        found = opinion_of(judged, torch.ones(expected.numel(), dtype=torch.bool))
        if found is None:
            return judged
        sure = found.reliable(max(judged.scale, finite_size(found.value)))
        apart = ~close(expected.flatten()[found.places], found, max(judged.scale, 1e-300))
        if not bool((sure & apart).any()):
            return judged
        note = (
            "equals autograd through the forward, not finite differences: something in the "
            "forward is detached; say intent='surrogate' and what it stands for if that is meant"
        )
        return changed(judged, Verdict.UNCONFIRMED, note, second=True)

    def by_differences(self, trial: Trial, leaf: int, given: Any) -> Outcome:
        """Judge by finite differences alone, where autograd cannot go through the forward."""
        base = Outcome(trial, leaf, Verdict.CORRECT)
        wrong = structure(base, given, values=False)
        if wrong is not None:
            return wrong
        count = trial.forward.inputs[leaf].numel()
        if not count:
            return base
        found = opinion_of(base, torch.ones(count, dtype=torch.bool))
        unsure = "finite differences decide nothing here, and autograd cannot enter the forward"
        if found is None:
            return changed(base, Verdict.UNCONFIRMED, unsure)
        scale = largest(found.value[found.error.isfinite()])
        sure = found.reliable(max(scale, natural(self.natural, leaf)))
        if not bool(sure.any()):
            return changed(base, Verdict.UNCONFIRMED, unsure)
        whole = len(found.places) == count and bool(sure.all())
        full = found.value.reshape(trial.forward.inputs[leaf].shape) if whole else None
        zero = bool((found.value[sure].abs() <= 10 * found.error[sure]).all())
        base = Outcome(trial, leaf, Verdict.CORRECT, "", full, scale, zero)
        if given is None:
            return base if zero else changed(base, Verdict.TO_DO, NONE)
        if given.shape != trial.forward.inputs[leaf].shape:
            return misshapen(base, given, trial.forward.inputs[leaf].shape)
        mine = given.detach().double().flatten()[found.places]
        eps = 0.0 if given.dtype == torch.float64 else 64 * torch.finfo(given.dtype).eps
        good = close(mine, found, scale, max(eps, 16 * self.loose)) | ~sure
        if bool(good.all()):
            return base
        worst = largest((mine - found.value)[sure].nan_to_num(float("inf")))
        doubt = largest(found.error[sure])
        note = f"off by {worst:.2g} from finite differences (their own error {doubt:.0e})"
        return changed(base, Verdict.WRONG, note)


NONE = "None, and the output depends on it"


def natural(sizes: dict[int, float], leaf: int) -> float:
    """Return the size of a gradient at ordinary points, a little of it at least."""
    return 1e-3 * sizes.get(leaf, 0.0)


def opinion_of(judged: Outcome, wanted: torch.Tensor) -> Estimate | None:
    """Return finite differences at some of the wanted entries."""
    trial = judged.trial
    places = wanted.nonzero().flatten().cpu()
    if len(places) > MOST:
        places = places[torch.linspace(0, len(places) - 1, MOST).long()]
    return estimate(
        trial.subject, trial.case, trial.forward.places, trial.ends, judged.leaf, places
    )


def close(
    values: torch.Tensor, found: Estimate, scale: float, relative: float = AGREES
) -> torch.Tensor:
    """Return for each entry whether it agrees with finite differences."""
    allowed = torch.maximum(10 * found.error, torch.full_like(found.error, relative * scale))
    return (values.detach().cpu() - found.value).abs() <= allowed


def structure(base: Outcome, given: Any, values: bool = True) -> Outcome | None:
    """Judge what comes before values: is it a tensor, of the right shape, dtype and device?"""
    x = base.trial.forward.inputs[base.leaf]
    if given is None:
        if values and not base.zero:
            return changed(base, Verdict.TO_DO, NONE)
        return None
    if not isinstance(given, torch.Tensor):
        return changed(base, Verdict.WRONG, f"a {type(given).__name__}, not a tensor")
    if given.shape != x.shape and values:
        return misshapen(base, given, x.shape)
    if given.dtype != x.dtype:
        return changed(base, Verdict.WRONG, f"dtype {given.dtype}, should be {x.dtype}")
    if given.device != x.device:
        return changed(base, Verdict.WRONG, f"on {given.device}, should be on {x.device}")
    return None


def misshapen(base: Outcome, given: torch.Tensor, shape: torch.Size) -> Outcome:
    """Judge a gradient of the wrong shape: are its values right?"""
    note = f"shape {list(given.shape)}, should be {list(shape)}"
    expected = base.expected
    right = (
        expected is not None
        and given.is_floating_point()
        and given.numel() == expected.numel()
        and largest(given.double().reshape(expected.shape) - expected)
        <= max(DOUBLE, 64 * torch.finfo(given.dtype).eps) * base.scale
    )
    return changed(base, Verdict.SHAPE if right else Verdict.WRONG, note)


def changed(base: Outcome, verdict: Verdict, note: str, **fields: Any) -> Outcome:
    """Return an outcome with another verdict."""
    return Outcome(**{**vars(base), "verdict": verdict, "note": note, **fields})


def largest(value: torch.Tensor) -> float:
    """Return the largest magnitude of an entry; infinite if one is NaN."""
    if not value.numel():
        return 0.0
    return float(value.detach().double().abs().nan_to_num(float("inf")).max())
