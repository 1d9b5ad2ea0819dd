"""The loss of a training as a picture."""

from __future__ import annotations

import io
import math

from handgrad.ninja import Trained, smooth

INK, CURVE, QUIET = "#333333", "#1f6feb", "#888888"


def loss_png(result: Trained) -> bytes:
    """Return the smoothed loss, in log10 against steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    run = result.training
    steps, losses = smooth(run.losses)
    points = [(step, loss) for step, loss in zip(steps, losses, strict=True) if math.isfinite(loss)]
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    marker = "o" if len(points) < 3 else ""
    axes.plot(
        [step for step, _ in points], [math.log10(loss) for _, loss in points],
        color=CURVE, linewidth=1.6, marker=marker,
    )
    axes.set_title(f"Trained by the derived gradients: {len(run.losses):,} steps", color=INK)
    axes.set_xlabel("step")
    axes.set_ylabel(f"log10 of the loss, mean of {steps[0]:,} steps" if steps[0] > 1 else "log10 of the loss")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(0, len(run.losses))
    right = axes.secondary_yaxis("right", functions=(lambda y: 10**y, log10))
    right.set_ylabel("loss")
    mark_rate(axes, run.steps / 2, len(run.losses))
    mark_losses(axes, result)
    tidy(axes, right)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": "Written by handgrad"})
    return stream.getvalue()
