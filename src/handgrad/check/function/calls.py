"""Call a Function's own forward and backward directly, and note what they change."""

from __future__ import annotations

import inspect
import random
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from handgrad.check.function.ctx import Ctx, held
from handgrad.threads import one_thread

Tensors = tuple[torch.Tensor | None, ...]


@dataclass(frozen=True)
class Subject:
    """A Function that is checked.

    Attributes:
        function: it.
        names: the names of its forward's inputs.
        separate: whether forward and setup_context are two.
        surrogate: what its backward is the derivative of, where that is not its forward.
    """

    function: Any
    names: tuple[str, ...]
    separate: bool
    surrogate: Callable[..., Any] | None = None

    def forward(self, ctx: Ctx, *inputs: Any) -> Any:
        """Call the forward, in whichever style it is written."""
        if not self.separate:
            return self.function.forward(ctx, *inputs)
        output = self.function.forward(*inputs)
        self.function.setup_context(ctx, inputs, output)
        return output

    def backward(self, ctx: Ctx, *upstreams: Any) -> Any:
        """Call the backward, or the `vjp` that is written in its place."""
        base = torch.autograd.Function
        own = self.function.backward is not base.backward
        return (self.function.backward if own else self.function.vjp)(ctx, *upstreams)


def names_of(function: Any, separate: bool, count: int) -> tuple[str, ...]:
    """Return the names of a forward's inputs; `*xs` gives `xs_0`, `xs_1`."""
    parameters = list(inspect.signature(function.forward).parameters.values())
    parameters = parameters if separate else parameters[1:]
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{k}" for k in range(count - len(names))]
        else:
            names.append(parameter.name)
    names += [f"input_{k}" for k in range(len(names), count)]
    return tuple(names[:count])


@dataclass(frozen=True)
class Forward:
    """A forward that ran.

    Attributes:
        ctx: what it saved.
        inputs: what it was given.
        outputs: what it returned.
        places: which outputs are differentiable.
        unmarked: inputs that it changed without `mark_dirty`.
    """

    ctx: Ctx
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    places: tuple[int, ...]
    unmarked: tuple[int, ...]

    @property
    def finite(self) -> bool:
        """Tell whether every differentiable output is finite."""
        return all(bool(self.outputs[k].isfinite().all()) for k in self.places)


@dataclass(frozen=True)
class Backward:
    """A backward that ran: what it returned, what it changed, what it raised."""

    returned: tuple[Any, ...]
    changed: tuple[str, ...] = ()
    error: str = ""


@contextmanager
def quiet() -> Iterator[None]:
    """Leave every random generator and the warnings of others as they were; use one thread.

    Thousands of small operations lose more by waiting for other threads than they gain.
    """
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            torch.set_rng_state(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
            random.setstate(states[2])


def reseed(seed: int) -> None:
    """Put every random generator in a state of its own."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)  # before it is initialised torch would queue each call
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Return a tuple, of one value if it is none."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def differentiable(outputs: Sequence[Any], ctx: Ctx) -> tuple[int, ...]:
    """Return the places of the outputs that a gradient can come from."""
    return tuple(
        place
        for place, output in enumerate(outputs)
        if isinstance(output, torch.Tensor)
        and output.is_floating_point()
        and not any(output is other for other in ctx.non_differentiable)
    )


def run_forward(
    subject: Subject, inputs: tuple[Any, ...], needs: tuple[bool, ...], seed: int
) -> Forward:
    """Run the forward as torch does: without recording, on inputs that it may change."""
    for value, need in zip(inputs, needs, strict=True):
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            value.requires_grad_(need)
    before = [v.detach().clone() if isinstance(v, torch.Tensor) else None for v in inputs]
    ctx = Ctx(needs)
    reseed(seed)
    with torch.no_grad():
        outputs = as_tuple(subject.forward(ctx, *inputs))
    unmarked = tuple(
        place
        for place, (value, old) in enumerate(zip(inputs, before, strict=True))
        if old is not None
        and not same(value, old)
        and not any(value is dirty for dirty in ctx.dirty_tensors)
    )
    return Forward(ctx, inputs, outputs, differentiable(outputs, ctx), unmarked)


def run_backward(subject: Subject, forward: Forward, upstreams: Tensors, seed: int) -> Backward:
    """Run the backward on its own, outside the engine, which would sum and cast for it."""
    watched = [("the upstream gradient", up) for up in upstreams if up is not None]
    watched += [
        (f"its input {name}", value)
        for name, value in zip(subject.names, forward.inputs, strict=True)
        if isinstance(value, torch.Tensor)
    ]
    watched += [
        ("its output", value) for value in forward.outputs if isinstance(value, torch.Tensor)
    ]
    watched += held(forward.ctx)
    before = [tensor.detach().clone() for _, tensor in watched]
    reseed(seed)
    try:
        with torch.no_grad():
            returned = as_tuple(subject.backward(forward.ctx, *upstreams))
    except Exception as error:  # the user's own code may raise anything
        return Backward((), error=described(error))
    changed: dict[int, str] = {}
    for (words, tensor), old in zip(watched, before, strict=True):
        if not same(tensor, old):
            changed.setdefault(tensor.untyped_storage().data_ptr(), words)
    kept = tuple(v.detach().clone() if isinstance(v, torch.Tensor) else v for v in returned)
    return Backward(kept, tuple(changed.values()))


def described(error: Exception) -> str:
    """Return an exception with the line of the user's code that raised it."""
    text = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(OURS) and "torch" not in f.filename]
    return f"{text} (line {own[-1].lineno}: `{own[-1].line}`)" if own and own[-1].line else text


OURS = __file__.rsplit("check", 1)[0]


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Tell whether two tensors hold the same, NaN included."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return bool(((first == second) | ((first != first) & (second != second))).all())
