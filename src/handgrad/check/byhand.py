"""Point out where a backward pass by hand asks autograd, or holds what cannot be seen into.

Where a statement runs, what counts is what it really calls, by whatever name; where it does not,
what the names in it stand for.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import CodeType, FrameType, ModuleType
from typing import Any

import torch

from handgrad.check.judge import Judge
from handgrad.check.pack import Opaque
from handgrad.check.report import Report, Row, Verdict
from handgrad.check.statements import Statement

ASKING = {
    "torch.autograd": "grad backward",
    "torch.autograd.functional": "vjp jvp jacobian hessian hvp vhp",
    "torch.autograd.forward_ad": "make_dual",
    "torch.func": "grad grad_and_value vjp jvp jacrev jacfwd hessian linearize",
    "torch.Tensor": "backward",
}
ENGINE = {"run_backward": "torch.autograd", "_make_dual": "torch.autograd.forward_ad"}
FOREIGN = ("numpy", "jax", "tensorflow", "ctypes", "cupy")


def remarked(report: Report, judge: Judge) -> Report:
    """Add to each row what its statements should be read with."""
    names = held(judge)
    return replace(report, rows=tuple(remark(row, judge, names) for row in report.rows))


def remark(row: Row, judge: Judge, names: Mapping[str, Any]) -> Row:
    """Return a row whose note says where autograd was asked, or what cannot be seen into."""
    if not judge.run.writes.get(row.name):
        return row
    places = judge.slice_of(row.name)
    told = [
        f"line {judge.body[place].line} asks autograd: {asked}"
        for place, found in asked_by(judge, row.name, places, names).items()
        for asked in found
    ]
    read = {n for place in places for n in judge.body[place].reads}
    if row.verdict is Verdict.UNCONFIRMED and any(foreign(names.get(n)) for n in read):
        told.append("cannot see inside what is not torch's")
    return replace(row, note="; ".join(filter(None, [row.note, *told]))) if told else row


def held(judge: Judge) -> dict[str, Any]:
    """Return what the names in a backward pass stand for, tensors that it makes aside."""
    made = {n: writes[-1].value for n, writes in judge.run.writes.items() if writes}
    kept = {n: v for n, v in made.items() if not isinstance(v, torch.Tensor)}
    return {"torch": torch, "F": torch.nn.functional, **judge.environment, **kept}


def foreign(value: Any) -> bool:
    """Tell whether something is a module or a function of another library of arrays."""
    if isinstance(value, Opaque):
        return value.home.split(".")[0] in FOREIGN
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return isinstance(home, str) and home.split(".")[0] in FOREIGN


def asked_by(
    judge: Judge, name: str, places: tuple[int, ...], names: Mapping[str, Any]
) -> dict[int, list[str]]:
    """Return for each statement that makes a gradient what it asks of autograd."""
    if judge.points and judge.runner.apart(places):
        return dict(judge.runner.asked(name, places, judge.points[0]))
    watch = watched(judge, name, places)
    found = {}
    for place in places:
        seen = [watch.asked[place]] if place in watch.asked else []
        seen += written(judge.body[place], names, place not in watch.done)
        found[place] = list(dict.fromkeys(seen))
    return found


@dataclass
class Watch:
    """A profiler that notes which statements call autograd.

    Attributes:
        places: of the statements, by the identity of their code.
        asked: for each statement the first function of autograd's that it called.
        done: the statements that ran to their end.
        now: the statement that runs.
        inside: the call of autograd's that is open: what that calls is its own business.
    """

    places: Mapping[int, int]
    asked: dict[int, str] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    now: int | None = None
    inside: FrameType | None = None

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        """Take one event of `sys.setprofile`."""
        if event == "call" and id(frame.f_code) in self.places:
            self.ended()
            self.now = self.places[id(frame.f_code)]
        elif event == "return" and frame is self.inside:
            self.inside = None
        elif self.now is None or self.inside is not None:
            return
        elif event == "call" and frame.f_code in by_code():
            self.inside = frame
            self.note(by_code()[frame.f_code])
        elif event == "c_call" and getattr(called, "__name__", "") in ENGINE:
            self.note(ENGINE[called.__name__])

    def note(self, asked: str) -> None:
        """Note what the statement that runs called."""
        assert self.now is not None
        self.asked.setdefault(self.now, asked)

    def ended(self) -> None:
        """Note that the statement that ran came to its end."""
        if self.now is not None:
            self.done.add(self.now)
        self.now = self.inside = None


def watched(judge: Judge, name: str, places: tuple[int, ...]) -> Watch:
    """Run the statements that make a gradient once more, and note what of autograd they call."""
    watch = Watch({id(judge.codes[place]): place for place in places})
    if not judge.points:
        return watch
    before, point = sys.getprofile(), judge.points[0]
    sys.setprofile(watch)
    try:
        judge.evaluate(name, places, point, point.cotangents)
    except Exception:  # the user's own code may raise anything
        return watch
    finally:
        sys.setprofile(before)
    watch.ended()
    return watch


@cache
def by_code() -> dict[CodeType, str]:
    """Return the public names of autograd's functions by their code."""
    return {function.__code__: name for function, name in functions().items()}


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
