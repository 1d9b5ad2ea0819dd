"""What the user wrote: the frames of their code, its statements, and the text of its scalars."""

from __future__ import annotations

import ast
import math
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import executing
import torch
from executing import Source

from handgrad import ops
from handgrad.ir import Span, Static
from handgrad.spell import literal
from handgrad.trace.code import code_of
from handgrad.trace.effects import only_checks

CHECK = str(Path(__file__).parents[1] / "check" / "files")
LIBRARIES = tuple(
    str(Path(file).parent.resolve())
    for file in (torch.__file__, __file__, ops.__file__, executing.__file__, CHECK)
)
STANDARD = str(Path(sysconfig.get_path("stdlib")).resolve())
PLAIN_CALLS = ("range", "int", "float", "min", "max", "abs", "round")
LIMITS = ("torch.finfo", "torch.iinfo")
SIZE_CALLS = ("size", "numel", "dim", "nelement")


@cache
def is_library(file: str) -> bool:
    """Tell whether a file belongs to torch, handgrad or the standard library."""
    path = str(Path(file).resolve())
    standard = path.startswith(STANDARD) and "-packages" not in path[len(STANDARD) :]
    return file.startswith("<frozen") or standard or path.startswith(LIBRARIES)


def user_frames(frame: FrameType | None, root: FrameType | None) -> list[FrameType]:
    """Return the frames of the user's code, innermost first, up to the root."""
    found: list[FrameType] = []
    last = frame
    while frame is not None:
        if not is_library(frame.f_code.co_filename) or frame is root:
            found.append(frame)
        if frame is root:
            return found
        if frame.f_code.co_name == "run_recorded":
            return found or ([last] if last is not None else [])  # a module all of torch's own
        last, frame = frame, frame.f_back
    return found


@dataclass(frozen=True)
class Place:
    """A statement of the user's code."""

    span: Span
    text: str
    statement: ast.stmt | None = None
    targets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"line {self.span.line}"

    @property
    def only_checks(self) -> bool:
        """Tell whether the statement makes nothing: it only checks, or prints."""
        return only_checks(self.statement)


def place_of(frame: FrameType) -> Place:
    """Return the statement that a frame is running."""
    file, number = frame.f_code.co_filename, frame.f_lineno
    return place_at(code_of(frame).source, file, number)


