"""Writes in place: each makes a new version of a tensor, and of all else on the same memory."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch

from handgrad.errors import BadInput
from handgrad.ops.inplace import functional
from handgrad.spell import literal
from handgrad.trace.calls import Again, Called, Tape
from handgrad.trace.source import place_of
from handgrad.trace.values import Stale, Value

STATES = {"batch_norm": (1, 2), "instance_norm": (1, 2)}  # places of what they keep of a batch


class Written:
    """A tensor that is about to be changed: what it is, and copies of what will be lost."""

    def __init__(self, tape: Tape, called: Called) -> None:
        self.called = called
        self.target = called_on(called)
        self.starts = starts_as_leaf(tape, self.target)
        if self.starts:
            tape.first_values.append((self.target, self.target.detach().clone()))
            return
        back = called.args[2] if called.name == "__setitem__" else None
        if isinstance(back, torch.Tensor) and shares(back, self.target):
            tape.stale.pop(id(self.target), None)  # x[i] += v writes a view back to its own place
        self.old = tape.resolve(self.target, called.frames[0])
        self.kept = self.target.detach().clone()
        for value in tape.sharing(self.target):
            value.written = True
            if value.snapshot is None:
                value.snapshot = self.kept if value.tensor is self.target else value.data.clone()
            if value.op is None and value.requires:  # through its .data
                tape.first_values.append((value.tensor, value.snapshot))


def starts_as_leaf(tape: Tape, target: torch.Tensor) -> bool:
    """Tell whether a leaf is given its first values: what comes before it is read is no line."""
    value = tape.current.get(id(target))
    known = value is None or (value.op is None and id(value) not in tape.read)
    return target.is_leaf and target.requires_grad and known


def record_write(tape: Tape, written: Written, drew: bool) -> None:
    """Record a call that changed a tensor, as a new version of it.

    Raises:
        BadInput: the tensor is a leaf, or no function is known that gives the changed tensor.
    """
    called, target = written.called, written.target
    if written.starts:
        return
    old = written.old
    if old.op is None and old.requires:
        raise called.refused(
            f"{old.hint or 'a leaf'} is changed in place",
            "its gradient would belong to no value it had",
            "write the changed tensor to a new name",
        )
    with Again(tape, apart=True):
        start = old.data.requires_grad_(old.requires)
        before = start.view_as(start) if old.requires else start
        tape.current[id(before)] = old
        result = drawn(tape, called, before) if drew else rewritten(called, before)
        if any(result is part for part in (before, *called.args)):
            result = result.clone()
    tape.current.pop(id(before), None)
    made = tape.current[id(result)]
    made.random = drew
    tape.adopt(result, target)
    mark_stale(tape, made, called)
    made.written = any(id(value.tensor) in tape.stale for value in tape.sharing(target))


def rewritten(called: Called, before: torch.Tensor) -> torch.Tensor:
    """Return the changed tensor from the one before, by a function that changes nothing.

    Raises:
        BadInput: none is known.
    """
    kwargs = {word: value for word, value in called.kwargs.items() if word != "out"}
    if "out" in called.kwargs:
        return called.func(*called.args, **kwargs)
    rewrite = functional(called.func, called.name)
    try:
        if rewrite is None:
            raise NotImplementedError
        result = rewrite(before, *called.args[1:], **kwargs)
    except NotImplementedError:
        raise called.refused(
            f"no functional form is known for this in-place {called.name.strip('_')}",
            hint="write the result to a new name",
        ) from None
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise called.refused(
            f"what this in-place {called.name.strip('_')} makes cannot be made as a new tensor",
            str(error).partition("\n")[0],
            "write the result to a new name",
        ) from error
    return result if result.dtype == before.dtype else result.to(before.dtype)


def drawn(tape: Tape, called: Called, before: torch.Tensor) -> torch.Tensor:
    """Return a tensor that was filled with random numbers, recorded as the draw that it is."""
    with torch._C.DisableTorchFunction():
        result = called_on(called).detach().clone()
    rest = [*map(literal, called.args[1:])]
    rest += [f"{w}={literal(v)}" for w, v in called.kwargs.items() if v is not called_on(called)]
    if getattr(called.func, "__module__", "") == "torch.nn.init":
        text = f"torch.nn.init.{called.name}({', '.join(['torch.empty_like({x})', *rest])})"
    else:
        text = f"torch.empty_like({{x}}).{called.name}({', '.join(rest)})"
    tape.record_template(text, called, {"x": before}, result)
    return result


def called_on(called: Called) -> torch.Tensor:
    """Return the tensor that a call changes."""
    out = called.kwargs.get("out")
    return out if out is not None else next(iter((*called.args, *called.kwargs.values())))


def mark_stale(tape: Tape, written: Value, called: Called) -> None:
    """Mark every other tensor on the same memory: it no longer holds what was traced."""
    for value in tape.sharing(written.tensor):
        key = id(value.tensor)
        if value.tensor is not written.tensor and tape.current.get(key) is value:
            made = value.place or written.place
            before = tape.stale.get(key)
            writers = (*(before.writers if before else ()), written)
            tape.stale[key] = Stale(made, called.place, writers)


def shares(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors lie on the same memory."""
    return memory(one) == memory(other) != 0


