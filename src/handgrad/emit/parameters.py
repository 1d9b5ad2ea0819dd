"""The parameters of an emitted Function, and where the numbers in its lines come from."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from handgrad.emit.guards import Guard, of_shapes
from handgrad.errors import BadInput
from handgrad.spell import literal
from handgrad.trace import Trace
from handgrad.trace.source import Powers, is_limit

KNOWN = {"len", "int", "float", "min", "max", "abs", "torch"}
SIZES = {"shape", "ndim", "size", "numel", "dim", "dtype"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of `forward`.

    Attributes:
        name: what it is called.
        default: the text of its default, empty if it has none.
        must: the text of the only value that the lines are right for; empty if any will do.
        tensor: whether it was given a tensor.
    """

    name: str
    default: str = ""
    must: str = ""
    tensor: bool = True

    @property
    def text(self) -> str:
        """Return it as in the head of a function."""
        return f"{self.name}={self.default}" if self.default else self.name


@dataclass(frozen=True)
class Definition:
    """A line of `forward` that makes numbers: `B, T, C = x.shape`, `n_head = 4`."""

    targets: tuple[str, ...]
    reads: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Signature:
    """How an emitted Function is called.

    Attributes:
        name: the user's name of the forward pass.
        parameters: in their order.
        definitions: the numbers that the lines read and that are no parameters.
        guards: what it refuses.
        proved: whether it was compared with the forward pass at other sizes.
        sources: where the forward pass makes its numbers, if it is a function.
    """

    name: str
    parameters: tuple[Parameter, ...]
    definitions: tuple[Definition, ...] = ()
    guards: tuple[Guard, ...] = ()
    proved: bool = False
    sources: Sources | None = None

    @property
    def head(self) -> str:
        """Return the parameters as in the head of a function."""
        return ", ".join(parameter.text for parameter in self.parameters)

    @property
    def names(self) -> list[str]:
        """Return the parameters' names."""
        return [parameter.name for parameter in self.parameters]


def of_file(trace: Trace, name: str) -> Signature:
    """Return the signature for lines at the top level of a file: tensors, then numbers."""
    tensors = [Parameter(n.name) for n in trace.program.inputs]
    numbers = [
        Parameter(n, must=literal(value), tensor=False)
        for n, value in trace.program.scalars.items()
    ]
    shapes = {n.name: n.shape for n in trace.program.inputs}
    guards = of_shapes(shapes, "a file's top level runs at its own sizes alone")
    return Signature(name, (*tensors, *numbers), guards=guards)


