"""`hg.compile`: a forward pass as a step that trains, in native code where that can be."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from handgrad.errors import BadInput, Undecided
from handgrad.native import frozen, plans, starts
from handgrad.native.asked import Asked, parameters_of, tensors_of
from handgrad.native.bind import Bound, check
from handgrad.native.build import Library, build
from handgrad.native.compilers import CannotBuild
from handgrad.native.engines import Draws, Eager, Native
from handgrad.native.forms import Form, Unit
from handgrad.native.labels import refuse_outside
from handgrad.native.lower.budget import SECONDS, CannotLower, budget
from handgrad.native.plans import Plan
from handgrad.native.starts import Start
from handgrad.native.tensors import forms_of, working
from handgrad.nn.optimisers import SGD, Optimiser
from handgrad.patience import patience

if TYPE_CHECKING:
    from handgrad.derive import Backward
    from handgrad.native.loop import Run
    from handgrad.native.lower.update import Rule
    from handgrad.trace import Trace


def compile(
    forward: Callable[..., Any] | torch.nn.Module,
    *args: Any,
    optimizer: Optimiser | None = None,
    clip_norm: float | None = None,
    wrt: Iterable[str] | None = None,
    simplified: bool | None = None,
    freeze_values: bool = False,
    seconds: float = SECONDS,
    **kwargs: Any,
) -> Compiled:
    """Compile a training step: forward pass, derived backward pass and update.

    The parameters' own memory is what a step changes.

    Args:
        forward: a function or module that returns a scalar loss.
        *args: its arguments: parameters, and a batch of the size that steps will have.
        optimizer: `hg.nn.SGD(lr=0.1)` by default.
        clip_norm: the greatest norm that all gradients together may have.
        wrt: names of the parameters; by default the tensors that require a gradient, a module's
            parameters, or else all of floating point.
        simplified: cut the backward pass short first, which takes longer to compile; by default
            where it has few lines.
        freeze_values: keep, for every step, the numbers and branches that the forward pass takes
            from its tensors in this call: `.item()`, `if x.sum() > 0`.
        seconds: how long making native code may take; past that, the step is eager.
        **kwargs: more arguments.

    Raises:
        BadInput: the forward pass cannot be traced or takes numbers from tensors, or a parameter is
            not contiguous.
    """
    given = tensors_of(forward, args, kwargs)
    wanted = list(wrt) if wrt is not None else parameters_of(forward, given)
    options = (optimizer or SGD(), clip_norm, simplified, freeze_values)
    asked = Asked(forward, args, kwargs, wanted, *options, seconds)
    key = asked.key
    start = starts.load(key, given)
    with patience(f"compiling the step, {seconds:g} s at most"):
        return (start and again(asked, start, given)) or first(asked, key, given)


def again(asked: Asked, start: Start, given: Mapping[str, Tensor]) -> Compiled | None:
    """Return the step that an equal call came to, and trace when somebody asks for the trace.

    It is None where the plan is gone, and where an index is out of range: the trace says it better.
    """
    plan = plans.load(start.plan)
    if plan is None:
        return None
    inputs = {name: given[argument] for name, argument in start.inputs.items()}
    try:
        for name, size in plan.limits.items():
            refuse_outside(name, inputs[name], size)
        library = build(plan.unit.source)
    except (BadInput, KeyError):
        return None

    @cache
    def traced() -> Trace:
        from handgrad.native import making

        return making.traced_again(asked, start.plan)

    @cache
    def lines() -> Backward:
        from handgrad.native import making

        return making.in_lines(traced(), asked.simplified)

    tensors = working(inputs, start.leaves, asked.optimiser)
    engine = bound(plan, library, tensors, {*inputs, *start.leaves})
    return Compiled(
        *(traced, lines, forms_of(inputs), start.leaves, asked.optimiser, tensors, engine),
        *(library.note, plan.unit, dict(plan.limits)),
    )


def first(asked: Asked, key: str, given: Mapping[str, Tensor]) -> Compiled:
    """Trace and compile, and keep under a key what that came to."""
    from handgrad.native import making
    from handgrad.native.lower.update import Rule
    from handgrad.trace.ways import trace_telling

    traced, blind, looks = trace_telling(asked.forward, asked.args, asked.kwargs, asked.wanted)
    if not asked.freeze_values:
        for look in frozen.frozen(looks):
            raise frozen.refuse(look)
    rule = Rule(asked.optimiser, asked.clip)

    def lines() -> Backward:
        return making.in_lines(traced, asked.simplified)

    origins = traced.origins
    ours = {name: given[argument] for name, argument in origins.items() if argument in given}
    leaves = making.trained(traced)
    plan = making.key_of(traced, leaves, rule, asked.simplified)
    note = frozen.note(looks)
    made = from_trace(
        traced, ours, rule, lines, leaves=leaves, note=note, key=plan, seconds=asked.seconds
    )
    once = not (traced.draws or traced.updates)  # a start tells neither
    if blind and once and made.unit is not None and ours.keys() >= made.inputs.keys():
        inputs = {name: origins[name] for name in made.inputs}
        starts.keep(key, Start(plan, inputs, made.leaves), given)
    return made


def from_backward(
    backward: Backward, given: Mapping[str, Tensor], rule: Rule, *, warn: bool = True
) -> Compiled:
    """Compile a backward pass with its forward pass.

    Args:
        backward: the lines.
        given: the tensors to work on, by the inputs' names; others start as they were traced.
        rule: how parameters are updated.
        warn: tell in a warning where native code cannot be.
    """
    return from_trace(backward.trace, given, rule, lambda: backward, warn=warn)


def from_trace(
    traced: Trace,
    given: Mapping[str, Tensor],
    rule: Rule,
    make: Callable[[], Backward],
    *,
    leaves: tuple[str, ...] | None = None,
    note: str = "",
    warn: bool = True,
    key: str = "",
    seconds: float = SECONDS,
) -> Compiled:
    """Compile a forward pass with the backward pass that is made when it is needed.

    Args:
        traced: the forward pass.
        given: the tensors to work on, by the inputs' names; others start as they were traced.
        rule: how parameters are updated.
        make: makes the backward pass.
        leaves: the names of the parameters; by default all leaves of the trace.
        note: what a person should know whatever the engine is.
        warn: tell in a warning where native code cannot be.
        key: what was made of an equal program is kept under it; empty where nothing is.
        seconds: how long making native code may take.
    """
    from handgrad.native import making
    from handgrad.native.drawing import drawing

    leaves, lines = making.leaves_of(traced) if leaves is None else leaves, cache(make)
    inputs = inputs_of(traced, given)
    tensors = working(inputs, leaves, rule.optimiser)
    made = (lambda: traced, lines, forms_of(inputs), leaves, rule.optimiser, tensors)
    try:
        draw = drawing(traced)
        with budget(seconds):
            plan = plans.load(key) or making.planned(lines(), leaves, rule, key)
            library = build(plan.unit.source)
    except (CannotLower, CannotBuild) as reason:
        why = f"{reason.message.partition(chr(10))[0]}; this step runs in eager PyTorch"
        engine, found = Eager(lines(), leaves, rule, dict(tensors)), told([why, note], warn)
        return Compiled(*made, engine, found, states=states_of(traced))
    engine = bound(plan, library, tensors, {*given, *leaves}, draw)
    found = told([library.note, note], warn), plan.unit, dict(plan.limits)
    return Compiled(*made, engine, *found, states=states_of(traced))


def inputs_of(traced: Trace, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a program reads: the tensors that are given, others as they were traced."""
    names = [name.name for name in traced.program.inputs]
    return {n: given[n] if n in given else laid_out(traced.values[n]) for n in names}


