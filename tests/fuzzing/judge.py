"""What handgrad makes of one program, compared with autograd under the same seed."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import handgrad as hg
from fuzzing.program import Plain, Program, ready, run_plain, scalar_of
from fuzzing.sizes import others

RIGHT, REFUSED, WRONG, RAISED = "right", "refused", "silently wrong", "raw exception"
BUG, HANG, CRASH, INVALID = "bug in handgrad", "hang", "crash", "invalid"
FAILURES = (WRONG, RAISED, BUG, HANG, CRASH)
RATE, STEPS = 1e-3, 3  # of the steps that a compiled program takes
CLOSE = 1e-7  # of the largest entry, in double precision
TINY = 1e-6  # a gradient below it may be rounding alone, of values near 1
SINGLE = 2e-3  # where the program goes through single precision


@dataclass(frozen=True)
class Verdict:
    """What became of a program.

    Attributes:
        kind: one of the words above.
        stage: trace, derive, simplify, compile or emit: where it ended.
        text: what was said, or which gradient is off.
        named: a refusal names a line.
    """

    kind: str
    stage: str = ""
    text: str = ""
    named: bool = False

    @property
    def group(self) -> str:
        """Return what equal failures have in common: numbers and names left out."""
        line = self.text.splitlines()[0] if self.text else ""
        line = re.sub(r"(<program \d+>|program_\d+)[:\d]*", "<file>", line)
        line = re.sub(r"\b[^\W\d_]+_?\d+(_\d+)*\b", "NAME", line)
        line = re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?(e[+-]?\d+)?", "#", line)
        return f"{self.kind} | {self.stage} | {line[:150]}"


class Off(Exception):
    """A gradient that is not autograd's."""


def judge(program: Program, stages: frozenset[str] = frozenset()) -> Verdict:
    """Trace and derive a program, and go on with the stages asked for.

    Args:
        program: the program.
        stages: any of "simplify", "compile", "emit".
    """
    with warnings.catch_warnings(action="ignore"):
        arguments = program.draw()
        try:
            plain = run_plain(program, arguments)
        except Exception as error:
            return Verdict(INVALID, text=repr(error))
        at = "trace"
        try:
            trace = traced(program, arguments)
            at = "derive"
            backward = hg.derive(trace)
            compare(program, plain, trace, by_primal(backward))
            for at in ("simplify", "emit", "compile"):
                if at in stages:
                    STAGES[at](program, plain, backward)
        except Off as error:
            shaky = ill_conditioned(program, arguments, plain)
            shaky = unsteady(program, arguments) if at == "compile" else shaky
            return Verdict(INVALID, text=f"ill-conditioned: {error}") if shaky else told(error, at)
        except Exception as error:
            return told(error, at)
        finally:
            torch.set_grad_enabled(True)
    return Verdict(RIGHT)


def ill_conditioned(program: Program, arguments: Mapping[str, Tensor], plain: Plain) -> bool:
    """Tell whether plain PyTorch's own gradients change by much where the last digits do."""
    generator = torch.Generator().manual_seed(0)
    moved = {}
    for name, value in arguments.items():
        moved[name] = value
        if value.is_floating_point():
            by = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            fresh = (value.detach() * (1 + 1e-15 * by)).to(value.dtype)
            moved[name] = fresh.requires_grad_(value.requires_grad)
    other = run_plain(program, moved)
    for name, grad in plain.grads.items():
        there = other.grads.get(name)
        if grad is not None and there is not None and grad.shape == there.shape and grad.numel():
            if float((grad - there).abs().max()) > 0.01 * CLOSE * float(grad.abs().max()):
                return True
    return False


def told(error: Exception, stage: str) -> Verdict:
    """Return the verdict that an exception amounts to."""
    if isinstance(error, Off):
        return Verdict(WRONG, stage, str(error))
    if isinstance(error, hg.HandgradError):
        text = str(error)
        named = bool(re.search(r":\d+|\bline \d+", error.where or text))
        return Verdict(BUG if error.exit_code == 4 else REFUSED, stage, text, named)
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    return Verdict(RAISED, stage, f"{line}\n{traceback.format_exc()}")


def traced(program: Program, arguments: Mapping[str, Tensor]) -> hg.Trace:
    """Trace a program, its draws those of the program's seed."""
    target = program.load()
    given = ready(program, arguments)
    torch.manual_seed(program.seed)
    return hg.trace(target, **given)


def by_primal(backward: hg.Backward) -> dict[str, Tensor]:
    """Run a backward pass; return each gradient by the name of what it is the gradient of."""
    found = backward.run()
    return {each.primal: found[each.name] for each in backward.lines if each.primal}


