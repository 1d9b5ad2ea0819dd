"""What a parameter is moved by: a gradient, though it has no name, `W -= 0.1 * (x.T @ dh)`."""

from __future__ import annotations

from collections.abc import Mapping

from handgrad.check.recorded.recording import Recording
from handgrad.ir import Call, Line, names
from handgrad.trace import Trace

MOVING = {"add", "sub", "add_alpha", "sub_alpha", "subtract"}
COPYING = {"expand", "clone", "to_float"}
SCALING = {"mul", "div", "neg", "torch.divide", *COPYING}
MAKING = {"outer", "sum", "mean"}  # and what is heavy: no step of Adam's or the like


def unnamed_gradients(trace: Trace, recording: Recording, body: list[Line]) -> dict[str, str]:
    """Return the values without a name that parameters are moved by, with that of each."""
    makers = {target: line for line in body for target in line.targets}
    homes = {
        (label.home, label.key): name for name in trace.grads for label in recording.labels[name]
    }
    found: dict[str, str] = {}
    for line in body:
        for label in recording.labels[line.target]:
            leaf = homes.get((label.home, label.key))
            if leaf is not None and leaf not in found.values():
                made = moved_by(line, leaf, makers, recording)
                if made is not None and not recording.labels[made]:
                    found[made] = leaf
    return found


def moved_by(line: Line, leaf: str, makers: Mapping[str, Line], recording: Recording) -> str | None:
    """Return what is added to a leaf in a line, or in those that only copy and scale."""
    shape = recording.values[leaf].shape
    moved = False
    while isinstance(line.expr, Call):
        name = line.expr.op.name
        read = [n for n in dict.fromkeys(names(line.expr)) if recording.values[n].ndim]
        if name in MOVING and not moved and leaf in read:
            moved = True
            read.remove(leaf)
        elif name not in SCALING:
            made = moved and (line.expr.op.heavy or name in MAKING)
            return line.target if made and recording.values[line.target].shape == shape else None
        if len(read) != 1 or read[0] not in makers:
            return None
        line = makers[read[0]]
        if recording.labels[line.target]:
            return None
    return None


def clipped_from(target: str, body: list[Line]) -> str:
    """Return what a value is, clipped, nothing where it is something else.

    Who clips a gradient before a step does so to one that is right already.
    """
    makers = {name: line for line in body for name in line.targets}
    while target in makers and isinstance(expr := makers[target].expr, Call):
        read = [*dict.fromkeys(names(expr))]
        clips = "clamp" in expr.op.name
        if not read or not (clips or expr.op.name in COPYING):
            return ""
        if clips:
            return read[0]
        target = read[0]
    return ""
