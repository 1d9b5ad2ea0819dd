"""What names say: which forward value a gradient is called after."""

from __future__ import annotations

import re
from dataclasses import dataclass

HOMES = re.compile(r"(?i)^(d_?params|derivs?|derivatives|deltas?|.*grad.*|nabla.*)$")
GRADIENT = re.compile(r"^(d[A-Z_]\w*|(?i:grads?_\w+|\w*(grads?|gradients?|deltas?|errors?)_?\d*))$")
FORMS = [
    re.compile(form)
    for form in (
        r"^dL_?d_?(.+)$",
        r"^d_?(?:J|C|E|L|loss|cost|error)_*d_?(.+)$",
        r"^d_?\w+?_+d_?(.+)$",
        r"^d_(.+)$",
        r"^grads?_(?:of_)?(.+)$",
        r"^(.+?)_?(?:grads?|gradients?|Grad)$",
        r"^g_(.+)$",
        r"^dL_(.+)$",
        r"^d(.+)$",
        r"^g([A-Z].*)$",
        r"^(?:delta|Delta|nabla)_?([A-Za-z].*)$",
    )
]


@dataclass(frozen=True)
class Label:
    """Something that the person calls a value by.

    Attributes:
        depth: of the frame that holds it, 0 for the file's top level.
        home: what holds it: a frame, a dict, an object.
        held: what the container is called, `grads`; nothing for a frame's own names.
        key: what it is called there, `W1`.
        text: how it is read, `grads['W1']`.
        line: where it was bound, 0 where that is not known.
    """

    depth: int
    home: int
    held: str
    key: str
    text: str
    line: int = 0


def meant(label: Label) -> list[str]:
    """Return what a label may be the gradient of, by what it says."""
    found = [m.group(1) for form in FORMS if (m := form.match(label.key))]
    if HOMES.match(label.held):
        found.append(label.key)
    if label.key.isdigit():  # dWs[1] is of Ws[1]
        found += [f"{m.group(1)}.{label.key}" for form in FORMS if (m := form.match(label.held))]
    return found


def says_gradient(label: Label) -> bool:
    """Tell whether a label says that its value is a gradient, of whatever it may be."""
    return bool(HOMES.match(label.held) or HOMES.match(label.key))


def is_called_one(label: Label) -> bool:
    """Tell whether a label can be nothing but a gradient's: `dW`, `d_h`, `grad_x`, `W1_error`."""
    return bool(GRADIENT.match(label.key) or HOMES.match(label.held))


def calls_itself(label: Label) -> set[str]:
    """Return what a forward value's label may be called as."""
    joined = (
        {f"{label.held}.{label.key}", f"{label.held}_{label.key}"} if label.held else set[str]()
    )
    return joined if label.key.isdigit() else {label.key, *joined}


def nearness(gradient: Label, primal: Label) -> tuple[int, int]:
    """Return how near two labels are to each other: the same holder first, then the same depth."""
    return int(gradient.home != primal.home), abs(gradient.depth - primal.depth)


def says_word(word: str) -> bool:
    """Tell whether a name of Python's says that it is a gradient: `dout`, `grad_output`."""
    return bool(HOMES.match(word)) or any(form.match(word) for form in FORMS)
