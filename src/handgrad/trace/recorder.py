"""The recorder: every torch call of the user's lines, and the name its result is bound to."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from handgrad.ir import Op
from handgrad.ops import TABLE
from handgrad.ops.inplace import is_inplace
from handgrad.trace.blind import Look, looked
from handgrad.trace.calls import (
    Again,
    Called,
    Scopes,
    apart_from,
    plain,
    public,
    refuse_autocast,
    run,
    transformed,
)
from handgrad.trace.casts import cast_apart
from handgrad.trace.code import code_of
from handgrad.trace.counting import Axis
from handgrad.trace.drafts import Drafts
from handgrad.trace.draws import Generators, draw_apart
from handgrad.trace.expand import expandable, expanded, opens
from handgrad.trace.foreign import foreign_call, template_op
from handgrad.trace.functions import Functions
from handgrad.trace.inner_gradient import take_inner_gradient
from handgrad.trace.source import Place, frame_names, is_library, place_of, user_frames
from handgrad.trace.unseen import note_caller, read_unseen, within_transform
from handgrad.trace.values import (
    Note,
    Stale,
    Value,
    is_parameter,
    outputs_of,
    tensors_among,
    values_in,
)
from handgrad.trace.writes import (
    Written,
    memory,
    record_states,
    record_write,
    renewed,
    states_before,
)

READERS = {"item", "tolist", "__float__", "__int__", "__bool__", "__index__", "numpy", "__array__"}
CUTTERS = {"detach", "data", "detach_"}
SHAPE_READERS = {
    *("shape", "ndim", "dtype", "device", "requires_grad", "layout", "size", "numel", "nelement"),
    *("dim", "ndimension", "__len__", "stride", "is_floating_point", "is_complex", "element_size"),
    *("itemsize", "nbytes", "is_contiguous", "is_leaf", "is_cuda", "is_cpu", "requires_grad_"),
}
HOOKS = {"register_hook", "register_post_accumulate_grad_hook"}
UNSET = {  # memory that nobody has written holds anything: it is zero here
    torch.empty: torch.zeros,
    torch.empty_like: torch.zeros_like,
    torch.Tensor.new_empty: torch.Tensor.new_zeros,
}


class Recorder(TorchFunctionMode):
    """Record a run of the user's lines.

    Args:
        root: the frame that holds the lines, None when a function is called.
        makes_leaves: a tensor that the lines themselves mark as requiring a gradient is a leaf.
    """

    def __init__(self, root: FrameType | None = None, makes_leaves: bool = True) -> None:
        super().__init__()
        self.root, self.makes_leaves = root, makes_leaves
        self.values: list[Value] = []
        self.current: dict[int, Value] = {}
        self.bound: dict[tuple[int, str], Value] = {}
        self.frame_keys: dict[int, FrameType] = {}
        self.asked: dict[int, int] = {}  # the last instruction at which a frame was asked
        self.stale: dict[int, Stale] = {}
        self.notes: list[Note] = []
        self.given: dict[int, str] = {}  # the caller's name of a value, by its id
        self.reads: list[Look] = []  # calls that may have told the forward pass a tensor's values
        self.scalars: dict[str, list[Any]] = {}
        self.counts: dict[str, list[Axis | None]] = {}  # the axis that each scalar is the size of
        self.hints: dict[int, str] = {}  # names of what may be read and is no argument, by its id
        self.externals: dict[str, Any] = {}  # the user's own functions that lines call, by name
        self.copies: set[int] = set()  # ids of tensors that nobody else has
        self.first_values: list[tuple[torch.Tensor, torch.Tensor]] = []  # of leaves, before a write
        self.writes: list[Place] = []  # the statements that wrote in place
        self.read: set[int] = set()  # ids of the values that something was made from
        self.counter = itertools.count()
        self.apart = False  # what is recorded now is no part of the user's own graph
        self.memories: dict[int, list[Value]] = {}  # the values on each piece of memory
        self.busy = False  # our own work returns from functions too
        self.outer: Drafts | None = None  # the user's call whose inner calls are recorded
        self.scopes: Scopes = {}  # what statements that call torch.func could read
        self.functions = Functions(self)
        self.previous: Any = None

    def __enter__(self) -> Recorder:
        self.previous = sys.getprofile()
        sys.setprofile(self.on_return)
        self.functions.watch()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        sys.setprofile(
            self.previous if callable(self.previous) else None
        )  # a profiler's own is not
        self.functions.release()
        super().__exit__(*error)
        if self.root is not None:
            self.discover([self.root])
        self.frame_keys.clear()  # a frame holds all its tensors, and through its callers us

    def on_return(self, frame: FrameType, event: str, _: Any) -> None:
        """Look for new names in a frame of the user's that is about to go."""
        if event == "return" and not self.busy and not is_library(frame.f_code.co_filename):
            inner = frame if frame is not self.root else None
            if inner is not None and inner.f_code.co_name != "<lambda>":
                if code_of(inner).stores_outside:
                    self.asked.clear()
                with torch._C.DisableTorchFunction():
                    self.discover(user_frames(frame, self.root))

    def input(self, tensor: torch.Tensor, name: str = "", leaf: bool = False) -> Value:
        """Note a tensor that comes from outside."""
        value = Value(tensor, next(self.counter), leaf=leaf, hint=name)
        value.holds(tensor)
        value.depends, value.passed = value.requires, bool(name)
        if name:
            self.given[id(value)] = name
        self.keep(value)
        return value

    def keep(self, value: Value) -> None:
        """Note a value as what its tensor now is."""
        self.values.append(value)
        self.current[id(value.tensor)] = value
        self.memories.setdefault(memory(value.tensor), []).append(value)
        if value.op is None:
            self.asked.clear()  # names that were stored before may mean it

    def sharing(self, tensor: torch.Tensor) -> list[Value]:
        """Return the values that lie on the memory of a tensor."""
        where = memory(tensor)
        known = self.memories.get(where, []) if where else []
        return [value for value in known if memory(value.tensor) == where]

    def discover(self, frames: list[FrameType]) -> None:
        """Bind the names of the frames (innermost first) to the values they now hold."""
        for depth, frame in enumerate(reversed(frames)):
            key = id(frame)
            self.frame_keys.setdefault(key, frame)
            for name, tensor in frame_names(frame, self.stored(frame, key)):
                value = self.current.get(id(tensor))
                if value is None or self.bound.get((key, name)) is value:
                    continue
                self.bound[key, name] = value
                place = next((p for k, p in value.frames if k == key), None)
                value.names.append((depth, name, key, place or place_of(frame)))

    def stored(self, frame: FrameType, key: int) -> list[str] | None:
        """Return the names that a frame may have stored since it was last asked, None for any."""
        last, now = self.asked.get(key), frame.f_lasti
        self.asked[key] = now
        return None if last is None else code_of(frame).stored(last, now)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        busy, self.busy = self.busy, True
        sys.setprofile(None)  # which would be told of each call of ours
        try:
            return self.observe(func, args, kwargs or {})
        finally:
            self.busy = busy
            if not busy:
                sys.setprofile(self.on_return)

    def observe(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one torch call and record what it made."""
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        frames = user_frames(sys._getframe(2), self.root)
        if not frames or transformed(args) or within_transform(frames[0]):
            if frames:
                note_caller(self.scopes)
            result = func(*args, **kwargs)
            self.note_plain(name, result)
            return result
        self.discover(frames)
        refuse_autocast(frames)
        func = public(func)
        args = args if func is torch.tensor else plain(args)  # which warns where it gets a tensor
        called = Called(UNSET.get(func, func), name, args, plain(kwargs), frames)
        args, kwargs = called.args, dict(called.kwargs)
        if name == "data" and getattr(func, "__name__", "") == "__set__":
            return self.observe_set(called)
        if func is torch.autograd.grad:
            with self.inside(Drafts(self, frames[0], (), {})):
                return take_inner_gradient(self, called)
        if name == "backward":
            return func(*args, **{**kwargs, "retain_graph": True} if len(args) < 3 else kwargs)
        if name in HOOKS:
            self.note("hook", called)
        writes = is_inplace(name, kwargs) or isinstance(kwargs.get("out"), torch.Tensor)
        if expandable(func) and opens(func, args, kwargs):
            return self.observe_inside(called)
        return self.observe_write(called) if writes else self.observe_call(called)

    def observe_call(self, called: Called) -> Any:
        """Run a call that makes new tensors, and record it."""
        generators = Generators(called.kwargs)
        given = tensors_among(called.args, called.kwargs)
        versions = [(t, t._version) for t in given if not t.is_inference()]
        states = states_before(called)
        result = cast_apart(called.name, called.args, called.kwargs, run(self, called))
        tensors = outputs_of(result)
        if called.name in READERS:
            self.note_read(called)
        self.note_plain(called.name, result)
        if not tensors or called.name in ("grad", "requires_grad_", "retain_grad"):
            return result
        if len(tensors) == 1 and any(tensors[0] is arg for arg in called.args):
            return result
        result = apart_from(result, called)
        if generators.moved() and any(t.requires_grad and not t.is_leaf for t in tensors):
            with self.inside(self.outer or self.drafts(called)):
                draw_apart(self, called, generators, result)
            return result
        self.record(called, result, generators.moved())
        changed = [t for t, version in versions if t._version != version]
        if changed or states:  # torch does not count what it writes into statistics
            record_states(self, called, states, changed)
        return result

    def observe_set(self, called: Called) -> Any:
        """Run `x.data = ...`, which a leaf may be given its first values by.

        Raises:
            BadInput: the tensor was read before.
        """
        value = self.current.get(id(called.args[0]))
        if value is not None and (value.op is not None or id(value) in self.read):
            raise called.refused(
                "a tensor's .data is set after it was read",
                hint="write the new tensor to a name of its own",
            )
        target = called.args[0]
        self.first_values.append((target, target.detach().clone()))
        return called.func(*called.args, **called.kwargs)

    def observe_write(self, called: Called) -> Any:
        """Run a call that changes a tensor in place, and record the tensor's new version."""
        written = Written(self, called)
        generators = Generators(called.kwargs)
        result = called.func(*called.args, **called.kwargs)
        self.writes.append(called.place)
        with self.inside(self.outer or self.drafts(called)):
            record_write(self, written, generators.moved())
        return result

    def observe_inside(self, called: Called) -> Any:
        """Run a function of torch's that is written in Python, recording the calls it makes."""
        with self.inside(self.outer or self.drafts(called)), Again(self):
            return expanded(called.func)(*called.args, **called.kwargs)

    @contextmanager
    def inside(self, outer: Drafts) -> Iterator[None]:
        """Read the scalars of calls that no one wrote from the call of the user's around them."""
        before, self.outer = self.outer, outer
        try:
            yield
        finally:
            self.outer = before

    def drafts(self, called: Called) -> Drafts:
        """Return what reads a call's arguments in the user's text."""
        return Drafts(self, called.frames[0], called.args, called.kwargs, self.outer)

    def record(self, called: Called, result: Any, drew: bool = False) -> tuple[Value, ...]:
        """Record a call that makes new tensors."""
        tensors = outputs_of(result)
        if len(tensors) == 1 and is_parameter(tensors[0]):
            value = self.input(tensors[0], leaf=self.makes_leaves)
            value.frames = called.places
            return (value,)
        func, args, kwargs = called.func, called.args, called.kwargs
        given = (*tensors_among(args, kwargs), *tensors)
        plain_kind = called.name not in CUTTERS and all(t.layout is torch.strided for t in given)
        found = TABLE.match(func, args, kwargs) if plain_kind else None
        if found is None:
            op, bound = foreign_call(func, args, kwargs, isinstance(result, tuple | list))
        else:
            op, bound = found
        drafts = self.drafts(called)
        drafted = {key: drafts.draft(value, key) for key, value in bound.items()}
        if drafts.unspelled and not drew and not any(t.requires_grad for t in tensors):
            return tuple(self.constant(t, called) for t in tensors)  # torch.tensor(array)
        made = self.add(op, drafted, called.places, result)
        for value in made:
            value.random = drew
        if not drew:
            self.note_cut(called, tensors)
        return made

    def constant(self, tensor: torch.Tensor, called: Called) -> Value:
        """Note a tensor whose making has no text: it is an input of the program."""
        value = self.input(tensor)
        value.frames = called.places
        return value

    def add(self, op: Op, args: Mapping[str, Any], places: Any, result: Any) -> tuple[Value, ...]:
        """Add the values of one call."""
        tensors = outputs_of(result)
        several = isinstance(result, tuple | list)
        read = list(values_in(args.values()))
        depends = any(value.depends for value in read)
        made = tuple(
            Value(tensor, next(self.counter), op, args, place if several else None, frames=places)
            for place, tensor in enumerate(tensors)
        )
        for value in made:
            value.group = made
            value.holds(value.tensor)
            if self.apart or (several and op.foreign):  # one result may lead to another inside
                value.edge = None
            value.depends = depends or value.requires
            value.passed = any(each.passed for each in read)
            if value.requires:
                self.read |= {id(each) for each in read}
            off = not torch.is_grad_enabled() or any(each.cut for each in read)
            value.cut = depends and not value.requires and off
            self.stale.pop(id(value.tensor), None)
            self.keep(value)
        return made

    def record_template(
        self, text: str, called: Called, args: Mapping[str, torch.Tensor], result: Any
    ) -> tuple[Value, ...]:
        """Record a text with operands in braces that is no single call of torch's."""
        drafted = {name: self.resolve(tensor) for name, tensor in args.items()}
        return self.add(template_op(text, args), drafted, called.places, result)

    def adopt(self, mine: torch.Tensor, tensor: torch.Tensor) -> None:
        """Let the value that was recorded for a tensor of ours be the user's equal one."""
        value = self.current.pop(id(mine))
        value.holds(tensor)
        if value.random:  # a draw is a constant, whatever it was drawn from
            value.requires, value.edge = False, None
        self.current[id(tensor)] = value
        self.memories.setdefault(memory(tensor), []).append(value)
        self.asked.clear()  # a name that was stored long ago now means this value

    def resolve(
        self, tensor: torch.Tensor, frame: FrameType | None = None, node: Any = None
    ) -> Value:
        """Return the value that a tensor is now.

        Raises:
            BadInput: its memory was written through a view, or no recorded line made it.
        """
        if (stale := self.stale.get(id(tensor))) is not None:
            renewed(self, tensor, stale, frame)
        value = self.current.get(id(tensor))
        if value is None and tensor.grad_fn is not None and frame is not None:
            return read_unseen(self, tensor, frame, node)
        marked = value is not None and value.op is not None and is_parameter(tensor)
        if value is None or (marked and self.makes_leaves):
            names = value.names if value is not None else []
            outside = value is None and tensor.is_leaf  # a parameter that the function closes over
            leaf = tensor.requires_grad and (self.makes_leaves or outside)
            value = self.input(tensor, leaf=leaf)
            value.names, value.hint = names, self.hints.get(id(tensor), "")
        return value

    def note(self, kind: str, called: Called) -> None:
        """Note something about a call for the person."""
        place = called.place
        if not self.apart:
            self.notes.append(Note(kind, place, f"{place}: {place.text}"))

    def note_read(self, called: Called) -> None:
        """Note that a tensor whose entries may be others was turned into a plain number."""
        value = self.current.get(id(called.args[0]))
        if value is None:
            return
        checks = looked(called.name).checks or called.place.only_checks
        if value.depends or (value.passed and not checks):
            self.note("branch" if called.name == "__bool__" else "item", called)

    def note_plain(self, name: str, result: Any) -> None:
        """Note a call whose result is no tensor, unless every tensor of the shape gives it."""
        if name not in SHAPE_READERS and not outputs_of(result):
            self.reads.append(looked(name))

    def note_cut(self, called: Called, made: tuple[torch.Tensor, ...]) -> None:
        """Note that an op's result no longer depends on what it was made from."""
        given = tensors_among(called.args, called.kwargs)
        needed = any(a.requires_grad and a.is_floating_point() for a in given)
        floats = [t for t in made if t.is_floating_point()]
        if needed and floats and not any(t.requires_grad for t in floats):
            self.note("detach" if called.name in CUTTERS else "cut", called)
