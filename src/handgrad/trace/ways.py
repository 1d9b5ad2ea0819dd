"""The ways in: a function, a module, a file, a `with` block."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from types import FrameType
from typing import Any

import torch

from handgrad.errors import BadInput
from handgrad.ir import Program
from handgrad.patience import patience
from handgrad.threads import threads_for
from handgrad.trace.arguments import name_arguments
from handgrad.trace.blind import Look, Watching
from handgrad.trace.calls import NoDerivative
from handgrad.trace.hooks import carry_hooks, refuse_accumulating
from handgrad.trace.keeping import gradients_of, is_large, kept, let_go, outside
from handgrad.trace.output import (
    dtype_name,
    last_output,
    pick_output,
    refuse_complex,
    refuse_upstream,
)
from handgrad.trace.outside import Outside
from handgrad.trace.program import Assembly
from handgrad.trace.recorder import Recorder
from handgrad.trace.rerun import rerun_of
from handgrad.trace.result import Trace
from handgrad.trace.source import caller, is_library, place_of
from handgrad.trace.truth import Proof, no_gradient, respelled
from handgrad.trace.values import Note, Value


def trace(
    forward: Callable[..., Any] | torch.nn.Module,
    *args: Any,
    wrt: Iterable[str] | None = None,
    upstream: torch.Tensor | None = None,
    **kwargs: Any,
) -> Trace:
    """Record a forward pass on its own tensors.

    Args:
        forward: a function or module; it returns a scalar loss, or any tensor with `upstream`.
        *args: its arguments; floating-point tensors are the leaves.
        wrt: names of the arguments or parameters to take as leaves instead.
        upstream: the gradient of the output, in its shape; 1 for a scalar.
        **kwargs: more arguments.

    Raises:
        BadInput: the forward pass cannot be traced; the message says which line and why.
    """
    wrt = None if wrt is None else tuple(wrt)
    state = torch.get_rng_state()
    with patience("tracing"):
        found, _ = recorded(forward, args, kwargs, wrt, upstream)
    return replace(found, rerun=rerun_of(forward, args, kwargs, wrt, state))


def trace_telling(
    forward: Callable[..., Any] | torch.nn.Module, args: Any, kwargs: Any, wrt: Iterable[str]
) -> tuple[Trace, bool, tuple[Look, ...]]:
    """Trace a forward pass; tell whether other values give the same program, and what looked."""
    watching = Watching()
    found, recorder = recorded(forward, args, kwargs, wrt, watching=watching)
    blind = not watching.seen and not recorder.reads
    return found, blind, tuple(recorder.reads)


def recorded(
    forward: Callable[..., Any] | torch.nn.Module,
    args: Any,
    kwargs: Any,
    wrt: Iterable[str] | None,
    upstream: torch.Tensor | None = None,
    watching: Watching | None = None,
) -> tuple[Trace, Recorder]:
    """Trace a forward pass on copies of its tensors."""
    target = forward.forward if isinstance(forward, torch.nn.Module) else forward
    named = name_arguments(target, args, kwargs)
    wanted = wanted_leaves(named, forward, wrt)
    outside = Outside(forward)
    marked = {n for n, t in named.items() if t.requires_grad}
    while True:
        recorder = Recorder(makes_leaves=False)
        try:
            with state_restored(forward, recorder):
                result = record_once(recorder, forward, args, kwargs, named, wanted, watching)
                recorder.reads += (changes := list(outside.changed()))
                recorder.notes += [Note("state", None, f"{c.where}: {c.text}") for c in changes]
                output = pick_output(recorder, result)
                found = finish(recorder, output, upstream)
            outside.restore()
            return found, recorder
        except NoDerivative as error:  # class weights, or what is read as NumPy
            unasked = {v.hint for v in error.leaves} & set(named) - marked
            if wrt is not None or not wanted & unasked or wanted <= unasked:
                raise no_gradient(error.error, recorder.writes) from None
        except RuntimeError as error:  # `x -= x.mean()` of an argument that needs no gradient
            unasked = wanted & set(named) - marked
            if not re.search("in-?place|^Inference tensors", str(error)):
                raise  # the user's own
            others = wanted - unasked or captured_names(forward)
            if wrt is not None or not unasked or not others:
                raise changed_leaf(error) from error
        wanted -= unasked
        outside.rewind()


def changed_leaf(error: RuntimeError) -> BadInput:
    """Say which line writes to a tensor that it must not write to, or saves one it must not."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [frame for frame in frames if not is_library(frame.f_code.co_filename)]
    place = place_of(own[-1]) if own else None
    kept = str(error).startswith("Inference")
    copied = "write the result to a new name, or to a copy (`.clone()`)"
    return BadInput(
        str(error).partition(". ")[0].rstrip("."),
        where=str(place.span) if place else "",
        why=place.text if place else "",
        hint="use torch.no_grad() instead of torch.inference_mode()" if kept else copied,
    )


