"""The loss of a training as a picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handgrad.escape import escaped_name
from handgrad.ninja import Trained, smooth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, CURVE, QUIET = "#333333", "#1f6feb", "#888888"


@dataclass(frozen=True)
class Curve:
    """What is drawn.

    Attributes:
        losses: of every step.
        fall: the step from which the learning rate is another, if there is one, ...
        rates: ... and the rates before and after it.
        validation: the loss on the validation set after training.
    """

    title: str
    losses: tuple[float, ...]
    fall: float = math.inf
    rates: tuple[float, float] = (0.0, 0.0)
    validation: float | None = None


def loss_png(curve: Curve) -> bytes:
    """Return the smoothed loss, in log10 against steps, as a PNG."""
    figure, axes = sheet()
    draw_losses(axes, curve)
    return png(figure)


def of_journey(result: Trained) -> Curve:
    """Return the curve of the exercise's training."""
    run = result.training
    title = "Training by the derived gradients"
    return Curve(title, run.losses, run.steps / 2, (0.1, 0.01), result.losses["validation"])


def sheet() -> tuple[Figure, Axes]:
    """Return an empty picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display, and leaves pyplot's state alone
    return figure, figure.add_subplot()


def png(figure: Figure) -> bytes:
    """Return a picture's bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": "Written by handgrad"})
    return stream.getvalue()


def draw_losses(axes: Axes, curve: Curve) -> None:
    """Draw the curve, where the learning rate falls, and the loss on the validation set."""
    done = len(curve.losses)
    steps, losses = smooth(curve.losses)
    points = [(s, math.log10(x)) for s, x in zip(steps, losses, strict=True) if 0 < x < math.inf]
    marker = "o" if len(points) < 3 else ""
    axes.plot(*zip(*points, strict=True), color=CURVE, linewidth=1.6, marker=marker)
    over = f", mean over {steps[0]:,} steps each" if steps[0] > 1 else ""
    title = escaped_name(f"{curve.title}{over}")
    # what a dollar encloses is no formula here
    axes.set_title(title, loc="left", color=INK, fontsize=11, parse_math=False)
    name_steps(axes, done)
    axes.set_ylabel("log10 of the loss", color=INK)
    if curve.fall < done:
        mark_rate(axes, curve)
    mark_validation(axes, curve.validation)
    tidy(axes)
    loss_axis(axes)


def name_steps(axes: Axes, done: int) -> None:
    """Write steps below."""
    axes.set_xlabel("steps", color=INK)
    axes.set_xlim(0, done * 1.01)
    axes.xaxis.set_major_formatter("{x:,.0f}")


def mark_rate(axes: Axes, curve: Curve) -> None:
    """Mark where the learning rate falls."""
    axes.axvline(curve.fall, color=QUIET, linewidth=0.8, linestyle=":")
    before, after = curve.rates
    for text, side in ((f"rate {before:g}  ", "right"), (f"  rate {after:g}", "left")):
        axes.annotate(
            text,
            (curve.fall, 0.96),
            xycoords=("data", "axes fraction"),
            ha=side,
            va="top",
            color=QUIET,
        )


def mark_validation(axes: Axes, loss: float | None) -> None:
    """Mark the validation loss after training."""
    if loss is None or not 0 < loss < math.inf:
        return
    axes.axhline(math.log10(loss), color=QUIET, linewidth=0.8, linestyle="--")
    axes.annotate(
        f"validation loss after training: {loss:.3f}",
        (0.01, math.log10(loss)),
        textcoords="offset points",
        xytext=(0, -4),
        xycoords=("axes fraction", "data"),
        ha="left",
        va="top",
        color=QUIET,
    )


def loss_axis(axes: Axes) -> None:
    """Write the loss itself at round numbers on the right."""
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_ylim()
    right = axes.twinx()
    right.set_ylim(low, high)
    ticks = MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(10**low, 10**high)
    inside = [float(tick) for tick in ticks if 10**low <= tick <= 10**high]
    right.set_yticks([math.log10(tick) for tick in inside], [f"{tick:g}" for tick in inside])
    right.set_ylabel("loss", color=INK)
    tidy(right)


def tidy(axes: Axes) -> None:
    """Leave out what is no data."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, length=0)
    if axes.get_ylabel() != "loss":
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
