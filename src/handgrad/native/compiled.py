"""`hg.compile`: a forward pass as a step that trains, in native code where that can be."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from handgrad.derive import Backward, derive
from handgrad.errors import BadInput, HandgradError, Undecided
from handgrad.native import plans
from handgrad.native.bind import Bound, check
from handgrad.native.build import build
from handgrad.native.compilers import CannotBuild
from handgrad.native.engines import Eager, Native
from handgrad.native.labels import bounds_of, refuse_outside
from handgrad.native.loop import Run, Training, first_bad
from handgrad.native.lower.array import CTYPES, Array
from handgrad.native.lower.calls import CannotLower
from handgrad.native.lower.step import lower_step
from handgrad.native.lower.update import Rule, slot
from handgrad.native.plans import Plan
from handgrad.native.write.unit import Unit, write_unit
from handgrad.nn.optimisers import SGD, Optimiser
from handgrad.trace import Trace, trace
from handgrad.trace.ways import name_arguments

SHORT = 40  # backward lines that are simplified unasked


def compile(
    forward: Callable[..., Any] | torch.nn.Module,
    *args: Any,
    optimizer: Optimiser | None = None,
    clip_norm: float | None = None,
    wrt: Iterable[str] | None = None,
    simplified: bool | None = None,
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
        **kwargs: more arguments.

    Raises:
        BadInput: the forward pass cannot be traced, or a parameter is not contiguous.
    """
    given = tensors_of(forward, args, kwargs)
    wanted = list(wrt) if wrt is not None else parameters_of(forward, given)
    traced = trace(forward, *args, wrt=wanted, **kwargs)
    rule = Rule(optimizer or SGD(), clip_norm)
    return from_trace(traced, given, rule, lambda: in_lines(traced, simplified), simplified)


def in_lines(traced: Trace, simplified: bool | None) -> Backward:
    """Return a backward pass, cut short if that was asked for or does not take long."""
    backward = derive(traced)
    if simplified is False or (simplified is None and len(backward.lines) > SHORT):
        return backward
    from handgrad.simplify import simplify

    try:
        return simplify(backward)
    except HandgradError:
        if simplified:
            raise
        return backward


def tensors_of(forward: Any, args: Any, kwargs: Any) -> dict[str, Tensor]:
    """Return the tensors that a forward pass reads, by their names in the program."""
    module = isinstance(forward, torch.nn.Module)
    found = name_arguments(forward.forward if module else forward, args, kwargs)
    if module:
        owned = [*forward.named_parameters(), *forward.named_buffers()]
        found |= {name.replace(".", "_"): tensor for name, tensor in owned}
    return found


