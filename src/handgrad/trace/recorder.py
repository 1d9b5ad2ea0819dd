"""The recorder: every torch call of the user's lines, and the name its result is bound to."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from handgrad.errors import BadInput
from handgrad.ir import Op
from handgrad.ops import TABLE
from handgrad.ops.inplace import functional, is_inplace
from handgrad.trace.code import code_of
from handgrad.trace.counting import Axis
from handgrad.trace.drafts import Drafts
from handgrad.trace.foreign import foreign_call
from handgrad.trace.source import (
    Place,
    frame_names,
    is_library,
    place_of,
    user_frames,
)

READERS = {"item", "tolist", "__float__", "__int__", "__bool__", "__index__", "numpy", "__array__"}
CUTTERS = {"detach", "data", "detach_"}
SHAPE_READERS = {
    *("shape", "ndim", "dtype", "device", "requires_grad", "layout", "size", "numel", "nelement"),
    *("dim", "ndimension", "__len__", "stride", "is_floating_point", "is_complex", "element_size"),
    *("itemsize", "nbytes", "is_contiguous", "is_leaf", "is_cuda", "is_cpu", "requires_grad_"),
}


@dataclass(eq=False)
class Value:
    """One tensor of the recorded run.

    Attributes:
        op: the row that made it, None for an input.
        args: the row's arguments: Values, Scalars, tuples of them.
        item: which output of the op it is, None if it is the only one.
        group: shared by the outputs of one call.
        frames: for each user frame of the call, outermost first, its key and statement.
        names: where it was bound: depth of the frame, name, key of the frame, statement.
    """

    tensor: torch.Tensor
    order: int
    op: Op | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    item: int | None = None
    group: tuple[Value, ...] = ()
    frames: tuple[tuple[int, Place], ...] = ()
    names: list[tuple[int, str, int, Place]] = field(default_factory=list)
    leaf: bool = False
    requires: bool = False
    snapshot: torch.Tensor | None = None
    hint: str = ""
    random: bool = False

    @property
    def data(self) -> torch.Tensor:
        """Return the tensor as it was when this value was made."""
        return (self.tensor if self.snapshot is None else self.snapshot).detach()

    @property
    def place(self) -> Place | None:
        """Return the statement, of the outermost frame, that made the value."""
        return self.frames[0][1] if self.frames else None


@dataclass(frozen=True)
class Note:
    """Something about the forward pass that a person should know."""

    kind: str
    place: Place | None
    text: str


@dataclass(frozen=True)
class Stale:
    """A tensor whose memory was written through another one."""

    made: Place | None
    written: Place | None


class Recorder(TorchFunctionMode):
    """Record a run of the user's lines.

    Args:
        root: the frame that holds the lines, None when a function is called.
    """

    def __init__(self, root: FrameType | None = None) -> None:
        super().__init__()
        self.root = root
        self.values: list[Value] = []
        self.current: dict[int, Value] = {}
        self.bound: dict[tuple[int, str], Value] = {}
        self.frame_keys: dict[int, FrameType] = {}
        self.asked: dict[int, int] = {}  # the last instruction at which a frame was asked
        self.stale: dict[int, Stale] = {}
        self.notes: list[Note] = []
        self.given: dict[int, str] = {}  # the caller's name of a value, by its id
        self.reads: list[str] = []  # calls that may have told the forward pass a tensor's values
        self.scalars: dict[str, list[Any]] = {}
        self.counts: dict[str, list[Axis | None]] = {}  # the axis that each scalar is the size of
        self.counter = itertools.count()
        self.busy = False  # our own work returns from functions too
        self.previous: Any = None

    def __enter__(self) -> Recorder:
        self.previous = sys.getprofile()
        sys.setprofile(self.on_return)
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        sys.setprofile(
            self.previous if callable(self.previous) else None
        )  # a profiler's own is not
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
        value.requires = tensor.requires_grad
        if name:
            self.given[id(value)] = name
        self.values.append(value)
        self.current[id(tensor)] = value
        self.asked.clear()  # names that were stored before may mean it
        return value

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
        try:
            return self.observe(func, args, kwargs or {})
        finally:
            self.busy = busy

    def observe(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one torch call and record what it made."""
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            name = getattr(getattr(func, "__self__", None), "__name__", name)
        frames = user_frames(sys._getframe(2), self.root)
        if not frames:
            result = func(*args, **kwargs)
            self.note_plain(name, result)
            return result
        self.discover(frames)
        inplace = is_inplace(name, kwargs)
        before = self.keep(args) if inplace else None
        result = func(*args, **kwargs)
        tensors = outputs_of(result)
        if name in READERS:
            self.note_read(name, args, frames)
        if before is not None:
            self.record_inplace(func, name, args, kwargs, frames, before)
            return result
        self.note_plain(name, result)
        if not tensors or name in ("grad", "requires_grad_", "retain_grad"):
            return result
        if not (len(tensors) == 1 and any(tensors[0] is arg for arg in args)):
            self.record(func, name, args, kwargs, frames, result)
        return result

    def record(
        self, func: Any, name: str, args: Any, kwargs: Any, frames: list[FrameType], result: Any
    ) -> None:
        """Record a call that makes new tensors."""
        places = tuple((id(frame), place_of(frame)) for frame in reversed(frames))
        found = None if name in CUTTERS else TABLE.match(func, args, kwargs)
        drafts = Drafts(self, frames[0], func, args, kwargs)
        if found is None:
            op, bound = foreign_call(func, args, kwargs, isinstance(result, tuple | list))
        else:
            op, bound = found
        tensors = outputs_of(result)
        if len(tensors) == 1 and tensors[0].is_leaf and tensors[0].requires_grad:
            self.input(tensors[0], leaf=True).frames = places
            return
        self.add(
            op, {key: drafts.draft(value, key) for key, value in bound.items()}, places, result
        )
        self.note_cut(name, args, kwargs, places, outputs_of(result))

    def add(self, op: Op, args: Mapping[str, Any], places: Any, result: Any) -> tuple[Value, ...]:
        """Add the values of one call."""
        tensors = outputs_of(result)
        several = isinstance(result, tuple | list)
        made = tuple(
            Value(
                tensor,
                next(self.counter),
                op,
                args,
                place if several else None,
                frames=places,
                requires=tensor.requires_grad,
                random=op.random,
            )
            for place, tensor in enumerate(tensors)
        )
        for value in made:
            value.group = made
            self.values.append(value)
            self.current[id(value.tensor)] = value
            self.stale.pop(id(value.tensor), None)
        return made

    def record_inplace(
        self, func: Any, name: str, args: Any, kwargs: Any, frames: list[FrameType], before: Any
    ) -> None:
        """Record a call that changes its first argument, as a new version of it."""
        target = args[0]
        places = tuple((id(frame), place_of(frame)) for frame in reversed(frames))
        old = self.resolve(target, frames[0], writing=args[2] if name == "__setitem__" else None)
        if old.snapshot is None:
            old.snapshot = before
        else:  # written through a view a moment ago: what it held is in the snapshot
            before = old.snapshot.detach().requires_grad_(old.requires).clone()
        if old.leaf:
            raise BadInput(
                f"{old.hint or 'a leaf'} is changed in place",
                where=str(places[0][1].span),
                why=f"{places[0][1].text}\nits gradient would belong to no value it had",
                hint="write the changed tensor to a new name",
            )
        self.current[id(before)] = old
        rewrite = functional(func, name)
        try:
            if rewrite is None:
                raise NotImplementedError
            with _Again(self):
                result = rewrite(before, *args[1:], **kwargs)
        except NotImplementedError:
            raise BadInput(
                f"no functional form is known for this in-place {name.strip('_')}",
                where=str(places[0][1].span),
                why=places[0][1].text,
                hint="write the result to a new name",
            ) from None
        made = self.current.pop(id(result))
        self.current.pop(id(before))
        made.snapshot = result.detach()
        made.tensor = target
        self.current[id(target)] = made
        self.asked.clear()  # a name that was stored long ago now means this value
        self.mark_stale(made, places[0][1])

    def keep(self, args: Any) -> torch.Tensor | None:
        """Copy the tensor that is about to be changed, and what else its memory is known as."""
        target = args[0] if args else None
        if not isinstance(target, torch.Tensor):
            return None
        storage = target.untyped_storage().data_ptr()
        for value in self.current.values():
            shares = value.tensor.untyped_storage().data_ptr() == storage
            if shares and value.tensor is not target and value.snapshot is None:
                value.snapshot = value.tensor.detach().clone()
        return target.clone()

    def mark_stale(self, written: Value, place: Place) -> None:
        """Mark every other tensor on the same memory: it no longer holds what was traced."""
        storage = written.tensor.untyped_storage().data_ptr()
        for key, other in self.current.items():
            same = other.tensor.untyped_storage().data_ptr() == storage
            if same and other is not written and other.tensor.numel():
                self.stale[key] = Stale(other.place or written.place, place)

    def resolve(
        self, tensor: torch.Tensor, frame: FrameType | None = None, writing: Any = None
    ) -> Value:
        """Return the value that a tensor is now.

        Raises:
            BadInput: its memory was written through a view.
        """
        stale = self.stale.get(id(tensor))
        if stale is not None:
            if isinstance(writing, torch.Tensor) and writing.data_ptr() >= tensor.data_ptr():
                self.stale.pop(id(tensor))  # x[i] += v writes the view back where it came from
            else:
                raise view_written(stale, frame)
        value = self.current.get(id(tensor))
        if value is None or (value.op is not None and tensor.is_leaf and tensor.requires_grad):
            names = value.names if value is not None else []
            value = self.input(tensor, leaf=tensor.requires_grad)
            value.names = names
        return value

    def note_read(self, name: str, args: Any, frames: list[FrameType]) -> None:
        """Note that a tensor in the path of gradients was turned into a plain number."""
        value = self.current.get(id(args[0]))
        if value is not None and depends(value):
            kind = "branch" if name == "__bool__" else "item"
            place = place_of(frames[-1])
            self.notes.append(Note(kind, place, f"{place}: {place.text}"))

    def note_plain(self, name: str, result: Any) -> None:
        """Note a call whose result is no tensor, unless every tensor of the shape gives it."""
        if name not in SHAPE_READERS and not outputs_of(result):
            self.reads.append(name)

    def note_cut(self, name: str, args: Any, kwargs: Any, places: Any, made: Any) -> None:
        """Note that an op's result no longer depends on what it was made from."""
        given = [a for a in itertools.chain(args, kwargs.values()) if isinstance(a, torch.Tensor)]
        needed = any(a.requires_grad and a.is_floating_point() for a in given)
        floats = [t for t in made if t.is_floating_point()]
        if needed and floats and not any(t.requires_grad for t in floats):
            kind = "detach" if name in CUTTERS else "cut"
            self.notes.append(Note(kind, places[0][1], f"{places[0][1]}: {places[0][1].text}"))


