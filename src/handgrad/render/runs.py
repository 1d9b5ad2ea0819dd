"""What a run came to, in words."""

from __future__ import annotations

from collections.abc import Sequence

from handgrad.render.words import counted
from handgrad.train.fit import Fitted


def summary(done: Fitted, written: Sequence[str]) -> str:
    """Return steps, time, losses and files of a run."""
    count = done.step - done.start
    lines = ["every step was done already; --steps asks for more"]
    if count:
        speed = f"{count / max(done.seconds, 1e-9):,.0f}"
        lines = [f"{counted(count, 'step')} in {done.seconds:.1f} s, {speed} a second"]
    losses = ", ".join(
        f"{name} {'no examples' if loss is None else f'{loss:.4f}'}"
        for name, loss in done.losses.items()
    )
    lines.append(f"loss: {losses}")
    if written:
        lines.append(f"wrote {', '.join(written)}")
    return "\n".join(lines) + "\n"