def parameters_of(forward: Any, given: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the parameters."""
    if isinstance(forward, torch.nn.Module):
        return [n.replace(".", "_") for n, p in forward.named_parameters() if p.requires_grad]
    floats = [name for name, tensor in given.items() if tensor.is_floating_point()]
    return [name for name in floats if given[name].requires_grad] or floats


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
    return from_trace(backward.trace, given, rule, lambda: backward, None, warn=warn, kept=False)


def from_trace(
    traced: Trace,
    given: Mapping[str, Tensor],
    rule: Rule,
    make: Callable[[], Backward],
    simplified: bool | None,
    *,
    warn: bool = True,
    kept: bool = True,
) -> Compiled:
    """Compile a forward pass with the backward pass that is made when it is needed.

    Args:
        traced: the forward pass.
        given: the tensors to work on, by the inputs' names; others start as they were traced.
        rule: how parameters are updated.
        make: makes the backward pass.
        simplified: which of them that is.
        warn: tell in a warning where native code cannot be.
        kept: what was made of an equal program may be taken instead, and is kept.
    """
    leaves = tuple(name for name in traced.leaves if name in traced.grads)
    tensors = working(traced, leaves, given, rule)
    lines = cache(make)
    key = plans.key_of(traced, leaves, rule, simplified) if kept else ""
    try:
        plan = plans.load(key) if key else None
        plan = plan or planned(lines(), leaves, rule, key)
        library = build(plan.unit.source)
    except (CannotLower, CannotBuild) as reason:
        first = reason.message.partition("\n")[0]
        note = f"{first}; this step runs in eager PyTorch"
        if warn:
            warnings.warn(note, stacklevel=4)
        eager = Eager(lines(), leaves, rule, dict(tensors))
        return Compiled(traced, lines, leaves, rule, tensors, eager, note)
    if library.note and warn:
        warnings.warn(library.note, stacklevel=4)
    engine = Native(Bound(plan.unit, library, plan.inputs))
    for name, tensor in {**tensors, **plan.constants}.items():
        own = name not in leaves and name not in given
        engine.bind(name, tensor.contiguous() if own else tensor)
    made = Compiled(traced, lines, leaves, rule, tensors, engine, library.note, plan.unit)
    made.limits |= plan.limits
    return made


def working(
    traced: Trace, leaves: tuple[str, ...], given: Mapping[str, Tensor], rule: Rule
) -> dict[str, Tensor]:
    """Return the tensors that a step works on, by name, with what the optimiser keeps."""
    tensors = {
        n.name: given[n.name] if n.name in given else traced.values[n.name].contiguous()
        for n in traced.program.inputs
    }
    for name in leaves:
        refuse_parameter(name, tensors[name])
        for memory in rule.optimiser.memory:
            tensors[slot(name, memory)] = torch.zeros_like(tensors[name], requires_grad=False)
    refuse_shared({name: tensors[name] for name in leaves})
    return tensors


def planned(backward: Backward, leaves: tuple[str, ...], rule: Rule, key: str) -> Plan:
    """Lower and write a step, and keep what was made.

    Raises:
        CannotLower: a line has no native code.
    """
    step = lower_step(backward, leaves, rule)
    unit = write_unit(step, {"loss": step.output})
    plan = Plan(unit, step.inputs, step.constants, bounds_of(step))
    plans.keep(key, plan)
    return plan


def refuse_parameter(name: str, tensor: Tensor) -> None:
    """Refuse a parameter that cannot be changed where it stands.

    Raises:
        BadInput: its dtype, device or layout does not allow that.
    """
    if tensor.dtype not in (torch.float32, torch.float64):
        short = str(tensor.dtype).removeprefix("torch.")
        raise BadInput(
            f"{name} is {short}; a step trains float32 and float64 parameters",
            hint=f"pass {name}.float()",
        )
    check(name, tensor, Array(tuple(tensor.shape), CTYPES[tensor.dtype], "input"))


def refuse_shared(tensors: Mapping[str, Tensor]) -> None:
    """Refuse parameters that share memory.

    Raises:
        BadInput: two of them do.
    """
    spans = sorted(
        (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size(), name)
        for name, t in tensors.items()
        if t.numel()
    )
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            raise BadInput(
                f"{one} and {other} share memory, and each would be updated",
                hint=f"pass {other}.clone(), or the same tensor under one name",
            )


@dataclass
class Compiled:
    """A step that trains.

    Attributes:
        trace: the forward pass.
        make: makes the backward pass's lines.
        leaves: the names of the parameters.
        tensors: by name; the parameters are the caller's own.
        engine: what does the steps.
        note: what a person should know, such as why it runs eagerly; empty if nothing.
        unit: the C code; None where there is none.
        limits: for inputs that are indices, how many entries they number.
        done: how many steps were done.
    """

    trace: Trace
    make: Callable[[], Backward]
    leaves: tuple[str, ...]
    rule: Rule
    tensors: dict[str, Tensor]
    engine: Native | Eager
    note: str = ""
    unit: Unit | None = None
    limits: dict[str, int] = field(default_factory=dict[str, int])
    done: int = 0

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
        """Return the names of the tensors that a step is given: all but the parameters."""
        return tuple(n.name for n in self.trace.program.inputs if n.name not in self.leaves)

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
            check(name, tensor, self.expected(name))
            self.refuse(name, tensor)
            self.tensors[name] = tensor
            self.engine.bind(name, tensor)
        loss = self.engine.step(self.numbers(self.done + 1, lr))
        if loss is None:
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
        return Training(self, steps, **options).run()

    def numbers(self, step: int, lr: float | None) -> Mapping[str, float]:
        """Return the optimiser's numbers of a step."""
        own = self.rule.optimiser
        return own.numbers(step, own.lr if lr is None else lr)

    def expected(self, name: str) -> Array:
        """Return the shape and type that an input has."""
        value = self.trace.values[name]
        return Array(tuple(value.shape), CTYPES[value.dtype], "input")

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
