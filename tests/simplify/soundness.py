"""Judges the simplifier on random forward passes, against autograd and, in doubt, in 50 digits."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import torch

import handgrad as hg
from simplify.cases.declare import Case
from simplify.exact import run_exact
from simplify.running import autograd, forward_lines, run_at, simplified, traced

KINDS = (
    "equal",
    "unchanged",
    "rounding",
    "unstable",
    "undecided",
    "wrong",
    "exception",
    "left out",
)
CLOSE = 1e-9  # of the largest entry of the gradient
EXACT = 1e-30  # what two equal formulas may differ by in 50 digits
WORSE = 1e4  # how much larger the rounding error may be than the derived lines'


@dataclass(frozen=True)
class Outcome:
    """What became of one program.

    Attributes:
        kind: equal to autograd; unchanged, so as derived; equal in 50 digits and apart by rounding,
            or by much more rounding than what was derived; not decided even so; wrong; a crash; or
            left out, because it cannot be derived.
        lines: how many lines were derived, and are left.
        text: what shows it again.
    """

    kind: str
    lines: tuple[int, int] = (0, 0)
    text: str = ""


def judge(program: Case, simplify: Callable[[hg.Backward], hg.Backward] = simplified) -> Outcome:
    """Derive and simplify a program at its first sizes; compare it with autograd at all of them."""
    forward = program.function(program.spellings[0])
    try:
        backward = hg.derive(traced(forward, program.draw()), strict=True)
    except hg.HandgradError as error:
        return Outcome("left out", text=story(program, str(error)))
    try:
        with warnings.catch_warnings(action="error"):
            after = simplify(backward).source
    except Exception:
        return Outcome("exception", text=story(program, backward.source, traceback.format_exc()))
    before = backward.source
    lines = (len(before.splitlines()), len(after.splitlines()))
    if before == after:
        return Outcome("unchanged", lines)
    kind, notes = "equal", []
    for place in range(len(program.sizes)):
        found, note = at_sizes(program, place, before, after)
        kind = max(kind, found, key=KINDS.index)
        notes += [note] if note else []
    text = "" if kind == "equal" else story(program, before, "simplified:", after, *notes)
    return Outcome(kind, lines, text)


def at_sizes(program: Case, place: int, before: str, after: str) -> tuple[str, str]:
    """Compare lines with autograd at one of the sizes, where the derived ones hold."""
    sizes, function = program.sizes[place], program.function(program.spellings[0])
    arguments = program.draw(place)
    truth = autograd(function, arguments)
    trace = traced(function, arguments)
    reference = attempt(before, trace)
    if reference is None or not all(reference[n].shape == g.shape for n, g in truth.items()):
        return "equal", ""  # derived at sizes that hide a broadcast
    try:
        found = run_at(after, trace)
    except Exception:
        return "exception", f"at {dict(sizes)}\n{traceback.format_exc()}"
    doubt = [name for name in truth if not close(found[name], truth[name])]
    doubt = [name for name in doubt if near(reference[name], truth[name])]
    if not doubt:
        return "equal", ""
    wrong_shape = [n for n in doubt if found[n].shape != truth[n].shape]
    if wrong_shape:
        return "wrong", f"at {dict(sizes)}: the shape of {', '.join(wrong_shape)}"
    values = {**arguments, "d" + trace.output: trace.upstream}
    return in_digits(doubt, sizes, (forward_lines(trace), before, after), values, reference, found)


def attempt(source: str, trace: hg.Trace) -> dict[str, Any] | None:
    """Run the derived lines at other sizes, None where they do not run."""
    try:
        return run_at(source, trace)
    except RuntimeError:
        return None


def close(found: torch.Tensor, truth: torch.Tensor) -> bool:
    """Tell whether a gradient is autograd's to the ninth digit, shape and type too."""
    if found.shape != truth.shape or found.dtype != truth.dtype:
        return False
    if not truth.numel():
        return True
    return bool((found - truth).abs().max() <= CLOSE * truth.abs().max())


def near(derived: torch.Tensor, truth: torch.Tensor) -> bool:
    """Tell whether the derived lines hold at these sizes: as far from autograd as rounding is."""
    return bool((derived - truth).abs().max() <= 1e-9 + 1e-6 * truth.abs().max())


def in_digits(
    names: list[str],
    sizes: Mapping[str, int],
    sources: tuple[str, str, str],
    values: Mapping[str, Any],
    reference: Mapping[str, Any],
    found: Mapping[str, Any],
) -> tuple[str, str]:
    """Compare what is derived with what is simplified in 50 digits, and the rounding of both."""
    forward, before, after = sources
    try:
        run_exact(forward, **values)
    except ZeroDivisionError:
        return "rounding", f"at {dict(sizes)}: what the forward pass divides by is rounding alone"
    try:
        old, new = (run_exact(forward, text, **values) for text in (before, after))
    except (AttributeError, TypeError, NotImplementedError) as error:
        return "undecided", f"at {dict(sizes)}, in 50 digits: {error!r}"
    kind, notes = "rounding", [f"at {dict(sizes)}, the largest difference"]
    for name in names:
        true, mine = old[name].real().data, new[name].real().data
        off, reach = largest(true - mine), largest(true)
        errors = [largest(true - tensor[name].numpy()) for tensor in (reference, found)]
        if errors[0] > max(1e-6 * reach, mpmath.mpf("1e-9")):
            return "undecided", f"at {dict(sizes)}: a choice that 50 digits make in another way"
        notes.append(
            f"  in d{name[1:]}: {float(off):.1e} in 50 digits; rounding {float(errors[0]):.1e} "
            f"derived, {float(errors[1]):.1e} simplified, of {float(reach):.1e}"
        )
        if off > EXACT * max(1, reach):
            kind = "wrong"
        elif kind == "rounding" and errors[1] > WORSE * max(errors[0], 1e-16 * reach, 1e-16):
            kind = "unstable"
    return kind, "\n".join(notes)


def largest(data: np.ndarray) -> Any:
    """Return the largest magnitude."""
    return max((abs(each) for each in np.ravel(data)), default=mpmath.mpf(0))


def story(program: Case, *parts: str) -> str:
    """Return a program as text that shows it again."""
    how = program.spellings[0]
    drawn = ", ".join(
        f"{name}: {'number' if isinstance(draw, str) else draw.kind} "
        f"[{draw if isinstance(draw, str) else ', '.join(map(str, draw.sizes))}]"
        for name, draw in program.arguments.items()
    )
    head = f"{program.name} at {[dict(s) for s in program.sizes]}\n{drawn}"
    return "\n".join([head, how.forward, "derived:", *parts])
