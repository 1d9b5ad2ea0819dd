"""`function`: a `torch.autograd.Function` with the derived backward pass, few tensors saved."""

from __future__ import annotations

import hashlib
import inspect
import linecache
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from io import StringIO
from types import ModuleType
from typing import Any, cast

import torch
from torch.autograd.function import FunctionMeta

from handgrad.derive import Backward, derive
from handgrad.derive.verify import TOLERANCE, Rounding
from handgrad.emit import parameters
from handgrad.emit.body import Assembly
from handgrad.emit.branches import of_branches, refuse_values
from handgrad.emit.direct import direct
from handgrad.emit.graph import Graph
from handgrad.emit.parameters import Signature
from handgrad.emit.pytorch import refuse_externals
from handgrad.emit.regroup import regrouped
from handgrad.emit.residuals import choose
from handgrad.emit.resize import Setting, other_settings
from handgrad.emit.sizes import followed
from handgrad.emit.text import class_name, written
from handgrad.emit.trial import Trial
from handgrad.emit.vary import Pair
from handgrad.errors import BadInput, Mismatch
from handgrad.ir import Line
from handgrad.patience import patience
from handgrad.simplify import simplify
from handgrad.threads import threads_for
from handgrad.trace import Trace, trace
from handgrad.trace.arguments import bound_arguments
from handgrad.trace.values import Note


@dataclass(frozen=True)
class Source:
    """The text of a Function.

    Attributes:
        text: a file that needs nothing but torch.
        name: the class in it.
        saved: the names of the tensors that it saves.
    """

    text: str
    name: str
    saved: tuple[str, ...]


class Emitted(torch.autograd.Function):
    """What an emitted Function has beside `apply`: it is called as the forward pass is.

    A metaclass could do this too, but torch.compile knows no Function whose metaclass is its own.

    Attributes:
        source: a file that needs nothing but torch.
        residuals: the names of the tensors that it saves.
        parameters: how it is called.
        notes: what a person should know of the forward pass.
        unruled: the ops that autograd is called for, with their forward lines.
    """

    source: str
    residuals: tuple[str, ...]
    parameters: inspect.Signature
    notes: tuple[Note, ...] = ()
    unruled: tuple[tuple[str, Line], ...] = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Apply the Function; arguments may be given by keyword."""
        bound = cls.parameters.bind(*args, **kwargs)
        bound.apply_defaults()
        return cast(Any, cls).apply(*bound.args)


def function(
    forward: Callable[..., Any] | torch.nn.Module,
    *args: Any,
    wrt: Iterable[str] | None = None,
    backward: Backward | None = None,
    strict: bool = False,
    name: str = "",
    **kwargs: Any,
) -> type[Emitted]:
    """Write a `torch.autograd.Function` for a forward pass, and prove it against autograd.

    The class is called as the forward pass is, `f(x, w)`, or by `f.apply(x, w)`; `f.source` is a
    file to paste. It saves the fewest bytes from which backward can cheaply make what it reads.

    Args:
        forward: a function that returns one tensor; a module's parameters become arguments.
        *args: its arguments; floating-point tensors are the leaves.
        wrt: names of the arguments to take as leaves instead.
        backward: the backward pass to use, of a trace of the same call.
        strict: refuse ops that have no rule, instead of calling autograd for them.
        name: what to call it; by default as the forward pass is called.
        **kwargs: more arguments.

    Raises:
        BadInput: the forward pass cannot be written as one Function.
        Mismatch: what was written does not give autograd's gradients: a bug.
    """
    if backward is None:
        upstream = probe(forward, args, kwargs)
        traced = trace(forward, *args, wrt=wrt, upstream=upstream, **kwargs)
        backward = shortest(derive(traced, strict=strict))
    backward = backward.drawing()
    refuse_values(backward.trace)
    refuse_externals(backward)
    signature = parameters.of_function(backward.trace, forward, args, kwargs)
    signature = replace(signature, name=name or signature.name)
    given = parameters.given(forward, args, kwargs)
    told = patience("comparing the Function with autograd at other sizes")
    with told, threads_for(backward.trace.values.values()):
        return at_all_sizes(backward, signature, forward, given, wrt)


def at_all_sizes(
    backward: Backward,
    signature: Signature,
    forward: Callable[..., Any],
    given: dict[str, Any],
    wrt: Iterable[str] | None,
) -> type[Emitted]:
    """Return the class, which refuses the sizes where it is not what the forward pass is."""
    found: type[Emitted] | None = None
    values = backward.trace.values
    rest = [values[p.name] for p in signature.parameters[len(given) :]]

    def apply(*own: Any) -> Any:
        return cast(Any, found).apply(*own, *(tensor.clone() for tensor in rest))

    @cache
    def retrace(setting: Setting) -> Trace | None:
        return traced_again(forward, setting.given, wrt)

    def numbers(setting: Setting) -> Mapping[str, Any]:
        again = retrace(setting)
        return again.program.scalars if again else {}

    words = dict(zip(given, signature.names, strict=False))  # a module's own come after
    leaves = tuple(word for word, name in words.items() if name in backward.trace.leaves)
    pair = Pair(forward, apply, given, leaves)
    settings = other_settings(pair.takes, given, backward.trace)
    signature = followed(signature, given, settings, numbers)
    numbers_now = {name: given[word] for word, name in words.items()}
    signature, unknown = of_branches(signature, numbers_now, parameters.called(forward))
    found = made(backward, signature, numbers_now)
    trial = Trial(pair, signature, settings, backward.trace, retrace, unknown)
    return made(backward, trial.result(), numbers_now)


def traced_again(
    forward: Callable[..., Any], given: Mapping[str, Any], wrt: Iterable[str] | None
) -> Trace | None:
    """Trace a forward pass for other arguments; None if it cannot be."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        try:
            upstream = probe(forward, (), dict(given))
            return trace(forward, wrt=wrt, upstream=upstream, **given)
        except Exception:  # the user's own code, at a size that it may not take
            return None


