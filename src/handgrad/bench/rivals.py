"""Those who do the steps: each is prepared for a case, and then does as many as it is told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from handgrad.bench.models import RATE, SEED, Case
from handgrad.derive import derive
from handgrad.derive.step import Step, compile_step
from handgrad.errors import BadInput
from handgrad.native.compiled import from_backward
from handgrad.native.compilers import find_compiler
from handgrad.native.lower.update import Rule
from handgrad.native.making import in_lines
from handgrad.nn import SGD
from handgrad.trace import trace

NATIVE, AUTOGRAD, BY_HAND, COMPILED, JAX = "native", "autograd", "by hand", "torch.compile", "JAX"
PATIENCE = 120.0
"""Seconds, at most, that `torch.compile` may take."""

Steps = Callable[[int], None]
"""Does so many steps, each on a batch that it draws."""


class Absent(Exception):
    """Somebody cannot run here; the message says why."""


def native(case: Case) -> Steps:
    """Prepare the native step, as `hg.compile` makes it."""
    own = case.copies()
    traced = trace(case.model.forward, **{**case.first, **own}, wrt=list(own))
    backward = in_lines(traced, simplified=None)
    made = from_backward(backward, own, Rule(SGD(lr=RATE)), warn=False)
    if made.backend != "native":
        raise Absent(made.note)
    generator = drawn()

    def steps(count: int) -> None:
        done = made.run(count, data=case.data, generator=generator)
        if done.stopped == "interrupted":
            raise KeyboardInterrupt
        if done.stopped:
            raise Absent(done.stopped)

    return steps


def autograd(case: Case) -> Steps:
    """Prepare what one writes in PyTorch: forward pass, `backward()`, SGD's step."""
    own = {name: tensor.requires_grad_() for name, tensor in case.copies().items()}
    extra = {n: v for n, v in case.first.items() if n not in own and n not in case.data}
    optimiser = torch.optim.SGD(list(own.values()), lr=RATE)
    batches = batch_of(case)

    def steps(count: int) -> None:
        for _ in range(count):
            loss = case.model.forward(**own, **extra, **batches())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return steps


def by_hand(case: Case) -> Steps:
    """Prepare the derived lines in eager PyTorch."""
    step, own = lines(case), case.copies()
    function, batches = whole(step), batch_of(case)

    def steps(count: int) -> None:
        with torch.no_grad():
            for _ in range(count):
                function({**own, **batches()})

    return steps


def compiled(case: Case) -> Steps:
    """Prepare the derived lines and the update, compiled by `torch.compile`."""
    step, own = lines(case), case.copies()
    batches = batch_of(case)
    torch.compiler.reset()
    function = torch.compile(whole(step), dynamic=False)

    def steps(count: int) -> None:
        with torch.no_grad():
            for _ in range(count):
                function({**own, **batches()})

    try:
        with patience(PATIENCE):
            steps(2)
    except Exception as error:  # whatever torch's compiler, or the C++ compiler, raises
        raise Absent(f"torch.compile failed: {str(error).strip().partition(chr(10))[0]}") from error
    return steps


def by_jax(case: Case) -> Steps:
    """Prepare the seed's step in JAX."""
    if find_spec("jax") is None:
        raise Absent("JAX is not installed")
    if case.model.name != SEED:
        raise Absent("written in JAX for the seed alone")
    from handgrad.bench.by_jax import scanned

    return scanned(case)


RIVALS: dict[str, Callable[[Case], Steps]] = {
    NATIVE: native,
    AUTOGRAD: autograd,
    BY_HAND: by_hand,
    COMPILED: compiled,
    JAX: by_jax,
}


def present(*, torch_compile: bool) -> tuple[list[str], list[str]]:
    """Return who can run on this machine, and for each other a line that says why not."""
    names, notes = [NATIVE, AUTOGRAD, BY_HAND], []
    try:
        find_compiler()
    except BadInput as error:
        names.remove(NATIVE)
        notes.append(f"native: {error.what}")
    if not torch_compile:
        notes.append("torch.compile: left out by --no-compile")
    elif not cpp():
        notes.append("torch.compile: no C++ compiler")
    else:
        names.append(COMPILED)
    if find_spec("jax") is None:
        notes.append("JAX: not installed")
    else:
        names.append(JAX)
    return names, notes


def cpp() -> bool:
    """Tell whether torch finds a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        return bool(get_cpp_compiler())
    except Exception:  # of its own, and what a broken compiler makes subprocess raise
        return False


def lines(case: Case) -> Step:
    """Return forward and derived backward lines as one function."""
    own = case.copies()
    return compile_step(derive(trace(case.model.forward, **{**case.first, **own}, wrt=list(own))))


def whole(step: Step) -> Callable[[dict[str, Any]], torch.Tensor]:
    """Return the step with its update in place, as a function of tensors by name."""

    def function(values: dict[str, Any]) -> torch.Tensor:
        given = {**step.scalars, **values}
        loss, gradients, _ = step.function(*[given[name] for name in step.inputs])
        for name, gradient in zip(step.leaves, gradients, strict=True):
            values[name].sub_(gradient, alpha=RATE)
        return loss

    return function


def drawn() -> torch.Generator:
    """Return the generator that batches are drawn by."""
    return torch.Generator().manual_seed(1)


def batch_of(case: Case) -> Callable[[], dict[str, torch.Tensor]]:
    """Return what draws a batch."""
    generator, data = drawn(), case.data
    size, count = len(next(iter(data.values()))), (case.batch,)

    def draw() -> dict[str, torch.Tensor]:
        chosen = torch.randint(0, size, count, generator=generator)
        return {name: tensor[chosen] for name, tensor in data.items()}

    return draw


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread when something takes longer."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
