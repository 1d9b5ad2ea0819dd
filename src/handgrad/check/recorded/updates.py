"""What a parameter is moved by: a gradient, though it has no name, `W -= 0.1 * (x.T @ dh)`."""

from __future__ import annotations

from collections.abc import Mapping

from handgrad.check.recorded.recording import Recording
from handgrad.ir import Call, Line, names
from handgrad.trace import Trace

MOVING = {"add", "sub", "add_alpha", "sub_alpha", "subtract"}
SCALING = {"mul", "div", "neg", "multiply", "divide", "expand", "clone", "to", "to_float"}


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
            return line.target if moved and recording.values[line.target].shape == shape else None
        if len(read) != 1 or read[0] not in makers:
            return None
        line = makers[read[0]]
        if recording.labels[line.target]:
            return None
    return None
