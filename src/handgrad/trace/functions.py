"""Custom `torch.autograd.Function`s: each call is one part, and its own backward is the truth."""

from __future__ import annotations

import keyword
import sys
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointFunction

from handgrad.ir import Op, Param, Spelling
from handgrad.trace.calls import Called, Tape
from handgrad.trace.drafts import spellable
from handgrad.trace.source import Scalar, is_library, user_frames
from handgrad.trace.values import Value, outputs_of

FUNCTION = torch.autograd.Function
IDENTITIES = ("BackwardHookFunction",)  # torch's own, at the border of a module that has a hook


class Functions:
    """See every call of a custom Function while a recording runs."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.original: Any = None

    def watch(self) -> None:
        """Stand between the user and `Function.apply`."""
        self.original = FUNCTION.__dict__["apply"]
        outer = self

        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            return outer.applied(cls, args, kwargs)

        FUNCTION.apply = classmethod(apply)  # pyright: ignore[reportAttributeAccessIssue]

    def release(self) -> None:
        """Step aside."""
        FUNCTION.apply = self.original  # pyright: ignore[reportAttributeAccessIssue]

    def applied(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one call of a custom Function and record it as one part."""
        apply = self.original.__get__(None, cls)
        frames = user_frames(sys._getframe(2), getattr(self.tape, "root", None))
        inside = torch._C._are_functorch_transforms_active()
        recording = torch._C._len_torch_function_stack() > 0 and not inside
        if cls is CheckpointFunction and recording:
            return args[0](*args[2:])  # it only computes the same once more
        with torch._C.DisableTorchFunction():
            result = apply(*args, **kwargs)
            if not recording or not frames:
                return result
            called = Called(apply, cls.__name__, args, kwargs, frames)
            if cls.__name__ in IDENTITIES and is_library(
                sys.modules[cls.__module__].__file__ or ""
            ):
                self.pass_on(args, outputs_of(result))
            elif any(t.requires_grad for t in outputs_of(result)):
                self.record(cls, called, result)
        return result

    def pass_on(self, args: tuple[Any, ...], made: tuple[torch.Tensor, ...]) -> None:
        """Let results be the values that they are equal to."""
        given = [arg for arg in args if isinstance(arg, torch.Tensor)]
        for tensor, same in zip(made, given[-len(made) :], strict=True):
            if (value := self.tape.current.get(id(same))) is not None:
                self.tape.current[id(tensor)] = value

    def record(self, cls: Any, called: Called, result: Any) -> None:
        """Record a call as an op that has no rule."""
        name = external(self.tape, cls.__name__, cls)
        names = [f"x{k}" for k in range(len(called.args))]
        drafts = self.tape.drafts(called)
        drafted = {
            key: self.named(drafts.draft(value, key))
            for key, value in zip(names, called.args, strict=True)
        }
        params = tuple(Param(key) for key in names)

        def run(**given: Any) -> Any:
            return called.func(*(given[key] for key in names))

        spelling = Spelling(f"{name}.apply", "function", f"{name}.apply", params, called.func, run)
        several = isinstance(result, tuple | list)
        op = Op(f"{name}.apply", (spelling,), ("*ys",) if several else ("y",), foreign=True)
        made: tuple[Value, ...] = self.tape.add(op, drafted, called.places, result)
        for value in made:
            value.cut = False

    def named(self, arg: Any) -> Any:
        """Return an argument that has no text by a name for the thing itself."""
        if isinstance(arg, Scalar) and not spellable(arg.value):
            return Scalar(arg.value, external(self.tape, type(arg.value).__name__, arg.value))
        return arg


def external(tape: Tape, base: str, thing: Any) -> str:
    """Return the name that a line calls something of the user's by."""
    base = "".join(c if c.isalnum() or c == "_" else "_" for c in base) or "function"
    base = f"{base}_" if keyword.iskeyword(base) or base[0].isdigit() else base
    name, count = base, 1
    while tape.externals.get(name, thing) is not thing:
        name, count = f"{base}_{count}", count + 1
    tape.externals[name] = thing
    return name
