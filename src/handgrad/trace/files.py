"""A forward pass in a file: its top level, a function, or a module called `model`."""

from __future__ import annotations

import ast
import inspect
import itertools
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import torch

from handgrad.errors import BadInput, HandgradError, UserCodeFailed
from handgrad.trace.arguments import name_arguments
from handgrad.trace.output import last_output
from handgrad.trace.recorder import Recorder
from handgrad.trace.result import Trace
from handgrad.trace.source import is_library
from handgrad.trace.ways import finish, run_recorded, trace

LARGEST = 4 * 2**20  # bytes; no forward pass is longer
PACKAGE = Path(__file__).resolve().parents[1]
WATCHING = (
    *("__torch_function__", "observe", "observe_call", "observe_write", "observe_inside"),
    *("observe_set", "run", "applied", "apply"),
)  # the recorder's, in which the user's torch call runs


def trace_file(target: str) -> Trace:
    """Trace `FILE` or `FILE:FUNCTION`.

    A function's arguments are the file's own top-level names. Without a function the top level is
    the forward pass if it makes `loss`; else the function `forward`, else the module `model`.

    Raises:
        BadInput: the file or function is not there, or cannot be read as Python.
        UserCodeFailed: the file's own code raised.
    """
    return trace_target(target)[0]


def trace_target(target: str) -> tuple[Trace, dict[str, Any]]:
    """Trace `FILE` or `FILE:FUNCTION`; return the trace and the file's top-level names."""
    path, function = split_target(target)
    text = read_source(path)
    if not text.strip():
        raise BadInput("the file is empty", where=str(path), hint="write a forward pass into it")
    compiled(path, text)
    if function is None:
        head, _ = split(text, str(path))
        if head is not None:
            return trace_tree(path, head)
    return trace_tree(path, ast.parse(text, str(path)), function or implied_function(text))


def trace_tree(
    path: Path, tree: ast.Module, chosen: str | None = None
) -> tuple[Trace, dict[str, Any]]:
    """Run a file's statements and trace their forward pass.

    Args:
        path: the file, for messages.
        tree: its statements, or the first ones of them.
        chosen: the function that is the forward pass; None for the top level.

    Returns:
        The trace, and the names at the file's top level.
    """
    code = compile(tree, str(path), "exec", dont_inherit=True)
    with users_code(path), module_of(path) as scope:
        if chosen is None:
            recorder = Recorder()
            run_recorded(recorder, lambda: exec(code, scope), (), {})
            refuse_no_forward(path, recorder, scope)
            name_parameters(recorder, scope)
            output = last_output(recorder)
            upstream = scope.get("d" + output.names[0][1]) if output.names else None
            return finish(recorder, output, upstream, setup_is_input=True), scope
        exec(code, scope)
        forward, given = called(path, chosen, scope)
        return trace(forward, wrt=chosen_leaves(forward, given), **given), scope