def of_function(
    trace: Trace, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Signature:
    """Return the signature of a user's function or module, a module's tensors at the end.

    Raises:
        BadInput: it reads tensors that it is not given one by one.
    """
    function = called(forward)
    defaults = {w: p.default for w, p in inspect.signature(function).parameters.items()}
    inputs = [n.name for n in trace.program.inputs]
    found: list[Parameter] = []
    for word, value in given(forward, args, kwargs).items():
        name = word if word in inputs or f"{word}_" not in inputs else f"{word}_"
        has_default = defaults[word] is not inspect.Parameter.empty
        default = written(defaults[word]) if has_default else ""
        found.append(Parameter(name, default, tensor=isinstance(value, torch.Tensor)))
    extra = [name for name in inputs if name not in [p.name for p in found]]
    if extra and not isinstance(forward, torch.nn.Module):
        raise unbound(extra, forward)
    if extra and any(p.default for p in found):
        found = [Parameter(p.name, tensor=p.tensor) for p in found]  # no default before others
    found += [Parameter(name) for name in extra]
    name = type(forward).__name__ if isinstance(forward, torch.nn.Module) else name_of(forward)
    values = dict(zip((p.name for p in found), given(forward, args, kwargs).values(), strict=False))
    sources = Sources(trace, function, values)
    return Signature(name, tuple(found), tuple(sources.definitions()), sources=sources)


def called(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that runs: a module's `forward`."""
    return forward.forward if isinstance(forward, torch.nn.Module) else forward


def given(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by the names of the parameters, defaults too.

    Raises:
        BadInput: one of them holds several tensors.
    """
    signature = inspect.signature(called(forward))
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    found: dict[str, Any] = {}
    for word, parameter in signature.parameters.items():
        value = bound.arguments[word]
        several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if holds_tensors(value) or (several and value):
            raise starred(word)
        if not several:
            found[word] = value
    return found


def name_of(forward: Callable[..., Any]) -> str:
    """Return the user's name of a function, `forward` if it has none."""
    name = str(getattr(forward, "__name__", "forward"))
    return name if name.isidentifier() else "forward"


def written(value: Any) -> str:
    """Return the text of a default; none if it has none, and then it must be given."""
    try:
        return literal(value)
    except ValueError:
        return ""


def holds_tensors(value: Any) -> bool:
    """Tell whether a list, tuple or mapping has tensors in it."""
    if isinstance(value, Mapping):
        return holds_tensors(list(cast(Mapping[Any, Any], value).values()))
    return isinstance(value, list | tuple) and any(
        isinstance(part, torch.Tensor) or holds_tensors(part)
        for part in cast(list[Any] | tuple[Any, ...], value)
    )


def starred(word: str) -> BadInput:
    """Say that a parameter that takes several tensors has no place in a Function."""
    return BadInput(
        f"{word} holds several tensors, and a Function takes each as an argument of its own",
        where="function",
        hint=f"name them one by one in the forward pass, instead of {word}",
    )


def unbound(extra: list[str], forward: Callable[..., Any]) -> BadInput:
    """Say that a forward pass reads a tensor that is no argument of it."""
    words = " and ".join(extra)
    return BadInput(
        f"{name_of(forward)} reads {words}, which {'is' if len(extra) == 1 else 'are'} no argument",
        where="function",
        why="a tensor from outside, or drawn at random inside, would be lost or drawn anew",
        hint=f"make {'it an argument' if len(extra) == 1 else 'them arguments'}: "
        f"{name_of(forward)}(..., {', '.join(extra)})",
    )


class Sources:
    """Find where the numbers of a forward pass are made, in the user's own statements.

    Args:
        trace: the forward pass.
        function: the user's function.
        given: its arguments, by the names of the parameters.
    """

    def __init__(self, trace: Trace, function: Any, given: Mapping[str, Any]) -> None:
        self.trace, self.given = trace, given
        self.parameters = set(given) | {name.name for name in trace.program.inputs}
        self.tree = tree_of(function)
        self.stores = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        ]
        self.made: dict[str, Definition] = {}

    def definitions(self) -> Iterator[Definition]:
        """Yield the lines that make the numbers which are no parameters, each before its use."""
        for name in self.trace.program.scalars:
            self.need(name)
        yield from dict.fromkeys(self.made.values())

    def need(self, name: str) -> bool:
        """Note the statement that makes a number, or its value; tell whether that was found."""
        if name in self.parameters or name in self.made:
            return True
        statement = self.statement(name)
        reads = loads(statement.value) - KNOWN if statement is not None else set[str]()
        numbers = sorted(n for n in reads if n not in self.trace.values)
        if statement is not None and all(self.need(n) for n in numbers):
            text = ast.unparse(statement)
            targets = stored(statement)
            if self.agrees(text, targets):
                made = Definition(tuple(sorted(targets)), tuple(sorted(reads)), text)
                self.made |= dict.fromkeys(targets, made)
                return True
        if name not in self.trace.program.scalars:
            return False
        value = literal(self.trace.program.scalars[name])
        self.made[name] = Definition((name,), (), f"{name} = {value}")
        return True

    def statement(self, name: str) -> ast.Assign | None:
        """Return the only statement of the function's body that assigns a number's name."""
        for statement in self.tree.body:
            if not isinstance(statement, ast.Assign) or name not in stored(statement):
                continue
            statement = cast(ast.Assign, Powers().visit(copy.deepcopy(statement)))
            targets, reads = stored(statement), loads(statement.value) - KNOWN
            once = all(self.times(n) == 1 for n in targets)
            once = once and all(self.times(n, statement.lineno) == 1 for n in reads)
            clash = targets & (set(self.trace.values) | self.parameters)
            return statement if once and not clash and plain(statement.value) else None
        return None

    def times(self, name: str, before: int | None = None) -> int:
        """Return how often a name is bound, as a parameter too; above a line if one is given."""
        found = [n for n in self.stores if n.id == name and (before is None or n.lineno < before)]
        return len(found) + (name in self.parameters)

    def agrees(self, text: str, targets: set[str]) -> bool:
        """Tell whether a statement gives the numbers that the forward pass had."""
        scope: dict[str, Any] = {"torch": torch, **self.given}
        scope |= {**self.trace.values, **self.trace.program.scalars}
        for made in dict.fromkeys(self.made.values()):
            exec(made.text, scope)
        try:
            exec(text, scope)
        except (NameError, AttributeError, TypeError, ValueError, IndexError):
            return False
        numbers = self.trace.program.scalars
        return all(scope[n] == numbers[n] for n in targets if n in numbers)


def tree_of(function: Any) -> ast.FunctionDef | ast.Module:
    """Return the syntax tree of a function, an empty one if its source is not to be had."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    except (OSError, TypeError, SyntaxError):
        return ast.Module([], [])
    found = next((node for node in body if isinstance(node, ast.FunctionDef)), None)
    return found or ast.Module([], [])


def stored(node: ast.stmt) -> set[str]:
    """Return the names that an assignment binds, empty for any other statement."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return set()
    target = node.targets[0]
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return {part.id for part in parts if isinstance(part, ast.Name)}


def loads(node: ast.expr) -> set[str]:
    """Return the names that an expression reads."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def plain(node: ast.expr) -> bool:
    """Tell whether an expression is arithmetic on numbers and on sizes of tensors."""
    limits = [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and is_limit(n)]
    known = {part for n in limits for part in (n, cast(ast.Call, n.value).func)}
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and part.attr not in SIZES and part not in known:
            return False
        called = part.func if isinstance(part, ast.Call) else None
        if isinstance(called, ast.Name) and called.id not in KNOWN:
            return False
        if isinstance(part, ast.Lambda | ast.ListComp | ast.GeneratorExp | ast.NamedExpr):
            return False
    return True