@cache
def place_at(source: Source, file: str, number: int) -> Place:
    """Return the innermost statement at a line of a file."""
    span = Span(file, number)
    if source.tree is None:
        return Place(span, "")
    statements = [
        node
        for node in source.statements_at_line(number)
        if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    if not statements:
        return Place(span, "")
    statement = min(statements, key=lambda node: (node.end_lineno or 0) - node.lineno)
    text = segment(source, statement) or ast.unparse(statement)
    if hasattr(statement, "body"):
        text = text.splitlines()[0]
    return Place(Span(file, statement.lineno), text, statement, targets_of(statement))


def targets_of(statement: ast.stmt) -> tuple[str, ...]:
    """Return the names that a statement assigns, empty if it assigns anything else."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        target = statement.target
    else:
        return ()
    parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    return tuple(part.id for part in parts if isinstance(part, ast.Name))


def segment(source: Source, node: ast.AST) -> str:
    """Return the text of a node, as written."""
    assert isinstance(node, ast.expr | ast.stmt)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    lines = source.lines
    if first == last:
        raw = lines[first].encode()
        return raw[node.col_offset : node.end_col_offset].decode()
    head = lines[first].encode()[node.col_offset :].decode()
    tail = lines[last].encode()[: node.end_col_offset].decode()
    middle = textwrap.dedent("\n".join([*lines[first + 1 : last], tail]))
    return head + "\n" + textwrap.indent(middle, "    ")


@dataclass(frozen=True)
class Hole:
    """A name inside a scalar's text, to be spelled when all names are known."""

    start: int
    end: int
    name: str
    value: Any
    tensor: torch.Tensor | None = None


@dataclass(frozen=True)
class Scalar:
    """A scalar, shape or index as the user wrote it, with the names in it.

    Attributes:
        written: its text; None where it is to be written as its value.
        roots: it has some.
    """

    value: Any
    written: str | None = None
    holes: tuple[Hole, ...] = ()
    roots: bool = False

    @cached_property
    def text(self) -> str:
        """Return its text; that of a long list is made only for a line that is kept."""
        if self.written is not None:
            return self.written
        try:
            return literal(self.value)
        except ValueError:  # a generator: read by set-up lines only
            return f"<{type(self.value).__name__}>"

    def static(self, name_of: Callable[[Hole], str | None]) -> Static:
        """Return the static, each name in it spelled as `name_of` says; None writes the value."""
        text = self.text
        for hole in sorted(self.holes, key=lambda hole: -hole.start):
            name = name_of(hole)
            if name is None:
                return Static(self.value, literal(self.value))
            text = text[: hole.start] + name + text[hole.end :]
        return Static(self.value, by_powers(text) if self.roots else text)


class Unreadable(Exception):
    """The text of a scalar cannot be kept; its value is written instead."""


@dataclass
class Reader:
    """Read scalars' source text in one frame."""

    frame: FrameType
    source: Source
    holes: list[Hole] = field(default_factory=list)

    def written(self, value: Any, node: ast.expr) -> Scalar:
        """Return a value with its text, after checking that the text gives the value.

        Raises:
            Unreadable: the text gives another value, or has parts that only its author can run.
        """
        self.holes = []
        self.check(node)
        text = segment(self.source, node)
        if "\n" in text:
            raise Unreadable
        if not isinstance(node, ast.Slice) and not agree(self.value_of(node), value):
            raise Unreadable
        base = node.col_offset
        line = self.source.lines[node.lineno - 1].encode()
        holes = tuple(
            Hole(
                len(line[base : hole.start].decode()),
                len(line[base : hole.end].decode()),
                hole.name,
                hole.value,
                hole.tensor,
            )
            for hole in self.holes
        )
        roots = any(isinstance(n, ast.Call) and self.is_root(n) for n in ast.walk(node))
        return Scalar(value, text, holes, roots)

    def check(self, node: ast.expr | None) -> None:
        """Walk an expression of scalars, noting its names.

        Raises:
            Unreadable: it holds anything but numbers, names of numbers, and sizes of tensors.
        """
        if node is None or isinstance(node, ast.Constant):
            return
        if isinstance(node, ast.BinOp):
            self.check(node.left)
            self.check(node.right)
        elif isinstance(node, ast.UnaryOp):
            self.check(node.operand)
        elif isinstance(node, ast.Tuple | ast.List):
            for part in node.elts:
                self.check(part)
        elif isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper, node.step):
                self.check(bound)
        elif isinstance(node, ast.Attribute) and is_limit(node):
            self.check(limited(node))
        elif isinstance(node, ast.Call) and self.is_plain(node):
            for part in node.args:
                self.check(part)
        elif self.is_size(node):
            self.tensor_hole(node)
        else:
            self.scalar_hole(node)

    def is_plain(self, node: ast.Call) -> bool:
        """Tell whether a call makes a number of numbers, as `min` does, or a square root."""
        plain = isinstance(node.func, ast.Name) and node.func.id in PLAIN_CALLS
        return (plain or self.is_root(node)) and not node.keywords

    def is_root(self, node: ast.Call) -> bool:
        """Tell whether a call takes the square root of a number: math's, or numpy's."""
        called, found = node.func, None
        if isinstance(called, ast.Name):
            found = self.lookup(called.id)
        elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            module = self.lookup(called.value.id)
            known = getattr(module, "__name__", "") in ("math", "numpy")
            found = getattr(module, called.attr, None) if known else None
        number = found is math.sqrt or type(found).__name__ == "ufunc"
        return number and getattr(found, "__name__", "") == "sqrt" and len(node.args) == 1

    def is_size(self, node: ast.expr) -> bool:
        """Tell whether a node reads the size of a named tensor: x.shape[0], x.size(0), len(x)."""
        names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
        tensors = [n for n in names if isinstance(self.lookup(n), torch.Tensor)]
        return (
            bool(tensors)
            and len(tensors) == 1
            and isinstance(node, ast.Subscript | ast.Call | ast.Attribute)
        )

    def tensor_hole(self, node: ast.expr) -> None:
        """Note the tensor whose size is read."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(self.lookup(part.id), torch.Tensor):
                self.note(part, part.id, None, self.lookup(part.id))
            elif isinstance(part, ast.Attribute) and part.attr not in (
                "shape",
                "ndim",
                "dtype",
                *SIZE_CALLS,
            ):
                raise Unreadable
            elif isinstance(part, ast.Name) and part.id != "len":
                self.scalar_hole(part)

    def scalar_hole(self, node: ast.expr) -> None:
        """Note a name of a number, or an expression to be written as its number."""
        if isinstance(node, ast.Name):
            value = self.lookup(node.id)
            if not isinstance(value, int | float | torch.dtype):
                raise Unreadable
            self.note(node, node.id, value, None)
            return
        value = self.value_of(node)
        if not isinstance(value, int | float | torch.dtype):
            raise Unreadable
        self.note(node, "", value, None)

    def note(self, node: ast.expr, name: str, value: Any, tensor: torch.Tensor | None) -> None:
        """Remember a name and where it stands."""
        self.holes.append(Hole(node.col_offset, node.end_col_offset or 0, name, value, tensor))

    def lookup(self, name: str) -> Any:
        """Return what a name stands for in the frame."""
        frame = self.frame
        if name in frame.f_locals:
            return frame.f_locals[name]
        return frame.f_globals.get(name)

    def value_of(self, node: ast.expr) -> Any:
        """Evaluate an expression of scalars and sizes in the frame; it may call known functions."""
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                function = ast.unparse(part.func)
                known = function.split(".")[0] == "math" or function in (*PLAIN_CALLS, "len")
                known = known or function in LIMITS or self.is_root(part)
                if not known and function.split(".")[-1] not in SIZE_CALLS:
                    raise Unreadable
            elif isinstance(
                part, ast.NamedExpr | ast.Await | ast.Yield | ast.Lambda | ast.ListComp
            ):
                raise Unreadable
        try:
            code = compile(ast.Expression(node), "<scalar>", "eval")
            with torch._C.DisableTorchFunction():
                return eval(code, {**self.frame.f_globals, "math": math}, self.frame.f_locals)
        except Exception as error:  # any failure of the user's own expression
            raise Unreadable from error


def is_limit(node: ast.Attribute) -> bool:
    """Tell whether a node is a number of a dtype's, such as `torch.finfo(x.dtype).eps`."""
    call = node.value
    return isinstance(call, ast.Call) and ast.unparse(call.func) in LIMITS and len(call.args) == 1