def memory(tensor: torch.Tensor) -> int:
    """Return where a tensor's storage lies, 0 for none."""
    if tensor.numel() == 0 or tensor.layout is not torch.strided:
        return 0
    return tensor.untyped_storage().data_ptr()


def renewed(tape: Tape, tensor: torch.Tensor, stale: Stale, frame: FrameType | None) -> None:
    """Record what a tensor became when its memory was written through others.

    Raises:
        BadInput: the two do not lie on the memory in a way that can be told.
    """
    del tape.stale[id(tensor)]
    value = tape.current[id(tensor)]
    if value.op is None and value.requires:  # a leaf that got other values, through its .data
        if id(value) in tape.read:
            raise view_written(stale, frame)
        value.snapshot, value.written = None, False
        return
    result = tensor
    for writer in stale.writers:
        if writer.tensor.dtype != tensor.dtype:
            raise view_written(stale, frame)
        with Again(tape, apart=True):
            start = value.data.clone().requires_grad_(value.requires)  # it may be written to again
            before = start.view_as(start)
            tape.current[id(before)] = value
            source = writer.data.clone().requires_grad_(writer.requires)
            source = source.view_as(source)
            tape.current[id(source)] = writer
            result = overlaid(before, source, tensor, writer.tensor)
        value = tape.current[id(result)]
        value.snapshot = result.detach()
        for each in (before, source):
            tape.current.pop(id(each), None)
    tape.adopt(result, tensor)
    value.snapshot, value.written = None, True


def overlaid(
    old: torch.Tensor, new: torch.Tensor, at: torch.Tensor, written: torch.Tensor
) -> torch.Tensor:
    """Return `old`, which lies where `at` does, with what lies where `written` does put in."""
    with torch._C.DisableTorchFunction():
        mine, theirs = addresses(at), addresses(written)
        place = torch.full((int(max(mine.max(), theirs.max())) + 1,), -1)
        place[theirs] = torch.arange(len(theirs))
        found = place[mine]
        everywhere = bool((found >= 0).all())
        mine_of = torch.full_like(place, -1)
        mine_of[mine] = torch.arange(len(mine))
        hit = (mine_of[theirs] >= 0).nonzero()[:, 0]
        to = mine_of[theirs][hit]
        plain = everywhere and torch.equal(found, torch.arange(new.numel()))
        whole = len(hit) == new.numel()
    flat = new.reshape(-1)
    if plain:
        return flat.reshape(old.shape)
    if everywhere:
        return flat[found].reshape(old.shape)
    return old.reshape(-1).index_put((to,), flat if whole else flat[hit]).reshape(old.shape)


def addresses(tensor: torch.Tensor) -> torch.Tensor:
    """Return the place in its storage of each entry of a tensor, in order."""
    places = torch.tensor(tensor.storage_offset())
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places = places.unsqueeze(-1) + torch.arange(size) * stride
    return places.reshape(-1)


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


def states_before(called: Called) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return copies of what a call may change without saying so in its name."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    if called.name not in STATES:
        return found
    word, always = (
        ("use_input_stats", True) if called.name == "instance_norm" else ("training", False)
    )
    if not (called.args[5] if len(called.args) > 5 else called.kwargs.get(word, always)):
        return []  # they are read, not kept
    places = STATES.get(called.name, ())
    if called.func in (torch.batch_norm, torch.instance_norm):
        places = (3, 4)
    for word, place in zip(("running_mean", "running_var"), places, strict=False):
        given = called.args[place] if place < len(called.args) else called.kwargs.get(word)
        if isinstance(given, torch.Tensor):
            found.append((given, given.clone()))
    return found


def record_states(
    tape: Tape, called: Called, before: list[tuple[torch.Tensor, torch.Tensor]], changed: list[Any]
) -> None:
    """Record what a call made of running statistics, as lines without gradients.

    Raises:
        BadInput: it changed something else.
    """
    if not all(any(tensor is known for known, _ in before) for tensor in changed):
        raise called.refused(
            f"{called.name} changes one of its arguments in place",
            hint="write the changed tensor to a new name first",
        )
    x = called.args[0]
    momentum = called.args[6] if len(called.args) > 6 else called.kwargs.get("momentum", 0.1)
    axes = (0, *range(2, x.ndim))
    with Again(tape, apart=True), torch.no_grad():
        for tensor, old in before:
            known = tape.resolve(tensor)
            if known.snapshot is None:
                known.snapshot = old
            tape.current[id(old)] = known
            first = tensor is before[0][0] and len(before) == 2
            if called.name == "instance_norm":
                inside = tuple(range(2, x.ndim))
                statistic = (x.mean(inside) if first else x.var(inside)).mean(0)
            else:
                statistic = x.mean(axes) if first else x.var(axes)
            new = (1 - momentum) * old + momentum * statistic
            tape.current.pop(id(old))
            tape.adopt(new, tensor)