def record_once(
    recorder: Recorder,
    forward: Any,
    args: Any,
    kwargs: Any,
    named: Mapping[str, torch.Tensor],
    wanted: set[str],
    watching: Watching | None,
) -> Any:
    """Run a forward pass whose leaves are known, and return what it returns."""
    swap: dict[int, torch.Tensor] = {}
    for name, tensor in named.items():
        fresh = tensor.detach().clone().requires_grad_(name in wanted)
        carry_hooks(tensor, fresh)
        swap[id(tensor)] = fresh
        recorder.copies.add(id(fresh))
        if watching:
            watching.given(fresh)
        recorder.input(fresh, name, leaf=name in wanted)
    if isinstance(forward, torch.nn.Module):
        note_parameters(recorder, forward, wanted)
    recorder.hints |= captured_names(forward)
    args, kwargs = replaced(args, swap), replaced(kwargs, swap)
    with watching or nullcontext():
        buffers = dict(forward.named_buffers()) if isinstance(forward, torch.nn.Module) else {}
        result = run_recorded(recorder, forward, args, kwargs)
        for name, buffer in buffers.items():  # `self.mean = 0.9 * self.mean + ...` changes it too
            now = forward.get_buffer(name)
            if now is not buffer and (value := recorder.current.get(id(now))) is not None:
                recorder.current[id(buffer)] = value
        return result


@contextmanager
def state_restored(forward: Any, recorder: Recorder) -> Iterator[None]:
    """Leave a module's buffers and parameters as they were: a trace is no step of training."""
    modules = list(forward.modules()) if isinstance(forward, torch.nn.Module) else []
    own = [(m._buffers, n, b) for m in modules for n, b in m._buffers.items() if b is not None]
    before = [buffer.detach().clone() for _, _, buffer in own]
    try:
        yield
    finally:
        with torch.no_grad():
            for (home, name, buffer), value in zip(own, before, strict=True):
                buffer.copy_(value)
                home[name] = buffer
            for parameter, value in reversed(recorder.first_values):
                parameter.copy_(value)


def run_recorded(recorder: Recorder, forward: Any, args: Any, kwargs: Any) -> Any:
    """Call the forward pass under the recorder."""
    with torch.enable_grad(), recorder:
        return forward(*args, **kwargs)


def wanted_leaves(
    named: Mapping[str, torch.Tensor], forward: Any, wrt: Iterable[str] | None
) -> set[str]:
    """Return the names of the leaves.

    Raises:
        BadInput: `wrt` names something unknown, or something that has no gradient.
    """
    parameters = dict(forward.named_parameters()) if isinstance(forward, torch.nn.Module) else {}
    known = {**named, **{name.replace(".", "_"): p for name, p in parameters.items()}}
    for name in list(known) if wrt is None else wrt:
        if name not in known:
            raise BadInput(f"wrt names {name!r}, which is no argument: {', '.join(known)}")
        tensor = known[name]
        if tensor.is_complex():
            raise BadInput(
                f"{name} is complex ({tensor.dtype}); handgrad works on real tensors",
                hint="pass real and imaginary part as two real tensors",
            )
        if wrt is not None and not tensor.is_floating_point():
            raise BadInput(
                f"{name} has dtype {tensor.dtype}, and only floating-point tensors have gradients",
                hint=f"leave {name} out of wrt, or pass {name}.float()",
            )
    if wrt is not None:
        chosen = set(wrt)
    else:
        floats = {n for n, t in named.items() if t.is_floating_point()}
        marked = {n for n in floats if named[n].requires_grad}
        chosen = marked or {n for n in floats if named[n].layout is torch.strided}
        chosen |= {n for n, t in known.items() if n not in named and t.requires_grad}
    for name in chosen:
        if known[name].layout is not torch.strided:
            raise BadInput(
                f"{name} is sparse ({known[name].layout}); handgrad has gradients of dense tensors",
                hint=f"pass {name}.to_dense(), or a {name} that needs no gradient",
            )
    if not chosen:
        raise BadInput(
            "no argument is a floating-point tensor, so nothing has a gradient",
            why=", ".join(f"{name} is {dtype_name(t)}" for name, t in known.items()),
            hint="pass parameters as float tensors",
        )
    return chosen