def leaf_called(trace: hg.Trace, name: str, value: Tensor, taken: set[str]) -> str | None:
    """Return the name that a trace gives a leaf: its own, or that of an equal input."""
    flat = name.replace(".", "_")
    known = [n.name for n in trace.program.inputs]
    for other in sorted(known, key=lambda n: n != flat):
        mine = trace.values[other]
        same = mine.shape == value.shape and mine.dtype == value.dtype
        if other not in taken and same and torch.equal(mine, value):
            return other
    return None


def compare(program: Program, plain: Plain, trace: hg.Trace, found: Mapping[str, Tensor]) -> None:
    """Compare every leaf's gradient with autograd's.

    Raises:
        Off: one is missing or differs.
    """
    loss = trace.values[trace.output]
    if not torch.allclose(loss, plain.loss.to(loss.dtype).reshape(loss.shape), 1e-6, 1e-9):
        raise Off(f"the loss is {float(loss):.6g}, in plain PyTorch {float(plain.loss):.6g}")
    reach = max(
        [float(g.abs().max()) for g in plain.grads.values() if g is not None and g.numel()] or [0.0]
    )
    taken: set[str] = set()
    for name, grad in plain.grads.items():
        known = leaf_called(trace, name, plain.leaves[name].detach(), taken)
        taken |= {known} if known else set()
        mine = found.get(known) if known else None
        differ(program, name, mine, grad, reach)


def differ(
    program: Program, name: str, mine: Tensor | None, truth: Tensor | None, reach: float
) -> None:
    """Compare one gradient.

    Raises:
        Off: it is missing or differs.
    """
    if truth is None or not truth.numel() or not truth.any():
        if mine is not None and mine.numel() and bool((mine.abs() > CLOSE * max(reach, 1.0)).any()):
            raise Off(f"d{name} is there, and autograd has none or zeros")
        return
    if mine is None:
        raise Off(f"d{name} is missing")
    if mine.shape != truth.shape or mine.dtype != truth.dtype:
        raise Off(
            f"d{name} is {list(mine.shape)} {mine.dtype}, not {list(truth.shape)} {truth.dtype}"
        )
    off = float((mine - truth).abs().max())
    limit = close_for(program) * max(float(truth.abs().max()), 1e-3 * reach, TINY)
    if not off <= limit:
        raise Off(f"d{name} is off by {off:.3g} of {float(truth.abs().max()):.3g}")


def close_for(program: Program) -> float:
    """Return how near two gradients of a program must be."""
    return SINGLE if re.search(r"float32|\.float\(\)", program.source) else CLOSE


def simplified(program: Program, plain: Plain, backward: hg.Backward) -> None:
    """Simplify, run, compare."""
    short = hg.simplify(backward)
    compare(program, plain, short.trace, by_primal(short))


def emitted(program: Program, plain: Plain, backward: hg.Backward) -> None:
    """Run the written file alone, at the traced sizes and at others.

    Raises:
        Off: a gradient differs; at other sizes an error is right, another number is not.
    """
    from handgrad.emit.pytorch import module

    trace, text = backward.trace, module(backward)
    scope: dict[str, Any] = {}
    exec(compile(text, "<emitted>", "exec", dont_inherit=True), scope)
    if trace.draws:
        torch.manual_seed(program.seed)
        loss, _ = scope["forward"](*given_to(trace, trace.values))
        if not torch.allclose(loss, plain.loss.to(loss.dtype).reshape(loss.shape), 1e-6, 1e-9):
            return  # the program draws more than its loss needs: the file draws other numbers
        torch.manual_seed(program.seed)
        compare(program, plain, trace, alone(scope, trace, trace.values))
        return
    compare(program, plain, trace, alone(scope, trace, trace.values))
    origins = dict(trace.origins)
    drawn = {a.name for a in program.arguments}
    given = {n.name for n in trace.program.inputs}
    if any(note.kind in ("item", "branch") for note in trace.notes):
        return  # the file says that it is for these values
    if program.module or trace.program.scalars or given != set(origins):
        return  # the file takes what the caller must say anew: a number, a draw, a parameter
    assert set(origins.values()) <= drawn
    for arguments, truth in others(program):
        values = {n: arguments[origins[n]] for n in origins}
        try:
            found = alone(scope, trace, {**trace.values, **values})
        except ValueError as error:  # a guard of the file's own
            if "was written for" not in str(error):
                raise
            continue
        for name, grad in truth.grads.items():
            inner = next((i for i, o in origins.items() if o == name), None)
            try:
                differ(program, name, found.get(inner or ""), grad, 1.0)
            except Off as error:
                sizes = {n: list(t.shape) for n, t in arguments.items()}
                raise Off(f"at other sizes {error}\n{sizes}\n{text}") from error


