"""Tensors that no recorded call made (`torch.vmap`, `torch.jit`): the expression that made them."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from executing import Source

from handgrad.errors import BadInput
from handgrad.trace.calls import Called, Scopes, Tape
from handgrad.trace.code import code_of
from handgrad.trace.draws import equal
from handgrad.trace.functions import external
from handgrad.trace.source import is_library, place_at, place_of
from handgrad.trace.values import Value, values_in

FUNCTORCH = "torch._functorch"
TRANSFORMS = str(Path(str(sys.modules[FUNCTORCH].__file__)).parent)


def note_caller(scopes: Scopes) -> None:
    """Note what the statement that called torch.func reads: its names may be bound anew later."""
    frame: FrameType | None = sys._getframe(1)
    found, inside = None, False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(TRANSFORMS):
            inside = True
        elif inside and not is_library(file):
            found, inside = frame, False
        frame = frame.f_back
    if found is not None:
        scopes[found.f_code, found.f_lineno] = dict(found.f_locals)


def within_transform(user: FrameType) -> bool:
    """Tell whether torch.func itself makes a call, below a frame of the user's."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None and frame is not user:
        if frame.f_code.co_filename.startswith(TRANSFORMS):
            return True
        frame = frame.f_back
    return False


def read_unseen(tape: Tape, tensor: torch.Tensor, frame: FrameType, node: Any) -> Value:
    """Record the expression that made a tensor as one part, which autograd differentiates.

    Raises:
        BadInput: it cannot be found, gives another tensor, or reads what it does not name.
    """
    found = expression(tensor, frame, node)
    if found is None:
        raise refused(frame, "", "no recorded line made a tensor that has a gradient")
    expr, position = found
    part = Part(tape, frame, tensor)
    text = ast.unparse(part.read(expr))
    template = text.replace("{", "{{").replace("}", "}}")
    for name in part.operands:
        template = template.replace(name, "{" + name + "}")
    scope = {"torch": torch, "F": F, **tape.externals, **part.operands}
    try:
        with torch._C.DisableTorchFunction():
            again = eval(compile(text, "<part>", "eval"), scope)
            again = again if position is None else again[position]
    except Exception as error:
        raise refused(frame, text, f"{type(error).__name__}: {error}") from error
    if position is not None:
        template = f"({template})[{position}]"
    if not isinstance(again, torch.Tensor) or not equal(again, tensor):
        raise refused(frame, text, "its text gives another tensor when it runs again")
    given = {id(tape.current[id(t)]) for t in part.operands.values()}
    hits = boundary(tape, tensor)
    hidden = [v for v in tape.values if id(v) in hits and not made_of(v, given)]
    if hidden:
        names = [v.names[0][1] if v.names else v.hint for v in hidden]
        told = ", ".join(filter(None, names)) or "a tensor"
        raise refused(frame, text, f"it reads {told} without naming it: make that an argument")
    called = Called(None, "part", (), {}, [frame])
    (value,) = tape.record_template(template, called, part.operands, tensor)
    made = place_at(code_of(frame).source, frame.f_code.co_filename, expr.lineno)
    value.frames = ((id(frame), made),)
    tape.asked.clear()  # a name that was stored before now means this value
    if position is not None:  # the other results may lead through this one inside
        value.edge = None
    return value


def refused(frame: FrameType, text: str, why: str) -> BadInput:
    """Say that a part of the forward pass cannot be followed."""
    place = place_of(frame)
    return BadInput(
        "a part of the forward pass cannot be followed",
        where=str(place.span),
        why="\n".join(filter(None, (place.text, text if text != place.text else "", why))),
        hint="write the part in plain torch, without torch.func, torch.jit or vmap",
    )


def expression(
    tensor: torch.Tensor, frame: FrameType, node: Any
) -> tuple[ast.expr, int | None] | None:
    """Return the expression that made a tensor, and which of its results the tensor is."""
    if isinstance(node, ast.Call | ast.Subscript | ast.Attribute):
        return node, None
    names = [node.id] if isinstance(node, ast.Name) else []
    names += [name for name, value in frame.f_locals.items() if value is tensor]
    return next(filter(None, (assigned(frame, name) for name in names)), None)


def assigned(frame: FrameType, name: str) -> tuple[ast.expr, int | None] | None:
    """Return the expression that a name was last bound to, and which of its results it is."""
    tree = Source.for_frame(frame).tree
    best: tuple[ast.expr, int | None] | None = None
    line = -1
    for each in ast.walk(tree) if tree is not None else ():
        if not isinstance(each, ast.Assign) or not line < each.lineno <= frame.f_lineno:
            continue
        for target in each.targets:
            place = place_in(target, name)
            if place is not False:
                best, line = (each.value, place), each.lineno
    return best