def of_lines(found: Trace, name: str, *, strict: bool = False) -> type[Emitted]:
    """Return the class for lines that are no function: what they read are its arguments.

    Args:
        found: their trace.
        name: what to call it.
        strict: refuse ops that have no rule, instead of calling autograd for them.
    """
    if not found.given:  # a loss starts at 1; a Function's may start anywhere
        start = 0.75
        grads = {name: start * grad for name, grad in found.grads.items()}
        found = replace(found, grads=grads, upstream=start * found.upstream, given=True)
    backward = shortest(derive(found, strict=strict))
    return made(backward, parameters.of_file(found, name), found.program.scalars)


def shortest(backward: Backward) -> Backward:
    """Return the backward pass whose lines are emitted: simplified, its upstream kept."""
    return direct(simplify(backward, upstream=True))


def made(backward: Backward, signature: Signature, numbers: Mapping[str, Any]) -> type[Emitted]:
    """Return the class for a backward pass, run once and compared with autograd.

    Args:
        backward: its lines.
        signature: how the class is called.
        numbers: what its parameters were that are no tensors.
    """
    trace = backward.trace
    with threads_for(trace.values.values()):
        source = source_of(backward, signature)
        found = loaded(source)
        verify(found, backward, signature, numbers)
    found.notes = trace.notes
    found.unruled = tuple((name, trace.lines[place]) for name, place in backward.opaque)
    return found


def source_of(backward: Backward, signature: Signature) -> Source:
    """Return the text of a Function."""
    trace = backward.trace
    refuse_alias(trace)
    taken = {*trace.values, *trace.program.scalars, *signature.names, backward.start}
    taken |= {each.name for each in backward.lines}
    residuals = choose(Graph(backward), set(taken))
    backward = regrouped(backward, [node.name for node in residuals.again])
    graph = Graph(backward)
    residuals = choose(graph, taken | {each.name for each in backward.lines})
    body = Assembly(graph, residuals, signature).body()
    shapes = {name: tuple(value.shape) for name, value in trace.values.items()}
    shapes |= {each.name: each.shape for each in backward.lines}
    own = residuals.names | residuals.shared
    shapes |= {n.name: n.shape for n in own.values()}
    twice = once_only(backward, body.saved)
    unruled = tuple(dict.fromkeys(name for name, _ in backward.opaque))
    text = written(trace, signature, body, shapes, twice, unruled)
    return Source(text, class_name(signature.name), body.saved)


def once_only(backward: Backward, saved: tuple[str, ...]) -> str:
    """Say why the backward pass cannot be differentiated; empty if it can.

    Autograd follows what is saved to where it came from only for inputs and outputs.
    """
    whole = {n.name for n in backward.trace.program.inputs} | {backward.trace.output}
    inner = [name for name in saved if name not in whole]
    if len(inner) > 3:
        inner = [*inner[:2], f"{len(inner) - 2} more"]
    if inner:
        words = " and ".join(filter(None, [", ".join(inner[:-1]), inner[-1]]))
        return f"{words} {'is' if len(inner) == 1 else 'are'} neither input nor output"
    return "torch.autograd.functional.vjp stands in for a rule" if backward.opaque else ""


def refuse_alias(trace: Trace) -> None:
    """Refuse an output that is an input, or a view of one.

    Raises:
        BadInput: it is.
    """
    memory = trace.values[trace.output].untyped_storage()
    for name in trace.program.inputs:
        other = trace.values[name.name].untyped_storage()
        if memory.nbytes() and memory.data_ptr() == other.data_ptr():
            raise BadInput(
                f"{trace.output} is a view of {name.name}, and a Function must return a new tensor",
                where="function",
                why=trace.lines[-1].text,
                hint="end the forward pass in .clone(), or leave the view outside",
            )


