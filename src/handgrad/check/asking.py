"""Notice where a backward pass by hand asks autograd: in its own lines, or in what they call.

Where a statement runs, what counts is what is really called, by whatever name, in whatever module
or thread; where it does not, what the names in it stand for.
"""

from __future__ import annotations

import ast
import functools
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import CodeType, FrameType, ModuleType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from handgrad.check.statements import Statement

ASKING = {
    "torch.autograd": "grad backward",
    "torch.autograd.functional": "vjp jvp jacobian hessian hvp vhp",
    "torch.autograd.forward_ad": "make_dual",
    "torch.func": "grad grad_and_value vjp jvp jacrev jacfwd hessian linearize",
    "torch.Tensor": "backward",
}
ENGINE = {"run_backward": "torch.autograd", "_make_dual": "torch.autograd.forward_ad"}
GRADIENT = "torch.Tensor.grad"
VARIABLE: Any = torch.autograd.Variable


@dataclass
class Watch:
    """What the statements of a backward pass ask of autograd while they run.

    Attributes:
        asked: for each statement the first that it asked: a function of autograd's, by whatever
            it calls, or a gradient that what it calls read.
        now: the statement that runs.
        code: its code.
    """

    asked: dict[int, str] = field(default_factory=dict[int, str])
    now: int | None = None
    code: CodeType | None = None

    @contextmanager
    def statement(self, place: int, code: CodeType) -> Iterator[None]:
        """Take what is called meanwhile as called by a statement."""
        self.now, self.code = place, code
        before = sys.getprofile(), threading.getprofile()
        engine, VARIABLE._execution_engine = VARIABLE._execution_engine, Engine(self)
        threading.setprofile(self.see)
        sys.setprofile(self.see)
        try:
            with Reads(self):
                yield
        finally:
            sys.setprofile(before[0])
            VARIABLE._execution_engine = engine
            threading.setprofile(before[1])  # pyright: ignore[reportArgumentType]
            self.now = None

    def see(self, frame: FrameType, event: str, called: Any) -> None:
        """Take one event of `sys.setprofile`."""
        if self.now is None or self.now in self.asked:
            return  # what that function calls is its own business
        if event == "call" and id(frame.f_code) in by_code():
            self.note(by_code()[id(frame.f_code)])
        elif event == "c_call" and getattr(called, "__name__", "") in ENGINE:
            self.note(ENGINE[called.__name__])

    def note(self, asked: str) -> None:
        """Note what the statement that runs asked for."""
        if self.now is not None:
            self.asked.setdefault(self.now, asked)


class Engine:
    """Autograd's engine, and a note of who runs it: in threads too that no profiler sees."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.engine = watch, VARIABLE._execution_engine

    def run_backward(self, *args: Any, **options: Any) -> Any:
        """Run the engine."""
        self.watch.note(ENGINE["run_backward"])
        return self.engine.run_backward(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


class Reads(TorchFunctionMode):
    """Notice where what a statement calls reads a tensor's gradient; its own text tells its own."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch."""
        found = func(*args, **(kwargs or {}))
        elsewhere = sys._getframe(1).f_code is not self.watch.code
        if func == READ and found is not None and elsewhere:
            self.watch.note(GRADIENT)
        return found


READ: Any = vars(torch.Tensor.__base__)["grad"].__get__


def asked_by(
    body: tuple[Statement, ...], watch: Watch, failed: set[int], names: Mapping[str, Any]
) -> dict[int, list[str]]:
    """Return what each statement asked of autograd, those that asked nothing left out.

    Args:
        body: the statements.
        watch: what was seen while they ran.
        failed: the statements that raised.
        names: what the names in them stand for.
    """
    found: dict[int, list[str]] = {}
    for place, statement in enumerate(body):
        told = [*written(statement, names, place in failed)]
        told[:0] = [watch.asked[place]] if place in watch.asked else []
        if told:
            found[place] = list(dict.fromkeys(told))
    return found


@cache
def by_code() -> dict[int, str]:
    """Return the public names of autograd's functions by the identity of their code."""
    return {id(function.__code__): name for function, name in functions().items()}


@cache
def functions() -> dict[Any, str]:
    """Return the functions that ask autograd for a derivative, with their public names."""
    found = {}
    for home, names in ASKING.items():
        owner = functools.reduce(getattr, home.split(".")[1:], torch)
        found |= {getattr(owner, name): f"{home}.{name}" for name in names.split()}
    return found


def written(statement: Statement, names: Mapping[str, Any], unrun: bool) -> Iterator[str]:
    """Yield what a statement's text asks of autograd.

    Args:
        statement: it.
        names: what the names in it stand for.
        unrun: it did not run to its end, so that its calls are told by what is called too.
    """
    try:
        tree = ast.parse(statement.text)
    except SyntaxError:  # a block taken out of a function
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_gradient(node, names):
            yield ast.unparse(node)
        elif unrun and isinstance(node, ast.Name | ast.Attribute):
            yield from asking(node, names)


def asking(node: ast.Name | ast.Attribute, names: Mapping[str, Any]) -> Iterator[str]:
    """Yield the function of autograd's that an expression stands for, if it does."""
    meant = stands_for(node, names)
    if callable(meant) and known(meant):
        yield functions()[meant]
    elif isinstance(node, ast.Attribute) and node.attr == "backward" and meant is None:
        owner = stands_for(node.value, names)
        if owner is None or isinstance(owner, torch.Tensor):
            yield functions()[torch.Tensor.backward]


def known(value: Any) -> bool:
    """Tell whether something is one of autograd's functions; not all that is called has a hash."""
    return any(value is function for function in functions())


def stands_for(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return what a dotted name stands for, None where that is not known without running it."""
    if isinstance(node, ast.Name):
        found = names.get(node.id)
    elif isinstance(node, ast.Attribute):
        owner = stands_for(node.value, names)
        plain = isinstance(owner, ModuleType) or owner is torch.Tensor
        found = getattr(owner, node.attr, None) if plain else None
    else:
        return None
    while isinstance(found, functools.partial):
        found = found.func
    return found


def is_gradient(node: ast.Attribute, names: Mapping[str, Any]) -> bool:
    """Tell whether something reads a tensor's `.grad`; `torch.autograd.grad` is none."""
    if node.attr != "grad" or not isinstance(node.ctx, ast.Load):
        return False
    owner = stands_for(node.value, names)
    return owner is None or isinstance(owner, torch.Tensor)
