"""Finite differences as a second opinion: with an error estimate, and a word where they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Sum = Callable[[torch.Tensor], torch.Tensor]  # the flat outputs at a point
LEVELS = 11
STEP = 0.1  # the first step, relative to the size of the number
SHRINK = 4.0
RELIABLE = 1e-6  # of the gradient's size


@dataclass(frozen=True)
class Estimate:
    """Finite differences of a gradient at some entries.

    Attributes:
        places: flat places of the entries.
        value: the estimates.
        error: how far off each may be; infinite at a kink.
    """

    places: torch.Tensor
    value: torch.Tensor
    error: torch.Tensor

    def reliable(self, scale: float) -> torch.Tensor:
        """Return for each entry whether the estimate can be relied upon."""
        return self.error.isfinite() & (self.error <= RELIABLE * scale)


def differences(f: Sum, x: torch.Tensor, upstream: torch.Tensor, places: torch.Tensor) -> Estimate:
    """Estimate entries of the gradient of `(f(x) * upstream).sum()`, in float64.

    Args:
        f: the flat outputs at a point.
        x: the point.
        upstream: the flat upstream gradient.
        places: flat places of the entries.
    """
    found = [ridders(f, x, upstream, int(place)) for place in places]
    value = torch.tensor([v for v, _ in found], dtype=torch.float64)
    error = torch.tensor([e for _, e in found], dtype=torch.float64)
    return Estimate(places, value, error)


def ridders(f: Sum, x: torch.Tensor, upstream: torch.Tensor, place: int) -> tuple[float, float]:
    """Return one derivative and its error: central steps, extrapolated (Ridders 1982).

    The sides are kept apart: where they do not come together the point is at a kink.
    """
    middle = f(x)
    size = max(abs(float(x.flatten()[place])), 1.0)
    row: list[float] = []
    best, error = float("nan"), float("inf")
    gaps: list[tuple[float, float]] = []
    for level in range(LEVELS):
        step = STEP * size / SHRINK**level
        ahead, behind = moved(f, x, place, step), moved(f, x, place, -step)
        right = float(((ahead - middle) * upstream).sum()) / step
        left = float(((middle - behind) * upstream).sum()) / step
        sizes = torch.maximum(torch.maximum(ahead.abs(), behind.abs()), middle.abs())
        noise = 4 * 2.0**-52 * float((sizes * upstream).abs().sum()) / step
        gaps.append((abs(right - left), noise))
        fresh = [(right + left) / 2]
        for order, old in enumerate(row):
            power = SHRINK ** (2 * (order + 1))
            new = (power * fresh[order] - old) / (power - 1)
            off = max(abs(new - fresh[order]), abs(new - old)) + noise
            fresh.append(new)
            if off < error:
                best, error = new, off
        row = fresh
    return best, float("inf") if kinked(gaps) else error


def kinked(gaps: list[tuple[float, float]]) -> bool:
    """Tell whether the two one-sided slopes stay apart as the step shrinks."""
    heard = [gap for gap, noise in gaps if gap > 10 * noise]
    if len(heard) < 4:
        return False
    return heard[-1] > 0.5 * heard[-2] and heard[-2] > 0.5 * heard[-3]


def moved(f: Sum, x: torch.Tensor, place: int, step: float) -> torch.Tensor:
    """Return the outputs with one entry moved."""
    other = x.clone()
    other.view(-1)[place] += step
    return f(other)


def between(f: Sum, x: torch.Tensor, along: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each output its two one-sided slopes along a direction, the smaller first."""
    size = max(float(x.abs().max()) if x.numel() else 1.0, 1.0)
    middle = f(x)
    found = []
    for sign in (1.0, -1.0):
        steps = (2e-6 * size, 1e-6 * size)
        slopes = [sign * (f(x + sign * step * along) - middle) / step for step in steps]
        found.append(2 * slopes[1] - slopes[0])
    return torch.minimum(*found), torch.maximum(*found)