def limited(node: ast.Attribute) -> ast.expr:
    """Return the dtype in `torch.finfo(x.dtype).eps`."""
    assert isinstance(node.value, ast.Call)
    return node.value.args[0]


class Powers(ast.NodeTransformer):
    """Write `math.sqrt(d)` as `d ** 0.5`, which needs no import."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Exchange one call."""
        self.generic_visit(node)
        if ast.unparse(node.func).split(".")[-1] != "sqrt" or len(node.args) != 1:
            return node
        return ast.BinOp(node.args[0], ast.Pow(), ast.Constant(0.5))


def by_powers(text: str) -> str:
    """Return the text of a scalar with powers in place of square roots."""
    return ast.unparse(Powers().visit(ast.parse(text, mode="eval")))


def agree(a: Any, b: Any) -> bool:
    """Tell whether two static values are the same."""
    try:
        return bool(a == b) and (isinstance(a, bool) == isinstance(b, bool))
    except (RuntimeError, ValueError, TypeError):
        return False


def argument_nodes(
    node: ast.AST | None, args: int
) -> tuple[list[ast.expr | None], dict[str, ast.expr]]:
    """Return the syntax nodes of a call's arguments, by position and by keyword.

    Args:
        node: what the frame is running, None if unknown.
        args: how many positional arguments torch reports; methods count their tensor.
    """
    unknown: list[ast.expr | None] = [None] * args
    if isinstance(node, ast.BinOp):
        return [node.left, node.right], {}
    if isinstance(node, ast.Compare) and len(node.comparators) == 1:
        return [node.left, node.comparators[0]], {}
    if isinstance(node, ast.Subscript):
        return [node.value, node.slice], {}
    if isinstance(node, ast.AugAssign):
        return [None, node.value], {}
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Subscript):
            return [target.value, target.slice, None], {}
    if not isinstance(node, ast.Call) or any(isinstance(a, ast.Starred) for a in node.args):
        return unknown, {}
    keywords = {word.arg: word.value for word in node.keywords if word.arg}
    given: list[ast.expr | None] = list(node.args)
    if isinstance(node.func, ast.Attribute) and args == len(given) + 1:
        return [node.func.value, *given], keywords
    return given + [None] * max(0, args - len(given)), keywords


def frame_names(frame: FrameType, only: list[str] | None) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the names of tensors in a frame, all of them or those among some."""
    if only == []:
        return
    known = frame.f_locals
    for name in list(known) if only is None else only:
        value = known.get(name)
        if isinstance(value, torch.Tensor):
            yield name, value


def caller(depth: int = 1) -> FrameType:
    """Return the frame `depth` levels above the one that asks."""
    return sys._getframe(depth + 1)
