"""Which axis a number counts, where the user's code says so: `n = x.shape[0]`, `B, T = x.shape`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import FrameType

import torch

from handgrad.trace.code import Code, code_of

Axis = tuple[torch.Tensor, int]
LOOPS = ast.For | ast.AsyncFor | ast.While
INNER = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda


def counted(frame: FrameType, name: str) -> Axis | None:
    """Return the tensor, and its axis, whose size a name of a frame was once assigned."""
    found = assigned(code_of(frame)).get(name)
    tensor = frame.f_locals.get(found[0]) if found else None
    if found is None or not isinstance(tensor, torch.Tensor):
        return None
    axis = found[1] + tensor.ndim if found[1] < 0 else found[1]
    known = 0 <= axis < tensor.ndim and tensor.shape[axis] == frame.f_locals.get(name)
    return (tensor, axis) if known else None


@cache
def assigned(code: Code) -> dict[str, tuple[str, int]]:
    """Return what each name of a function or file counts: the tensor's name and the axis.

    There is none where a name is assigned twice or in a loop: it may have stood for something else.
    """
    body = body_of(code)
    stores = Counter(n.id for n in inside(body) if isinstance(n, ast.Name) and is_store(n))
    found: dict[str, tuple[str, int]] = {}
    for statement in inside(body, loops=False):
        for name, size in sizes_in(statement).items() if isinstance(statement, ast.Assign) else ():
            if stores[name] == 1 and stores[size[0]] <= (size[0] not in parameters(code)):
                found.setdefault(name, size)
    return found


def body_of(code: Code) -> list[ast.stmt]:
    """Return the statements of the function, or the file, that a code object runs."""
    source = code.source
    if source.tree is None:
        return []
    if code.co_name == "<module>":
        return source.tree.body
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == code.co_firstlineno:
                return node.body
    return []


def inside(body: list[ast.stmt], loops: bool = True) -> Iterator[ast.AST]:
    """Yield the nodes of statements, without those of functions in them, or of loops."""
    stack: list[ast.AST] = list(body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, INNER) and (loops or not isinstance(node, LOOPS)):
            stack.extend(ast.iter_child_nodes(node))


def is_store(node: ast.Name) -> bool:
    """Tell whether a name is assigned, or deleted, where it stands."""
    return not isinstance(node.ctx, ast.Load)


def parameters(code: Code) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def sizes_in(statement: ast.Assign) -> dict[str, tuple[str, int]]:
    """Return what an assignment says: name -> tensor's name and axis."""
    if len(statement.targets) != 1:
        return {}
    target, value = statement.targets[0], statement.value
    if isinstance(target, ast.Name):
        one = size_of(value)
        return {target.id: one} if one else {}
    tensor = shape_of(value)
    if tensor is None or not isinstance(target, ast.Tuple):
        return {}
    parts = [part.id if isinstance(part, ast.Name) else None for part in target.elts]
    if None in parts:
        return {}
    return {part: (tensor, axis) for axis, part in enumerate(parts) if part}


def shape_of(node: ast.expr) -> str | None:
    """Return the name of the tensor whose whole shape is read: `x.shape`, `x.size()`."""
    wanted = "shape"
    if isinstance(node, ast.Call) and not node.args and not node.keywords:
        node, wanted = node.func, "size"
    if not isinstance(node, ast.Attribute) or node.attr != wanted:
        return None
    return node.value.id if isinstance(node.value, ast.Name) else None


def size_of(node: ast.expr) -> tuple[str, int] | None:
    """Return the tensor's name and the axis: `x.shape[0]`, `x.size(0)`, `len(x)`."""
    if isinstance(node, ast.Subscript):
        tensor, at = shape_of(node.value), axis_of(node.slice)
    elif isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
        if isinstance(node.func, ast.Name) and node.func.id == "len":
            part = node.args[0]
            return (part.id, 0) if isinstance(part, ast.Name) else None
        tensor, at = shape_of(ast.Call(node.func, [], [])), axis_of(node.args[0])
    else:
        return None
    return None if tensor is None or at is None else (tensor, at)


def axis_of(node: ast.expr) -> int | None:
    """Return a whole number that is written out."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = axis_of(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    return None