def probe(
    forward: Callable[..., Any] | torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    """Run the forward pass once, and return an upstream gradient for what it gives.

    Raises:
        BadInput: it gives anything but one tensor, or changes an argument.
    """
    bound_arguments(forward, args, kwargs)
    state = torch.get_rng_state()
    own, words = copied(args), copied(kwargs)
    with torch.no_grad():
        output = forward(*own, **words)
    torch.set_rng_state(state)
    name = parameters.name_of(forward)
    if not isinstance(output, torch.Tensor):
        kind = type(output).__name__
        raise BadInput(
            f"{name} returns {kind}, and an emitted Function has one output, a tensor",
            where="function",
            hint="return the one tensor that gradients come from, a Function for each",
        )
    for value in [*own, *words.values()]:
        if isinstance(value, torch.Tensor) and value._version:
            raise BadInput(
                f"{name} changes an argument in place",
                where="function",
                hint="work on a copy, x = x.clone(), or write the result to a new name",
            )
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    return drawn.to(output.device, output.dtype)


def copied(value: Any) -> Any:
    """Return nested arguments with fresh tensors."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(part) for key, part in cast(dict[Any, Any], value).items()}
    if type(value) in (list, tuple):
        return type(value)(copied(part) for part in value)
    return value


def loaded(source: Source) -> type[Emitted]:
    """Return the class of a text, with its source and a call of its own."""
    mark = hashlib.sha256(source.text.encode()).hexdigest()[:12]
    module = ModuleType(f"handgrad_emitted_{mark}")
    file = f"<handgrad {source.name} {mark}>"
    exec(compile(source.text, file, "exec"), module.__dict__)
    sys.modules[module.__name__] = module  # torch.compile imports it, to guard its globals
    linecache.cache[file] = (len(source.text), None, source.text.splitlines(True), file)
    plain = getattr(module, source.name)
    head = inspect.signature(plain.forward)
    head = head.replace(parameters=list(head.parameters.values())[1:])
    own = {
        "__doc__": plain.__doc__,
        "__module__": plain.__module__,
        "source": source.text,
        "residuals": source.saved,
        "parameters": head,
    }
    return cast(type[Emitted], FunctionMeta(source.name, (plain, Emitted), own))


def verify(
    found: type[Emitted], backward: Backward, signature: Signature, numbers: Mapping[str, Any]
) -> None:
    """Run a Function on the traced tensors and compare with autograd.

    Raises:
        Mismatch: its output or a gradient differs.
    """
    trace = backward.trace
    values = {
        n: (t.clone() if n in trace.updates else t.detach()).requires_grad_(n in trace.leaves)
        for n, t in trace.values.items()
        if n in {name.name for name in trace.program.inputs}
    }
    given = [values.get(n, numbers.get(n)) for n in signature.names]
    before = torch.get_rng_state()
    with torch.enable_grad():
        if trace.rerun is not None:  # it draws what the forward pass drew
            torch.set_rng_state(trace.rerun.state)
        try:
            output: torch.Tensor = cast(Any, found).apply(*given)
        finally:
            torch.set_rng_state(before)
        total = (output * trace.upstream).sum()
        leaves = [n for n in trace.leaves if n in trace.grads]
        grads = torch.autograd.grad(total, [values[n] for n in leaves], allow_unused=True)
    compare(trace.output, output.detach(), trace.values[trace.output])
    reach = max((float(g.abs().max()) for g in trace.grads.values() if g.numel()), default=0.0)
    rounding = Rounding(backward)
    for name, grad in zip(leaves, grads, strict=True):
        compare(f"d{name}", grad, trace.grads[name], 1e-3 * reach, rounding)


def compare(
    name: str,
    got: torch.Tensor | None,
    truth: torch.Tensor,
    floor: float = 0.0,
    rounding: Rounding | None = None,
) -> None:
    """Compare a tensor with autograd's.

    Args:
        name: what it is called.
        got: the tensor.
        truth: autograd's.
        floor: what its magnitude is taken for at least.
        rounding: how far apart equal ones may be where summands cancel.

    Raises:
        Mismatch: it differs.
    """
    if got is not None and got.shape == truth.shape and got.dtype == truth.dtype:
        if not truth.numel():
            return
        scale = max(float(truth.abs().max()), floor)
        off = float((got - truth).abs().max())
        if off <= TOLERANCE * torch.finfo(truth.dtype).eps * scale:
            return
        if rounding and off <= max(rounding.reach.get(name, 0), rounding.of_autograd.get(name, 0)):
            return
    raise Mismatch(
        f"the emitted {name} is not autograd's",
        why="nothing" if got is None else f"{list(got.shape)} {got.dtype}",
        hint="report this forward pass: it is a bug in the emitter",
    )
