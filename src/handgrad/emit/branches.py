"""Branches on sizes and numbers: emitted lines are right for one side of them alone."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from handgrad.emit.guards import WRITTEN_FOR, Guard
from handgrad.emit.parameters import SIZES, Signature, Sources, loads, plain, stored
from handgrad.errors import BadInput
from handgrad.trace import Trace
from handgrad.trace.counting import sizes_in

RANKS = {"ndim", "dim"}


class Unknown(Exception):
    """A branch reads what is not known from the arguments alone."""


def refuse_values(trace: Trace) -> None:
    """Refuse a forward pass whose lines depend on the values of tensors.

    Raises:
        BadInput: it branches on a value, or takes one out of a tensor.
    """
    for note in trace.notes:
        if note.kind not in ("branch", "item") or note.place is None or note.place.only_checks:
            continue
        does = "branches on" if note.kind == "branch" else "takes a number out of"
        raise BadInput(
            f"the forward pass {does} a tensor's values, and a Function would keep what it found",
            where=str(note.place.span),
            why=note.place.text,
            hint="keep it a tensor: torch.where(condition, a, b), or leave out .item()",
        )


def of_branches(
    signature: Signature, given: Mapping[str, Any], function: Any
) -> tuple[Signature, str]:
    """Return the signature with a guard for each branch, and the line of one without a guard.

    Args:
        signature: how the Function is called.
        given: its arguments, by the names of the parameters.
        function: the user's function.
    """
    if signature.sources is None:
        return signature, ""
    try:
        found = tuple(Branches(signature.sources, given, function).guards())
    except Unknown as where:
        return signature, str(where)
    return replace(signature, guards=found), ""


class Branches:
    """The branches that a forward pass takes at the traced sizes.

    Args:
        sources: where its numbers are made.
        given: its arguments, by the names of the parameters.
        function: the user's function.
    """

    def __init__(self, sources: Sources, given: Mapping[str, Any], function: Any) -> None:
        self.sources, self.given = sources, given
        self.first = first_line(function)
        self.scope = {**given, "torch": torch}

    def guards(self) -> Iterator[Guard]:
        """Yield a guard for each branch on sizes or numbers.

        Raises:
            Unknown: one reads sizes that are not those of the arguments; its line is the text.
        """
        yield from dict.fromkeys(self.inside(self.sources.tree.body))
        for line in sized_tests_of_helpers(self.sources, self.first):
            raise Unknown(str(line))

    def inside(self, body: list[ast.stmt]) -> Iterator[Guard]:
        """Yield the guards of statements, for each branch only those of the side that is taken."""
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Assert):
                continue
            for node in tests(statement):
                yield from self.of_test(node, statement)
            if isinstance(statement, ast.If):
                taken = self.taken(statement.test)
                yield from self.inside(statement.body if taken is not False else [])
                yield from self.inside(statement.orelse if taken is not True else [])
            else:
                for part in ("body", "orelse"):
                    yield from self.inside(getattr(statement, part, []))

    def taken(self, test: ast.expr) -> bool | None:
        """Return what a test is for the traced arguments, None if it cannot be told from them."""
        try:
            return bool(eval(ast.unparse(self.resolved(test, test.lineno)), {}, dict(self.scope)))
        except Exception:  # it reads what the arguments do not tell
            return None

    def of_test(self, test: ast.expr, statement: ast.stmt) -> Iterator[Guard]:
        """Yield the guard of one test, if it reads sizes or numbers."""
        if not self.is_sized(test):
            return
        line = self.first + statement.lineno - 1
        now = self.taken(test)
        if now is None:
            raise Unknown(str(line))
        text = ast.unparse(self.resolved(test, test.lineno))
        right, wrong = (text, f"not ({text})") if now else (f"not {text}", text)
        words = f"{WRITTEN_FOR} {right}: the forward pass branches on it (line {line})"
        yield Guard(wrong, words)

    def is_sized(self, test: ast.expr) -> bool:
        """Tell whether a test reads sizes, dtypes, or numbers among the arguments."""
        names = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
        numbers = {w for w, v in self.given.items() if type(v) in (int, float)}
        made = {n for n in names if self.sources.statement(n) is not None}
        return bool(names & numbers) or bool(made) or reads_sizes(test)

    def resolved(self, test: ast.expr, line: int) -> ast.expr:
        """Return a test in which numbers are written by what makes them of the arguments."""
        outer = self

        class Resolve(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                name = node.id
                if name in outer.given and outer.sources.times(name, line) == 1:
                    return node
                if name in ("torch", "len", "min", "max", "int", "float", "abs", "isinstance"):
                    return node
                return outer.made(name)

        return Resolve().visit(ast.parse(ast.unparse(test), mode="eval").body)

    def made(self, name: str) -> ast.expr:
        """Return what a name of the function is made of.

        Raises:
            Unknown: it is not made of sizes of the arguments.
        """
        statement = self.sources.statement(name)
        if statement is None:
            raise Unknown(name)
        axes = sizes_in(statement)
        if name in axes:
            tensor, axis = axes[name]
            return self.resolved(
                ast.parse(f"{tensor}.shape[{axis}]", mode="eval").body, statement.lineno
            )
        if stored(statement) != {name}:
            raise Unknown(name)
        return self.resolved(statement.value, statement.lineno)


def tests(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield the tests in a statement, not those in the statements in it."""
    if isinstance(statement, ast.If):
        yield statement.test
    for part in ast.iter_child_nodes(statement):
        if isinstance(part, ast.expr):
            yield from (n.test for n in ast.walk(part) if isinstance(n, ast.IfExp))


def reads_sizes(test: ast.AST) -> bool:
    """Tell whether an expression reads sizes or dtypes of tensors, and not how many axes alone."""
    for node in ast.walk(test):
        if isinstance(node, ast.Attribute) and node.attr in SIZES - RANKS:
            return True
    return False


def first_line(function: Any) -> int:
    """Return the line at which a function begins in its file, 1 if that is not known."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_firstlineno if code is not None else 1


def sized_tests_of_helpers(sources: Sources, first: int) -> Iterator[int]:
    """Yield the lines of branches on sizes in the user's functions that the forward pass calls."""
    files = {line.span.file for line in sources.trace.lines if line.span is not None}
    functions: list[ast.FunctionDef] = []
    for file in sorted(files):
        with suppress(SyntaxError):
            tree = ast.parse("".join(linecache.getlines(file)))
            functions += [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    waiting, called = [sources.tree], set[str]()
    while waiting:
        fresh = names_called(waiting.pop()) - called
        called |= fresh
        waiting += [function for function in functions if function.name in fresh]
    for function in functions:
        if function.name in called and function.lineno != first:
            holders = names_of_sizes(function)
            for node in ast.walk(function):
                if isinstance(node, ast.If | ast.IfExp) and (
                    reads_sizes(node.test) or loads(node.test) & holders
                ):
                    yield node.lineno


def names_called(tree: ast.AST) -> set[str]:
    """Return the names of what a function calls; what it has in `self` may have a `forward`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func
            found |= {name.id} if isinstance(name, ast.Name) else set()
            found |= {name.attr, "forward"} if isinstance(name, ast.Attribute) else set()
    return found


def names_of_sizes(function: ast.FunctionDef) -> set[str]:
    """Return the names in a function that are made of sizes."""
    made = [part for part in ast.walk(function) if isinstance(part, ast.Assign)]
    found: set[str] = set()
    while True:
        more = {
            name
            for part in made
            if plain(part.value) and (reads_sizes(part.value) or loads(part.value) & found)
            for name in stored(part)
        }
        if more <= found:
            return found
        found |= more