def alone(
    scope: dict[str, Any], trace: hg.Trace, values: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Call an emitted file's functions; return the gradients by primal."""
    loss, saved = scope["forward"](*given_to(trace, values))
    found = scope["backward"](torch.ones_like(loss), saved)
    return {name.removeprefix("d"): grad for name, grad in found.items()}


def given_to(trace: hg.Trace, values: Mapping[str, Tensor]) -> list[Any]:
    """Return what a file's forward pass is called with: what it draws itself is not among it."""
    names = [n.name for n in trace.program.inputs if n.name not in trace.draws]
    tensors = [values[name].detach().clone() for name in names]
    return [*tensors, *trace.program.scalars.values()]


def compiled(program: Program, plain: Plain, backward: hg.Backward) -> None:
    """Compile a step, take three, and compare with plain PyTorch where nothing is drawn.

    Raises:
        Off: a loss or a leaf differs after the steps.
    """
    arguments = program.draw()
    ours, fresh = ready(program, arguments), program.load()
    torch.manual_seed(program.seed)
    step = hg.compile(fresh, **ours, optimizer=hg.nn.SGD(lr=RATE))
    losses = [float(step.step()) for _ in range(STEPS)]
    if drawn(program, arguments):
        return
    truths, leaves = trained(program, arguments, step.leaves)
    if not leaves:
        raise Off(f"the step trains {', '.join(step.leaves)}, and the program has no such leaf")
    mine = {**ours, **(dict(fresh.named_parameters()) if program.module else {})}
    for count, (loss, truth) in enumerate(zip(losses, truths, strict=True)):
        if abs(loss - truth) > 1e-5 * max(1.0, abs(truth)):
            raise Off(f"loss of step {count}: {loss:.8g}, in plain PyTorch {truth:.8g}")
    for name, leaf in leaves.items():
        if not leaf.numel():
            continue
        off = float((mine[name].detach() - leaf.detach()).abs().max())
        if off > 1e-7 * max(1.0, float(leaf.detach().abs().max())):
            raise Off(f"{name} is off by {off:.3g} after the steps ({step.backend})")


def trained(
    program: Program, arguments: Mapping[str, Tensor], names: Iterable[str], nudge: float = 0.0
) -> tuple[list[float], dict[str, Tensor]]:
    """Take the steps in plain PyTorch; return the losses, and the leaves after them.

    Args:
        program: the program.
        arguments: what it is called with.
        names: those of them that are trained; a module's parameters are too.
        nudge: how far each leaf is moved before each step, at random.
    """
    theirs, target = ready(program, arguments, plain=True), program.load()
    leaves = {n: t for n, t in theirs.items() if n in names}
    leaves |= dict(target.named_parameters()) if program.module else {}
    generator = torch.Generator().manual_seed(0)
    losses: list[float] = []
    for _ in range(STEPS if leaves else 0):
        for t in leaves.values():
            by = torch.randn(t.shape, generator=generator, dtype=torch.float64)
            t.requires_grad_().data += nudge * by.to(t.dtype)
        loss = scalar_of(target(**theirs))
        losses.append(float(loss))
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for t, g in zip(leaves.values(), grads, strict=True):
            t.data -= RATE * g if g is not None else 0
    return losses, leaves


def unsteady(program: Program, arguments: Mapping[str, Tensor]) -> bool:
    """Tell whether plain PyTorch's own steps go elsewhere where the last digits are moved."""
    names = [name for name, value in arguments.items() if value.is_floating_point()]
    _, plain = trained(program, arguments, names)
    _, moved = trained(program, arguments, names, nudge=1e-16)
    return any(
        leaf.numel() and float((leaf - moved[name]).abs().max()) > 1e-9
        for name, leaf in plain.items()
    )


def drawn(program: Program, arguments: Mapping[str, Tensor]) -> bool:
    """Tell whether a program draws: runs with other seeds differ."""
    losses = []
    for seed in range(1, 9):
        target = program.load()
        torch.manual_seed(seed)
        losses.append(float(scalar_of(target(**ready(program, arguments, plain=True)))))
    return len(set(losses)) > 1


STAGES: dict[str, Callable[[Program, Plain, Any], None]] = {
    "simplify": simplified,
    "emit": emitted,
    "compile": compiled,
}
