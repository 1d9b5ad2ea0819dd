"""The pictures of a run, from its log: the loss, and the size of the updates."""

from __future__ import annotations

import math
from collections.abc import Mapping

from handgrad.render.curve import INK, QUIET, Curve, loss_png, name_steps, png, sheet, tidy
from handgrad.train.log import History

NAMES = ("loss.png", "ratios.png")
TITLE = "Size of the updates beside their parameters"
HEALTHY, LOWEST = -3, -6


def pictures(history: History, title: str, validation: float | None = None) -> dict[str, bytes]:
    """Return the pictures by file name; none of a run without a step."""
    if not history.losses:
        return {}
    fall, rates = fallen(history.rates)
    curve = Curve(title, history.losses, fall, rates, validation)
    found = {NAMES[0]: loss_png(curve)}
    if history.ratio_steps:
        found[NAMES[1]] = ratios_png(history)
    return found


def fallen(rates: tuple[float, ...]) -> tuple[float, tuple[float, float]]:
    """Return after how many steps the learning rate fell, with both rates, if it did so once."""
    if len(set(rates)) != 2:
        return math.inf, (0.0, 0.0)
    return rates.index(rates[-1]), (rates[0], rates[-1])


def ratios_png(history: History) -> bytes:
    """Return log10 of each parameter's update-to-data ratio against steps, as a PNG."""
    figure, axes = sheet()
    finite: Mapping[str, list[tuple[int, float]]] = {
        name: [
            (step, value)
            for step, value in zip(history.ratio_steps, values, strict=True)
            if math.isfinite(value)
        ]
        for name, values in history.ratios.items()
    }
    for name, points in finite.items():
        if points:
            marker = "o" if len(points) < 3 else ""
            below = f" (below {LOWEST})" if max(value for _, value in points) < LOWEST else ""
            axes.plot(*zip(*points, strict=True), label=name + below, linewidth=1.0, marker=marker)
    axes.axhline(HEALTHY, color=QUIET, linewidth=0.8, linestyle="--")
    axes.set_title(TITLE, loc="left", color=INK, fontsize=11)
    axes.set_ylabel("log10 of the ratio of standard deviations", color=INK)
    name_steps(axes, max(history.ratio_steps))
    axes.set_ylim(bottom=max(LOWEST, axes.get_ylim()[0]))
    tidy(axes)
    if axes.lines:
        axes.legend(
            loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelcolor=INK, fontsize=8
        )
    return png(figure)