def place_in(target: ast.expr, name: str) -> int | bool | None:
    """Return where a name stands among the targets of an assignment, False if it does not."""
    if isinstance(target, ast.Name):
        return None if target.id == name else False
    if isinstance(target, ast.Tuple | ast.List):
        for place, part in enumerate(target.elts):
            if isinstance(part, ast.Name) and part.id == name:
                return place
    return False


class Part(ast.NodeTransformer):
    """Exchange the tensors that an expression names for operands, and note what else it calls."""

    def __init__(self, tape: Tape, frame: FrameType, made: torch.Tensor) -> None:
        self.tape, self.frame, self.made = tape, frame, made
        self.operands: dict[str, torch.Tensor] = {}
        self.inner: list[str] = []
        self.scope: Mapping[str, Any] = {}

    def read(self, node: ast.expr) -> ast.expr:
        """Return an expression with its names exchanged, as they were when it ran."""
        before = self.scope
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        noted = [self.tape.scopes.get((self.frame.f_code, line)) for line in lines]
        self.scope = next((each for each in noted if each is not None), self.frame.f_locals)
        try:
            return self.visit(deepcopy(node))
        finally:
            self.scope = before

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Leave the arguments of an inner function as they are."""
        taken = [arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)]
        self.inner += taken
        visited = ast.Lambda(node.args, self.visit(node.body))
        del self.inner[len(self.inner) - len(taken) :]
        return visited

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Exchange a name."""
        return self.exchanged(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Exchange an attribute."""
        return self.exchanged(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Exchange an entry."""
        return self.exchanged(node)

    def exchanged(self, node: ast.expr) -> ast.AST:
        """Return what stands for a name, or for an attribute or entry of one."""
        try:
            value = self.value(node)
        except LookupError:
            return self.generic_visit(node)
        if isinstance(value, torch.Tensor):
            return self.operand(value)
        if isinstance(value, bool | int | float | str) or value is None:
            return ast.Constant(value)
        if isinstance(node, ast.Name):
            if node.id in self.inner or value in (torch, F) or hasattr(builtins, node.id):
                return node
            if getattr(value, "__module__", "").startswith(FUNCTORCH):
                made = assigned(self.frame, node.id)
                if made is not None and made[1] is not None:  # `y, f = torch.func.vjp(...)`
                    return ast.Subscript(self.read(made[0]), ast.Constant(made[1]), ast.Load())
            return ast.Name(external(self.tape, node.id, value))
        return self.generic_visit(node)

    def operand(self, tensor: torch.Tensor) -> ast.Name:
        """Return the operand that a tensor is.

        Raises:
            BadInput: it is what the expression made: a name was bound anew.
        """
        if tensor is self.made:
            raise refused(self.frame, "", "it reads a name that was bound anew since then")
        self.tape.resolve(tensor, self.frame)
        for name, known in self.operands.items():
            if known is tensor:
                return ast.Name(name)
        name = f"x{len(self.operands)}__"
        self.operands[name] = tensor
        return ast.Name(name)

    def value(self, node: ast.expr) -> Any:
        """Return what a name, an attribute or an entry is in the frame.

        Raises:
            LookupError: it is none of these, or belongs to a lambda inside.
        """
        if isinstance(node, ast.Name):
            if node.id in self.inner:
                raise LookupError
            for scope in (self.scope, self.frame.f_globals, vars(builtins)):
                if node.id in scope:
                    return scope[node.id]
        elif isinstance(node, ast.Attribute):
            owner = self.value(node.value)
            if isinstance(owner, torch.nn.Module | ModuleType) or node.attr in vars(owner):
                return getattr(owner, node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            owner, key = self.value(node.value), node.slice.value
            if isinstance(owner, list | tuple) and isinstance(key, int):
                return owner[key]
            if isinstance(owner, dict):
                return owner[key]
        raise LookupError


def made_of(value: Value, given: set[int]) -> bool:
    """Tell whether the text itself makes a value, of operands that it names."""
    if id(value) in given or not value.requires:
        return True
    read = list(values_in(value.args.values()))
    return bool(read) and all(made_of(each, given) for each in read)


def boundary(tape: Tape, tensor: torch.Tensor) -> set[int]:
    """Return the recorded values, by id, that a tensor's own graph leads back to."""
    known = {
        (value.edge.node, value.edge.output_nr): value
        for value in tape.values
        if value.edge is not None
    }
    hits: set[int] = set()
    seen: set[Any] = set()
    stack: list[Any] = [(tensor.grad_fn, tensor.output_nr)]
    while stack:
        node, number = stack.pop()
        if node is None or (node, number) in seen:
            continue
        seen.add((node, number))
        if (value := known.get((node, number))) is not None:
            hits.add(id(value))
        elif hasattr(node, "variable"):
            hits.add(id(tape.input(node.variable, leaf=False)))
        else:
            stack.extend(node.next_functions)
    return hits