def captured_names(forward: Any) -> dict[int, str]:
    """Return names, by id, for the parameters of modules that a function closes over."""
    function = getattr(forward, "__func__", forward)
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    scope = {
        name: function.__globals__[name] for name in code.co_names if name in function.__globals__
    }
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # empty as yet
            scope[name] = cell.cell_contents
    found: dict[int, str] = {}
    for name, thing in scope.items():
        if isinstance(thing, torch.nn.Module):
            found |= {id(p): f"{name}.{inner}" for inner, p in thing.named_parameters()}
    return found


def note_parameters(recorder: Recorder, module: torch.nn.Module, wanted: set[str]) -> None:
    """Note a module's parameters and buffers as inputs."""
    for name, parameter in module.named_parameters():
        flat = name.replace(".", "_")
        recorder.input(parameter, flat, leaf=flat in wanted and parameter.requires_grad)
    for name, buffer in module.named_buffers():
        recorder.input(buffer, name.replace(".", "_"))


def replaced(value: Any, swap: Mapping[int, torch.Tensor]) -> Any:
    """Return nested arguments with the tensors exchanged for fresh leaves."""
    if isinstance(value, torch.Tensor):
        return swap.get(id(value), value)
    if isinstance(value, dict):
        return {key: replaced(part, swap) for key, part in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(replaced(part, swap) for part in value)
    return value


def finish(
    recorder: Recorder,
    output: Value,
    upstream: torch.Tensor | None = None,
    setup_is_input: bool = False,
) -> Trace:
    """Turn a recording into a trace: assemble the program, run it again, take the gradients.

    Raises:
        BadInput: the output is no scalar and there is no upstream gradient in its shape.
    """
    refuse_complex(recorder, output)
    refuse_upstream(output, upstream)
    refuse_accumulating(recorder)
    with torch._C.DisableTorchFunction():
        start = torch.ones_like(output.data) if upstream is None else upstream.detach()
        assembly = Assembly(recorder, output, setup_is_input)
        program, values = assembly.program()
        draws, updates = assembly.draws(program, values), assembly.updates(values)
        scalars, sizes = dict(assembly.scalars), assembly.sizes()  # those of draws too
        program = replace(program, scalars=scalars, sizes=sizes)
        theirs = outside(recorder)
        let_go(recorder, values.values())
        with threads_for(value.tensor for value in values.values()):
            proof = Proof(program, values, recorder.notes, keeps=not is_large(values.values()))
            proof.run(output, start, recorder)
        program = respelled(program, proof)
    held = {name: kept(value, recorder, theirs) for name, value in values.items()}
    return Trace(
        program=program,
        values=held,
        grads=gradients_of(proof, program, held, start),
        leaves=tuple(n.name for n in program.inputs if is_leaf(values[n.name])),
        upstream=start,
        given=upstream is not None,
        aliases=aliases(program, values),
        notes=tuple(dict.fromkeys(recorder.notes)),
        origins={
            n.name: recorder.given[id(values[n.name])]
            for n in program.inputs
            if id(values[n.name]) in recorder.given
        },
        draws=draws,
        updates=updates,
    )


def is_leaf(value: Value) -> bool:
    """Tell whether a gradient is wanted for an input."""
    return value.leaf and value.requires


def aliases(program: Program, values: Mapping[str, Value]) -> dict[str, str]:
    """Return the other names that the user bound to a value that the program has."""
    found: dict[str, str] = {}
    for name, value in values.items():
        for depth, other, *_ in value.names:
            if depth == 0 and other not in values:
                found[other] = name
    return found


class Recording(Trace):
    """A trace that is filled when its `with` block ends."""


@contextmanager
def recording(upstream: torch.Tensor | None = None) -> Iterator[Trace]:
    """Record the lines of a `with` block; leaves are the tensors that require a gradient.

    The output is `loss` if a line makes it, else the last tensor that depends on a leaf.
    """
    holder = object.__new__(Recording)
    frame: FrameType = caller(2)
    recorder = Recorder(root=frame)
    with torch.enable_grad(), recorder:
        yield holder
    output = last_output(recorder)
    holder.__dict__.update(vars(finish(recorder, output, upstream)))
