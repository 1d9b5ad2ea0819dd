"""What can be checked: tensors, a function, source text, a file, the caller's own names."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from handgrad.check.assess import assess
from handgrad.check.compare import check_tensors
from handgrad.check.judge import Judge
from handgrad.check.recorded.given import settled_report
from handgrad.check.report import Report
from handgrad.check.statements import Statement, of_nodes, statements
from handgrad.errors import BadInput, must_be
from handgrad.threads import one_thread
from handgrad.trace import Trace
from handgrad.trace.files import (
    compiled,
    read_source,
    split,
    trace_target,
    trace_tree,
    users_code,
)
from handgrad.trace.source import caller

Backward = Callable[..., Any] | str | Path | Mapping[str, Any] | None


def check(trace: Trace, backward: Backward = None) -> Report:
    """Judge a hand-written backward pass, each line alone.

    Args:
        trace: the forward pass.
        backward: a function, a file, source text, or gradients by name, `{"dlogits": tensor}`;
            without it the caller's own `d`-names are read.

    Raises:
        BadInput: it is none of these, or no line of it writes a gradient.
        UserCodeFailed: it is no Python.
    """
    must_be(trace, Trace, "hg.check(hg.trace(forward, *args), backward)")
    if backward is None:
        return check_tensors(trace, callers_gradients(trace, caller(1)))
    if isinstance(backward, Mapping):
        return check_tensors(trace, backward)
    if isinstance(backward, Path) or (isinstance(backward, str) and is_path(backward)):
        path = Path(backward)
        text = read_source(path)
        return check_text(trace, text, str(path))
    if isinstance(backward, str):
        return check_text(trace, textwrap.dedent(backward), "<backward>")
    if isinstance(backward, type) and issubclass(backward, torch.autograd.Function):
        raise BadInput(
            f"{backward.__name__} is a torch.autograd.Function",
            hint=f"hg.check_function({backward.__name__}, *inputs)",
        )
    if callable(backward):
        return check_function_body(trace, backward)
    raise BadInput(f"a {type(backward).__name__} is no backward pass")


def is_path(text: str) -> bool:
    """Tell whether a string names a file: one line that ends in .py or exists."""
    return "\n" not in text and "=" not in text and (text.endswith(".py") or Path(text).exists())


def callers_gradients(trace: Trace, frame: FrameType) -> dict[str, Any]:
    """Return the tensors that a frame calls `d` + a forward name.

    Raises:
        BadInput: there is none.
    """
    known = {"d" + name for name in (*trace.grads, *trace.aliases)}
    names = {**frame.f_globals, **frame.f_locals}
    found = {n: v for n, v in names.items() if n in known and is_gradient(v)}
    if not found:
        raise BadInput(
            "no name here is a gradient of this forward pass",
            why=f"looked for {', '.join(sorted(known)[:8])}, ...",
            hint="write a line such as `dlogits = ...` first, or pass the gradients",
        )
    return found


def is_gradient(value: Any) -> bool:
    """Tell whether a value can be a gradient: a tensor, or None for what is still to do."""
    return value is None or isinstance(value, torch.Tensor)


def check_text(
    trace: Trace, text: str, file: str, environment: Mapping[str, Any] | None = None
) -> Report:
    """Judge source text; a function `backward` in it stands for its body."""
    body, scope = text_parts(trace, text, file)
    return judged(trace, body, {**scope, **(environment or {})})


def text_judge(
    trace: Trace, text: str, file: str, environment: Mapping[str, Any] | None = None
) -> Judge:
    """Return what judges source text."""
    body, scope = text_parts(trace, text, file)
    return Judge(trace, body, {**scope, **(environment or {})})


def text_parts(trace: Trace, text: str, file: str) -> tuple[tuple[Statement, ...], dict[str, Any]]:
    """Return the statements of source text, and the names around them if they are a function's."""
    body, in_function = text_body(trace, text, file)
    return body, file_scope(text, file) if in_function else {}


def text_body(trace: Trace, text: str, file: str) -> tuple[tuple[Statement, ...], bool]:
    """Return the statements of source text, and whether they are those of its `backward`."""
    body = statements(text, file)
    inside = function_statements(text, file, trace)
    if inside is not None and not any(writes_gradient(s, trace) for s in body):
        return inside, True
    return body, False


def function_statements(text: str, file: str, trace: Trace) -> tuple[Statement, ...] | None:
    """Return the statements of the function `backward`, None where there is none."""
    tree = ast.parse(text, file) if compilable(text, file) else None
    assert tree is not None
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "backward"]
    return function_lines(functions[0], text, file, trace) if functions else None


def file_scope(text: str, file: str) -> dict[str, Any]:
    """Run source text and return the names that it binds."""
    scope: dict[str, Any] = {}
    with users_code(Path(file)):
        for statement in statements(text, file):
            exec(statement.code, scope)
    return scope