def laid_out(tensor: Tensor) -> Tensor:
    """Return a tensor with its entries in order; a sparse one has none."""
    return tensor.contiguous() if tensor.layout is torch.strided else tensor


def states_of(traced: Trace) -> tuple[str, ...]:
    """Return the names of the inputs that a step changes or draws by itself."""
    return (*traced.updates, *traced.draws)


def told(notes: Iterable[str], warn: bool) -> str:
    """Return notes as one, and give a warning of it if that is wanted."""
    text = "; ".join(filter(None, notes))
    if text and warn:
        warnings.warn(text, stacklevel=5)
    return text


def bound(
    plan: Plan,
    library: Library,
    tensors: Mapping[str, Tensor],
    theirs: set[str],
    draw: Draws | None = None,
) -> Native:
    """Return native code on tensors: on the caller's own as they are, on others laid out anew."""
    engine = Native(Bound(plan.unit, library, plan.inputs), draw)
    for name, tensor in {**tensors, **plan.constants}.items():
        engine.bind(name, tensor if name in theirs else tensor.contiguous())
    return engine


@dataclass
class Compiled:
    """A step that trains.

    Attributes:
        traced: makes the forward pass's trace, or returns it.
        make: makes the backward pass's lines.
        inputs: the shape and type of each tensor that the program reads, in order.
        leaves: the names of the parameters.
        tensors: by name; the parameters are the caller's own.
        engine: what does the steps.
        note: what a person should know, such as why it runs eagerly; empty if nothing.
        unit: the C code; None where there is none.
        limits: for inputs that are indices, how many entries they number.
        done: how many steps were done.
        states: the names of the inputs that a step changes or draws by itself.
    """

    traced: Callable[[], Trace]
    make: Callable[[], Backward]
    inputs: Mapping[str, Form]
    leaves: tuple[str, ...]
    optimiser: Optimiser
    tensors: dict[str, Tensor]
    engine: Native | Eager
    note: str = ""
    unit: Unit | None = None
    limits: dict[str, int] = field(default_factory=dict[str, int])
    done: int = 0
    states: tuple[str, ...] = ()

    @property
    def trace(self) -> Trace:
        """Return the forward pass, traced now if an equal call was compiled before.

        Raises:
            BadInput: it is no longer what was compiled.
        """
        return self.traced()

    @property
    def backward(self) -> Backward:
        """Return the lines of the backward pass."""
        return self.make()

    @property
    def backend(self) -> str:
        """Return `native` or `eager`."""
        return "native" if isinstance(self.engine, Native) else "eager"

    @property
    def source(self) -> str:
        """Return the C code, or the lines that run eagerly."""
        return self.unit.source if self.unit else self.backward.source

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters by name."""
        return {name: self.tensors[name] for name in self.leaves}

    @property
    def batch_names(self) -> tuple[str, ...]:
        """Return the names of the tensors that a step is given: not what it changes itself."""
        own = {*self.leaves, *self.states}
        return tuple(name for name in self.inputs if name not in own)

    def step(self, *batch: Tensor, lr: float | None = None, **named: Tensor) -> Tensor:
        """Do one step and return its loss [].

        Args:
            *batch: the tensors of the batch in the order of `batch_names`; those that are left out
                stay as they were.
            lr: the learning rate of this step, instead of the optimiser's.
            **named: tensors of the batch by name.

        Raises:
            BadInput: a tensor does not fit, or an index is out of range.
            Undecided: the loss is no finite number; nothing was updated.
        """
        for name, tensor in self.named(batch, named).items():
            check(name, tensor, self.inputs[name])
            self.refuse(name, tensor)
            self.tensors[name] = tensor
            self.engine.bind(name, tensor)
        loss = self.engine.step(self.numbers(self.done + 1, lr))
        if loss is None:
            from handgrad.native.loop import first_bad

            raise Undecided(
                f"the loss is no finite number at step {self.done + 1}; nothing was updated",
                why=first_bad(self.trace, self.tensors),
                hint="a smaller learning rate, or clip_norm=1.0",
            )
        self.done += 1
        return loss

    def run(self, steps: int, **options: Any) -> Run:
        """Do many steps.

        Args:
            steps: how many.
            **options: `data=`, `generator=`, `batch_size=`, `lr=`, `every=`, `on_step=`; see
                `handgrad.native.loop.Training`.
        """
        from handgrad.native.loop import Training

        return Training(self, steps, **options).run()

    def numbers(self, step: int, lr: float | None) -> Mapping[str, float]:
        """Return the optimiser's numbers of a step."""
        own = self.optimiser
        return own.numbers(step, own.lr if lr is None else lr)

    def refuse(self, name: str, tensor: Tensor) -> None:
        """Refuse indices out of range."""
        if name in self.limits:
            refuse_outside(name, tensor, self.limits[name])

    def named(self, batch: Iterable[Tensor], named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a batch by name.

        Raises:
            BadInput: there are too many, or a name is not the batch's.
        """
        names = self.batch_names
        given = list(batch)
        if len(given) > len(names):
            raise BadInput(f"{len(given)} tensors for a batch of {len(names)}: {', '.join(names)}")
        unknown = [name for name in named if name not in names]
        if unknown:
            raise BadInput(
                f"{unknown[0]} is no tensor of the batch, which has {', '.join(names) or 'none'}"
            )
        return dict(zip(names, given, strict=False)) | dict(named)


__all__ = ["Compiled", "compile", "from_backward"]