class _Again:
    """Record what is called inside, without watching for returning frames once more."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        TorchFunctionMode.__enter__(self.recorder)

    def __exit__(self, *error: object) -> None:
        TorchFunctionMode.__exit__(self.recorder, *error)


def outputs_of(result: Any) -> tuple[torch.Tensor, ...]:
    """Return the tensors of a call's result; empty unless it is a tensor or tuple of tensors."""
    if isinstance(result, torch.Tensor):
        return (result,)
    if not isinstance(result, tuple | list):
        return ()
    return tuple(result) if all(isinstance(part, torch.Tensor) for part in result) else ()


def view_written(stale: Stale, frame: FrameType | None) -> BadInput:
    """Say that a tensor shares memory that was written through another name."""
    here = place_of(frame) if frame is not None else None
    made = f"{stale.made}: {stale.made.text}" if stale.made else "an earlier line"
    written = f"{stale.written}: {stale.written.text}" if stale.written else "a later line"
    return BadInput(
        "a tensor is read after its memory was written through a view",
        where=str(here.span) if here else "",
        why=f"shares memory   {made}\nwrites it       {written}",
        hint="write to a copy (`.clone()`), or build the result without writing in place",
    )


def depends(value: Value) -> bool:
    """Tell whether a value is computed from a leaf, gradients or not: a comparison is too."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if value.requires:
            return True
        if id(value) not in seen:
            seen.add(id(value))
            waiting.extend(values_in(value.args.values()))
    return False


def values_in(args: Iterable[Any]) -> Iterator[Value]:
    """Yield the values among arguments, those in tuples too."""
    for arg in args:
        if isinstance(arg, Value):
            yield arg
        elif isinstance(arg, tuple):
            yield from values_in(arg)
