"""A backward pass as statements: what each reads, what each writes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import CodeType

from handgrad.errors import UserCodeFailed

SILENT = ("cmp", "print", "display", "assert_close")  # calls that only show something


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement of the user's backward pass.

    Attributes:
        text: as written.
        line: its line in the file.
        reads: names that it loads.
        assigns: names that it binds anew.
        code: it, compiled.
    """

    text: str
    line: int
    reads: frozenset[str]
    assigns: frozenset[str]
    code: CodeType

    @property
    def first_line(self) -> str:
        """Return the first line of the text."""
        return self.text.splitlines()[0]


def statements(source: str, file: str = "<backward>") -> tuple[Statement, ...]:
    """Split source text into statements; calls that only show something are left out.

    Raises:
        UserCodeFailed: the text is no Python.
    """
    try:
        body = ast.parse(source, file).body
    except SyntaxError as error:
        raise UserCodeFailed(
            f"{type(error).__name__}: {error.msg}",
            where=f"{file}:{error.lineno}",
            why=(error.text or "").rstrip(),
            hint="mend the line and run again",
        ) from error
    return of_nodes(body, source, file)


def of_nodes(body: Iterable[ast.stmt], source: str, file: str) -> tuple[Statement, ...]:
    """Return the statements of syntax nodes."""
    lines = source.encode().splitlines()
    return tuple(of_node(node, lines, file) for node in body if not silent(node))


def segment(node: ast.stmt, lines: Sequence[bytes]) -> str:
    """Return a node's text, as far left as it goes.

    `ast.get_source_segment` splits the whole file for each node.
    """
    first, last = node.lineno - 1, node.end_lineno or node.lineno
    start, end = node.col_offset, node.end_col_offset
    if not 0 <= first < last <= len(lines):
        return ast.unparse(node)
    rows = list(lines[first:last])
    rows[-1] = rows[-1][:end]
    shifted = [rows[0][start:], *(row[min(start, indent(row)) :] for row in rows[1:])]
    return b"\n".join(shifted).decode(errors="replace")


def indent(row: bytes) -> int:
    """Return how many blanks a line starts with."""
    return len(row) - len(row.lstrip())


def of_node(node: ast.stmt, lines: Sequence[bytes], file: str) -> Statement:
    """Return the statement of a syntax node."""
    text = segment(node, lines)
    loads, stores = names_of(node)
    module = ast.Module([node], type_ignores=[])
    code = compile(module, file, "exec")
    return Statement(text, node.lineno, frozenset(loads), frozenset(stores), code)


def names_of(node: ast.AST) -> tuple[set[str], set[str]]:
    """Return the names that a node loads and those that it binds; a function's own are neither."""
    loads, stores = set[str](), set[str]()
    for child in ast.iter_child_nodes(node):
        inner = names_of(child)
        loads |= inner[0]
        stores |= inner[1]
    match node:
        case ast.Name(name, ast.Load()):
            loads.add(name)
        case ast.Name(name):
            stores.add(name)
        case ast.AugAssign(ast.Name(name)):
            loads.add(name)
        case ast.alias():
            stores.add((node.asname or node.name).split(".")[0])
        case ast.arg(name):
            stores.add(name)
        case ast.Lambda():
            return loads - stores, set()
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return loads - stores, {node.name}
    return loads, stores


def silent(node: ast.stmt) -> bool:
    """Tell whether a statement only shows or documents something, or asks autograd itself."""
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Constant | ast.Name | ast.Tuple | ast.Attribute):
            return True
        if isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func).split(".")[-1]
            return called in SILENT or called in ("backward", "retain_grad")
    if isinstance(node, ast.For):  # `for t in [...]: t.retain_grad()` and `p.grad = None`
        inside = [ast.unparse(part) for part in node.body]
        return all(text.endswith((".retain_grad()", ".grad = None")) for text in inside)
    return isinstance(node, ast.Pass)


def function_body(
    source: str, name: str, file: str
) -> tuple[tuple[Statement, ...], ast.FunctionDef]:
    """Return the statements of a function's body, its `return` aside, and the function."""
    tree = ast.parse(source, file)
    function = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name)
    body = [node for node in function.body if not isinstance(node, ast.Return)]
    return of_nodes(body, source, file), function