def compilable(text: str, file: str) -> bool:
    """Tell whether the text is Python.

    Raises:
        UserCodeFailed: it is not.
    """
    return compiled(Path(file), text) is not None


def writes_gradient(statement: Statement, trace: Trace) -> bool:
    """Tell whether a statement binds a gradient's name."""
    return any(n.startswith("d") and n[1:] in trace.grads for n in statement.assigns)


def function_lines(
    function: ast.FunctionDef, text: str, file: str, trace: Trace
) -> tuple[Statement, ...]:
    """Return a function's statements; a dict that is returned assigns its names.

    What it unpacks forward values from, `(h,) = saved`, is left out: they are known by name.
    """
    every = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    given = {argument.arg for argument in every}
    known = {*trace.values, *trace.aliases, *trace.program.scalars}
    body = [node for node in function.body if not unpacks(node, given, known)]
    kept = [node for node in body if not isinstance(node, ast.Return)]
    for node in body:
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
            kept += returned(node.value)
    return of_nodes(kept, text, file)


def unpacks(node: ast.stmt, given: Set[str], known: Set[str]) -> bool:
    """Tell whether a statement takes names that are known from an argument."""
    match node:
        case ast.Assign([ast.Tuple(parts) | ast.List(parts)], ast.Name(held)):
            names = {part.id for part in parts if isinstance(part, ast.Name)}
            return held in given - known and len(names) == len(parts) and names <= known
        case _:
            return False


def returned(mapping: ast.Dict) -> list[ast.stmt]:
    """Return assignments for the entries of a returned dict whose values are not just the names."""
    made: list[ast.stmt] = []
    for key, value in zip(mapping.keys, mapping.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            continue
        if isinstance(value, ast.Name) and value.id == key.value:
            continue
        node = ast.Assign([ast.Name(key.value, ast.Store())], value)
        made.append(ast.fix_missing_locations(ast.copy_location(node, value)))
    return made


def check_function_body(trace: Trace, backward: Callable[..., Any]) -> Report:
    """Judge a function's body; what it returns without a name is judged too.

    Raises:
        BadInput: its source cannot be read.
    """
    try:
        lines, first = inspect.getsourcelines(backward)
    except (OSError, TypeError) as error:
        raise BadInput(
            f"the source of {getattr(backward, '__name__', 'the function')} cannot be read",
            hint="put it in a file, or pass the source as text",
        ) from error
    text = "\n" * (first - 1) + textwrap.dedent("".join(lines))
    file = inspect.getsourcefile(backward) or "<backward>"
    function = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef))
    environment = {**backward.__globals__, **inspect.getclosurevars(backward).nonlocals}
    body = function_lines(function, text, file, trace)
    return judged(trace, body, own_names(environment, trace))


def own_names(environment: Mapping[str, Any], trace: Trace) -> dict[str, Any]:
    """Return what a backward pass may read from around it, gradients aside."""
    known = {"d" + name for name in trace.grads}
    return {n: v for n, v in environment.items() if n not in known and not n.startswith("__")}


def judged(trace: Trace, body: tuple[Statement, ...], environment: Mapping[str, Any]) -> Report:
    """Judge statements by their lines; as they run whole, where that says more.

    Raises:
        BadInput: no statement writes a gradient.
    """
    with one_thread():
        try:
            lines = reported(Judge(trace, body, environment))
        except BadInput:
            found = settled_report(trace, body, environment, None)
            if found is None:
                raise
            return found
        return settled_report(trace, body, environment, lines) or lines


def reported(judge: Judge) -> Report:
    """Return the rows of all gradients that were judged.

    Raises:
        BadInput: no statement writes a gradient.
    """
    report = assess(judge)
    if not any(row.line for row in report.rows):
        grads = list(judge.trace.grads)[:6]
        raise BadInput(
            "no line writes a gradient of this forward pass",
            why=f"gradients are called {', '.join('d' + n for n in grads)}, ...",
            hint="name each gradient `d` + the forward name",
        )
    return report


def check_file(target: str, forward: str | None = None) -> tuple[Trace, Report]:
    """Judge the backward pass in a file.

    Args:
        target: a file with forward and backward together, or the backward alone.
        forward: the forward pass' file or `FILE:FUNCTION`, where that is another.

    Raises:
        BadInput: there is nothing to judge.
        UserCodeFailed: the file's own code raised.
    """
    judge = file_judge(target, forward)
    return judge.trace, reported(judge)


def file_judge(target: str, forward: str | None = None) -> Judge:
    """Run a file's forward pass and its backward pass; return what judges it."""
    path = Path(target)
    text = read_source(path)
    compiled(path, text)
    head, tail = split(text, target) if forward is None else (None, [])
    if head is None:
        trace, scope = trace_target(forward or target)
        return text_judge(trace, text, target, own_names(scope, trace))
    trace, scope = trace_tree(path, head)
    return Judge(trace, of_nodes(tail, text, target), own_names(scope, trace))
