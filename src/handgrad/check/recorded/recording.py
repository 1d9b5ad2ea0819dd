"""Record a whole file, forward and backward, as one program of straight lines."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch

from handgrad.check.recorded.layer import held, on_tensors
from handgrad.check.recorded.naming import Label
from handgrad.check.recorded.rounds import Rounds, losses_among
from handgrad.check.recorded.showing import only_shows
from handgrad.ir import Program
from handgrad.trace.calls import Called
from handgrad.trace.program import Assembly
from handgrad.trace.recorder import Recorder
from handgrad.trace.source import is_library, place_of
from handgrad.trace.values import Value, tensors_among, values_in

DEEPEST = 4  # containers in each other that are looked into
MOST = 5_000  # things that are looked at in one frame
EVERY = 200  # values after which it is asked whether a second round began
LEAVING = {"item", "tolist", "__float__", "numpy", "__array__"}
PLAIN = (bool, int, float, complex, str, bytes, type(None), type, types.ModuleType)


@dataclass(frozen=True)
class Step:
    """Where a line stands in the file: the line itself, and the calls that it stands in."""

    line: int
    calls: tuple[int, ...] = ()


@dataclass
class Recording:
    """One run of a file.

    Attributes:
        program: its lines, one for each call of torch's.
        values: every tensor.
        labels: what each is called, the outermost frame's names first.
        steps: where each was made.
        marked: those that the file itself asks gradients of.
        asked: those that autograd gave.
        still: those made under `no_grad` in a file whose other tensors have a graph.
        orders: when each was made or first seen.
        own: what the person's own graph has as gradients of the marked ones, as far as it tells.
        leaving: the values whose entries went where nothing is recorded: when, and at which line.
        losses: the names of the losses of the first round, none where no line makes one.
        until: when the loss of the next round was made, 0 where there is none.
        told: what was called on which inputs, where the file calls nothing itself.
        supplied: gradients that were given to it, with their forward values.
    """

    program: Program
    values: Mapping[str, torch.Tensor]
    labels: Mapping[str, tuple[Label, ...]]
    steps: Mapping[str, Step]
    marked: frozenset[str]
    asked: frozenset[str] = frozenset()
    still: frozenset[str] = frozenset()
    orders: Mapping[str, int] = field(default_factory=dict[str, int])
    leaving: tuple[tuple[str, int, int], ...] = ()
    own: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    losses: tuple[str, ...] = ()
    until: int = 0
    told: str = ""
    supplied: Mapping[str, str] = field(default_factory=dict[str, str])


class Over(BaseException):
    """A second round began: the first is what is judged, and training may have no end."""


class Whole(Recorder):
    """Record what is done to tensors, and what they are called in dicts, lists and objects."""

    def __init__(self, numpy: bool = False) -> None:
        super().__init__()
        self.numpy = numpy  # the file's arrays hold tensors
        self.marked: set[int] = set()
        self.flowing: set[int] = set()  # values that the person's own graph has a gradient of
        self.still: set[int] = set()  # values that were made under no_grad
        self.labels: dict[int, dict[tuple[int, str], Label]] = {}
        self.asked_of_autograd: set[int] = set()  # ids of what autograd gave
        self.holders: list[Any] = []  # kept, so that no id is used again
        self.rounds = Rounds()
        self.ran: set[types.CodeType] = set()
        self.leaving: list[tuple[Value, int, int]] = []  # into numbers, and into NumPy's own

    def note_read(self, called: Called) -> None:
        """Note that a tensor's entries go where nothing is recorded; to show them uses none."""
        super().note_read(called)
        value = self.current.get(id(called.args[0]))
        if value is None or called.name not in LEAVING or not value.tensor.is_floating_point():
            return
        theirs = [f for f in called.frames if "-packages" not in f.f_code.co_filename]
        if theirs and not called.place.only_checks and not only_shows(called):
            self.leaving.append((value, next(self.counter), theirs[0].f_lineno))

    def observe(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one call; what autograd gives is no line of the person's."""
        if self.numpy:
            func, args, kwargs = on_tensors(func, args, kwargs)
        if func is not torch.autograd.grad and not reads_grad(func):
            return super().observe(func, args, kwargs)
        with torch._C.DisableTorchFunction():
            result = func(*args, **kwargs)
        for given in result if isinstance(result, tuple | list) else (result,):
            if isinstance(given, torch.Tensor):
                self.asked_of_autograd.add(id(given))
                self.holders.append(given)
                if id(given) not in self.current:
                    self.input(given)
        return result

    def discover(self, frames: list[FrameType]) -> None:
        """Bind the names of the frames to the values that they now hold."""
        super().discover(frames)
        for depth, frame in enumerate(reversed(frames) if self.numpy else ()):
            place = place_of(frame)
            for name, thing in list(frame.f_locals.items()):
                tensor = held(thing)
                value = self.current.get(id(tensor)) if tensor is not thing else None
                if value is not None and self.bound.get((id(frame), name)) is not value:
                    self.bound[id(frame), name] = value
                    value.names.append((depth, name, id(frame), place))

    def keep(self, value: Value) -> None:
        """Note a value; what has a gradient is settled when all is known."""
        if value.requires and value.op is None:
            self.marked.add(id(value))
        if value.requires:
            self.flowing.add(id(value))
        if value.op is not None and not torch.is_grad_enabled():
            self.still.add(id(value))
        value.requires, value.edge = False, None
        super().keep(value)
        if len(self.values) % EVERY == 0 and not self.apart and self.rounds.second(self.values):
            raise Over

    def record(self, called: Called, result: Any, drew: bool = False) -> tuple[Value, ...]:
        """Record a call that makes new tensors; what is made of numbers alone names its dtype."""
        return super().record(with_dtype(called, result), result, drew)

    def adopt(self, mine: torch.Tensor, tensor: torch.Tensor) -> None:
        """Let the value that was recorded for a tensor of ours be the user's equal one."""
        super().adopt(mine, tensor)
        value = self.current[id(tensor)]
        value.requires, value.edge = False, None

    def resolve(
        self, tensor: torch.Tensor, frame: FrameType | None = None, node: Any = None
    ) -> Value:
        """Return the value that a tensor is now; note what it was read as, `params["W1"]`."""
        value = super().resolve(tensor, frame, node)
        if frame is not None and isinstance(node, ast.Subscript | ast.Attribute):
            label = read_as(node, frame)
            if label is not None:
                self.labels.setdefault(id(value), {}).setdefault((label.home, label.key), label)
        return value

    def observe_set(self, called: Called) -> Any:
        """Run `x.data = ...`: what is read from now on is another tensor."""
        result = called.func(*called.args, **called.kwargs)
        self.current.pop(id(called.args[0]), None)
        return result

    def on_return(self, frame: FrameType, event: str, _: Any) -> None:
        """Look into a frame of the user's that is about to go."""
        if "-packages" in frame.f_code.co_filename:
            return  # what a library does inside is told by its calls
        self.ran.add(frame.f_code)
        super().on_return(frame, event, _)
        if event == "return" and not self.busy and not is_library(frame.f_code.co_filename):
            with torch._C.DisableTorchFunction():
                self.look(frame.f_locals, depth_of(frame), place_of(frame).span.line)

    def look(self, names: Mapping[str, Any], depth: int, line: int) -> None:
        """Note what the tensors in the containers among some names are called."""
        seen: set[int] = set()
        for name, thing in list(names.items()):
            if name[:2] != "__" and not isinstance(held(thing), (torch.Tensor, *PLAIN)):
                for label, tensor in inside(thing, name, depth, line, seen):
                    value = self.current.get(id(tensor))
                    if value is not None:
                        self.labels.setdefault(id(value), {})[label.home, label.key] = label
                self.holders.append(thing)


def read_as(node: ast.Subscript | ast.Attribute, frame: FrameType) -> Label | None:
    """Return what a part of a container is called where it is read, None where it has no name."""
    known = {**frame.f_globals, **frame.f_locals}
    key: Any = node.attr if isinstance(node, ast.Attribute) else node.slice
    if isinstance(key, ast.Name):
        key = known.get(key.id)
    elif isinstance(key, ast.Constant):
        key = key.value
    path, base = [], node.value
    while isinstance(base, ast.Attribute):
        path.append(base.attr)
        base = base.value
    if not isinstance(key, str | int) or not isinstance(base, ast.Name) or base.id not in known:
        return None
    holder = known[base.id]
    for name in reversed(path):
        holder = getattr(holder, "__dict__", {}).get(name)
    if isinstance(held(holder), torch.Tensor) or isinstance(holder, PLAIN):
        return None
    named = path[0] if path else base.id
    text, line = ast.unparse(node), frame.f_lineno
    return Label(depth_of(frame), id(holder), named, str(key), text, line)


def with_dtype(called: Called, result: Any) -> Called:
    """Return a call that gives its dtype whatever torch's default is where it runs again."""
    of_tensors = next(tensors_among(called.args, called.kwargs), None) is not None
    if of_tensors or not isinstance(result, torch.Tensor):
        return called
    default = result.dtype is torch.float32 or not result.is_floating_point()
    if default or called.kwargs.get("dtype") is not None:
        return called
    return replace(called, kwargs={**called.kwargs, "dtype": result.dtype})


def reads_grad(func: Any) -> bool:
    """Tell whether a call reads a tensor's `.grad`."""
    return getattr(func, "__self__", None) is torch.Tensor.grad and func.__name__ == "__get__"


def depth_of(frame: FrameType) -> int:
    """Return how many frames of the user's are around one."""
    depth, outer = 0, frame.f_back
    while outer is not None:
        depth += not is_library(outer.f_code.co_filename)
        outer = outer.f_back
    return depth


def inside(
    thing: Any, path: str, depth: int, line: int, seen: set[int], level: int = 0
) -> Iterator[tuple[Label, torch.Tensor]]:
    """Yield the tensors in a container with what they are called."""
    if id(thing) in seen or level > DEEPEST or len(seen) > MOST:
        return
    seen.add(id(thing))
    named = path.rpartition(".")[2]
    for key, text, part in parts_of(thing, path):
        tensor = held(part)
        if isinstance(tensor, torch.Tensor):
            yield Label(depth, id(thing), named, key, text, line), tensor
        elif not isinstance(part, PLAIN):
            yield from inside(part, text, depth, line, seen, level + 1)


def parts_of(thing: Any, path: str) -> Iterable[tuple[str, str, Any]]:
    """Return what a container holds: how each is called, how it is read, and it."""
    if isinstance(thing, dict):
        return [(str(k), f"{path}[{k!r}]", v) for k, v in list(thing.items())]
    if isinstance(thing, list | tuple):
        return [(str(k), f"{path}[{k}]", v) for k, v in enumerate(thing)]
    home = getattr(type(thing), "__module__", "").partition(".")[0]
    known = getattr(thing, "__dict__", None)
    if not isinstance(known, dict) or (home in ("torch", "numpy") and not is_module(thing)):
        return []
    more = {**known.get("_parameters", {}), **known.get("_modules", {})} if is_module(thing) else {}
    return [(k, f"{path}.{k}", v) for k, v in {**known, **more}.items() if k[:1] != "_"]


def is_module(thing: Any) -> bool:
    """Tell whether something is a module of torch's."""
    return isinstance(thing, torch.nn.Module)


@dataclass
class Flat(Assembly):
    """Put a recording together as one line for each call."""

    known: set[int] = field(default_factory=set)

    def needed(self) -> list[Value]:
        """Return the values that something with a name is made from."""
        assert isinstance(self.recorder, Whole)
        every = self.recorder.values
        found: dict[int, Value] = {}
        stack = [v for v in every if v.names or id(v) in self.recorder.labels]
        stack += [value for value, *_ in self.recorder.leaving]
        stack += [value for value in every if id(value) in self.recorder.given]
        stack.append(self.output)
        while stack:
            value = stack.pop()
            if id(value) not in found:
                found[id(value)] = value
                if not self.is_input(value):
                    stack += [*values_in(value.args.values()), *value.group]
        return sorted(found.values(), key=lambda value: value.order)

    def clear_gradients(self) -> None:
        """Rename what is from outside and called as the gradient of another: `dout` to `dout_`."""
        known = {*self.names.values()}
        free = (value for value in self.recorder.values if id(value) not in self.recorder.given)
        for value in free:
            name = self.names.get(id(value), "")
            if value.op is None and name[:1] == "d" and name[1:] in known:
                while name in known:
                    name += "_"
                known.add(name)
                self.names[id(value)] = name

    def base_name(self, value: Value) -> str:
        """Return the name that a value was given with, else what the person calls it."""
        return self.recorder.given.get(id(value)) or super().base_name(value)

    def is_input(self, value: Value) -> bool:
        """Tell whether a value comes from outside the program."""
        return value.op is None or value.random

    def line_values(self, made: list[Value]) -> list[Value]:
        """Return the values that are lines: all of them."""
        return made

    def together(self, value: Value) -> tuple[Value, ...]:
        """Return the outputs of one call."""
        return value.group if len(value.group) > 1 else (value,)

    def is_cut(self, value: Value) -> bool:
        """Tell that gradients may flow through every call: which do is settled later."""
        return False

    def verbatim(self, line: Any, value: Value, place: Any) -> Any:
        """Return the line as the table spells it: names of the file's mean several things."""
        return line


def recording(recorder: Whole) -> tuple[Recording, dict[str, Value]]:
    """Return what was recorded, and the values behind its names."""
    with torch._C.DisableTorchFunction():
        made = (value for value in recorder.values if value.op is not None)
        last = max(made, key=lambda value: value.order)
        still = recorder.still if recorder.flowing else set[int]()
        program, by_name = Flat(recorder, last, False).program()
        called = {id(value): name for name, value in by_name.items()}
        losses, until = losses_among(by_name.values(), recorder.labels)
        found = Recording(
            program,
            {name: value.data for name, value in by_name.items()},
            {name: labels_of(value, recorder) for name, value in by_name.items()},
            {name: step_of(value) for name, value in by_name.items()},
            frozenset(n for n, v in by_name.items() if id(v) in recorder.marked),
            frozenset(n for n, v in by_name.items() if id(v.tensor) in recorder.asked_of_autograd),
            frozenset(n for n, v in by_name.items() if id(v) in still),
            {name: value.order for name, value in by_name.items()},
            tuple((called[id(v)], at, line) for v, at, line in recorder.leaving if id(v) in called),
            losses=tuple(called[id(loss)] for loss in losses),
            until=until,
        )
        return found, by_name


def labels_of(value: Value, recorder: Whole) -> tuple[Label, ...]:
    """Return what a value is called, the outermost frame's names first."""
    plain = [
        Label(depth, home, "", name, name, place.span.line)
        for depth, name, home, place in value.names
    ]
    inner = recorder.labels.get(id(value), {}).values()
    return tuple(sorted([*plain, *inner], key=lambda label: label.depth))


def step_of(value: Value) -> Step:
    """Return where a value was made: in the file itself, whatever it calls beside it."""
    file = value.frames[0][1].span.file if value.frames else ""
    lines = [place.span.line for _, place in value.frames if place.span.file == file]
    return Step(lines[-1], tuple(lines[:-1])) if lines else Step(0)