def called(
    path: Path, chosen: str, scope: dict[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a file's function with its arguments, which are the file's own top-level names.

    Raises:
        BadInput: there is no such function, or a name that it needs is missing.
    """
    forward = scope.get(chosen)
    if forward is None or not callable(forward):
        raise no_function(path, chosen, scope)
    call = forward.forward if isinstance(forward, torch.nn.Module) else forward
    return forward, arguments(path, chosen, call, scope)


@contextmanager
def function_in(target: str) -> Iterator[tuple[Callable[..., Any], dict[str, Any]] | None]:
    """Give the function that `FILE[:FUNCTION]` means and its arguments, while its folder is known.

    It is None where the top level of the file is the forward pass.
    """
    path, function = split_target(target)
    text = read_source(path)
    compiled(path, text)
    chosen = function or implied_function(text)
    with users_code(path), module_of(path) as scope:
        if chosen is None:
            yield None
            return
        exec(compile(text, str(path), "exec", dont_inherit=True), scope)
        yield called(path, chosen, scope)


@contextmanager
def module_of(path: Path) -> Iterator[dict[str, Any]]:
    """Give the names of a new module for a file; dataclasses look it up by its name."""
    module = ModuleType("__handgrad__")
    module.__file__ = str(path)
    linecache.checkcache(str(path))
    sys.modules[module.__name__] = module
    yield vars(module)


def name_parameters(recorder: Recorder, scope: Mapping[str, Any]) -> None:
    """Call the parameters of the file's modules by their modules' names: `net_0_weight`."""
    for name, module in scope.items():
        if isinstance(module, torch.nn.Module):
            own = itertools.chain(module.named_parameters(), module.named_buffers())
            for inner, tensor in own:
                value = recorder.current.get(id(tensor))
                if value is not None and not value.names:
                    value.hint = f"{name}.{inner}"


def split_target(target: str) -> tuple[Path, str | None]:
    """Split `FILE:FUNCTION`; a colon that is part of the path stays there."""
    path = Path(target)
    if ":" in target and not path.exists():
        head, _, tail = target.rpartition(":")
        if tail.isidentifier() or Path(head).is_file():
            return Path(head), tail or None
    return path, None


def read_source(path: Path) -> str:
    """Read a Python file.

    Raises:
        BadInput: it is no readable file of text.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a directory", hint=f"name a file in it: {path}/FILE.py")
    if not path.is_file():
        raise BadInput(f"no such file: {path}", hint="check the path and the working directory")
    if path.stat().st_size > LARGEST:
        raise BadInput(f"{path} has {path.stat().st_size} bytes, too long for a Python file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    if b"\0" in data:
        raise BadInput(f"{path} is binary data, not Python source")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path} is not UTF-8 text",
            why=f"byte {error.start}: {error.reason}",
            hint="save the file as UTF-8",
        ) from error


def compiled(path: Path, text: str) -> CodeType:
    """Compile a file's text.

    Raises:
        UserCodeFailed: it has a syntax error.
    """
    try:
        return compile(text, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = (error.text or "").rstrip("\n")
        before = line[: max((error.offset or 1) - 1, 0)]
        column = "".join(c if c == "\t" else " " for c in before)
        raise UserCodeFailed(
            f"{type(error).__name__}: {error.msg}",
            where=f"{path}:{error.lineno}",
            why=f"{line}\n{column}^" if line else "",
            hint="mend the line and run again",
        ) from error


def split(text: str, file: str) -> tuple[ast.Module | None, list[ast.stmt]]:
    """Split a file's top level after the line that makes the loss.

    Returns:
        The forward part and the statements after it; None if the top level makes no loss.
    """
    body = ast.parse(text, file).body
    if implied_function(text) is not None:
        return None, []
    bound = [bound_names(node) for node in body]
    makes = [k for k, names in enumerate(bound) if "loss" in names]
    if not makes:
        return None, []
    end = max((k for k in makes if k < first_gradient(bound)), default=makes[0])
    return ast.Module(body[: end + 1], type_ignores=[]), body[end + 1 :]


def bound_names(node: ast.stmt) -> set[str]:
    """Return the names that a statement binds."""
    return {
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }


def first_gradient(bound: list[set[str]]) -> int:
    """Return the place of the first statement that binds `d` + a name bound before it."""
    earlier: set[str] = set()
    for place, names in enumerate(bound):
        if any(name.startswith("d") and name[1:] in earlier for name in names):
            return place
        earlier |= names
    return len(bound)


def implied_function(text: str) -> str | None:
    """Return the function that is meant when none is named, None for the top level."""
    body = ast.parse(text).body
    assigned = {
        name.id
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    if "loss" in assigned:
        return None
    if "forward" in functions:
        return "forward"
    return "model" if "model" in assigned else None


def arguments(
    path: Path, name: str, call: Callable[..., Any], scope: dict[str, Any]
) -> dict[str, Any]:
    """Return a function's arguments from the file's top-level names.

    Raises:
        BadInput: a parameter without a default has no value of its name.
    """
    found: dict[str, Any] = {}
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.name in scope:
            found[parameter.name] = scope[parameter.name]
        elif parameter.default is parameter.empty:
            raise BadInput(
                f"{name} needs {parameter.name}, and the file has no such name at its top level",
                where=str(path),
                hint=f"add a line such as `{parameter.name} = torch.randn(...)` to the file",
            )
    return found


def chosen_leaves(forward: Any, given: Mapping[str, Any]) -> list[str] | None:
    """Return the arguments that the file marked as requiring a gradient; None if it marked none."""
    if isinstance(forward, torch.nn.Module):
        return None
    named = name_arguments(forward, (), given)
    return [name for name, tensor in named.items() if tensor.requires_grad] or None


def no_function(path: Path, name: str, scope: dict[str, Any]) -> BadInput:
    """Say that a file has no such function, and which it has."""
    import difflib

    known = callables(scope)
    close = difflib.get_close_matches(name, known, 1)
    return BadInput(
        f"no function {name} in this file",
        where=str(path),
        why=f"it has {', '.join(known)}" if known else "it has no functions",
        hint=f"{path}:{close[0]}" if close else "name one of its functions",
    )


def callables(scope: dict[str, Any]) -> list[str]:
    """Return the names of the functions and modules of a file."""
    return [n for n, v in scope.items() if inspect.isfunction(v) or isinstance(v, torch.nn.Module)]


def refuse_no_forward(path: Path, recorder: Recorder, scope: dict[str, Any]) -> None:
    """Refuse a top level that is no forward pass.

    Raises:
        BadInput: its `loss` is no tensor, or it makes nothing and has only functions.
    """
    if "loss" in scope and not isinstance(scope["loss"], torch.Tensor):
        reads = [note.place for note in recorder.notes if note.kind == "item" and note.place]
        raise BadInput(
            f"loss is of type {type(scope['loss']).__name__}, not a tensor, so it has no gradient",
            where=str(reads[-1].span if reads else path),
            why=reads[-1].text if reads else "",
            hint="keep the tensor: leave out .item() or float()",
        )
    known = callables(scope)
    if known and not any(value.op is not None for value in recorder.values if value.requires):
        raise BadInput(
            "the file makes no `loss`, and has no function `forward` and no module `model`",
            where=str(path),
            why=f"it has {', '.join(known)}",
            hint=f"name what to trace: {path}:{known[0]}",
        )


@contextmanager
def users_code(path: Path) -> Iterator[None]:
    """Run the user's code with its folder importable; their errors are told in their lines.

    Raises:
        HandgradError: the code cannot be traced, or it raised.
    """
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except HandgradError as error:
        if error.where:
            raise
        where = str(path)
        raise type(error)(error.what, where=where, why=error.why, hint=error.hint) from error
    except SystemExit as error:
        raise UserCodeFailed(
            f"the file called exit({error.code!r})",
            where=str(path),
            hint="leave the call out, or trace one of its functions: FILE:FUNCTION",
        ) from error
    except Exception as error:
        theirs = users_frames(error)
        if not theirs:
            raise
        raise failed(path, theirs[-1], error) from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def users_frames(error: Exception) -> list[traceback.FrameSummary]:
    """Return the frames of the user's code; none where it was handgrad that failed, not they."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [k for k, frame in enumerate(frames) if not is_ours(frame) and not is_torch(frame)]
    after = frames[places[-1] + 1 :] if places else []
    if any(is_ours(frame) and frame.name not in WATCHING for frame in after):
        return []
    return [frames[k] for k in places]


def is_ours(frame: traceback.FrameSummary) -> bool:
    """Tell whether a frame runs handgrad's code."""
    return Path(frame.filename).resolve().is_relative_to(PACKAGE)


def is_torch(frame: traceback.FrameSummary) -> bool:
    """Tell whether a frame runs torch's code or the standard library's."""
    return is_library(frame.filename)


def failed(path: Path, frame: traceback.FrameSummary, error: Exception) -> UserCodeFailed:
    """Say what the user's code raised, at the last line that is theirs."""
    message = str(error).splitlines()[0] if str(error) else ""
    return UserCodeFailed(
        f"{type(error).__name__}: {message}".rstrip(": "),
        where=f"{frame.filename}:{frame.lineno}",
        why=frame.line or "",
        hint=f"the forward pass must run by itself first: python {path}",
    )
