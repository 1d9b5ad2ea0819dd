"""Makes a program smaller while what becomes of it stays the same."""

from __future__ import annotations

import ast
import copy
import dataclasses
from collections.abc import Callable, Iterator

from fuzzing.judge import Verdict
from fuzzing.program import Program

NEEDED = ("torch", "F", "nn", "math", "np", "dataclass", "checkpoint")


def shrunk(program: Program, judge: Callable[[Program], Verdict], most: int = 1500) -> Program:
    """Return the smallest program found whose verdict is in the same group.

    Args:
        program: the program.
        judge: what tells the verdict of one.
        most: how many programs may be tried.
    """
    wanted = judge(program).group
    left = most
    changed = True
    while changed and left > 0:
        changed = False
        for candidate in smaller(program):
            left -= 1
            if judge(candidate).group == wanted:
                program, changed = candidate, True
                break
            if left <= 0:
                break
    return program


def smaller(program: Program) -> Iterator[Program]:
    """Yield programs with one thing less, the largest cuts first."""
    tree = ast.parse(program.source)
    for path in reversed(list(blocks(tree))):
        count = len(block(tree, path))
        for size in (8, 4, 2, 1):
            for first in range(count - size, -1, -1):
                yield from written(program, without(tree, path, first, size))
    for place, node in enumerate(ast.walk(tree)):
        for k, _ in enumerate(parts(node)):
            yield from written(program, replaced(tree, place, k))


def blocks(tree: ast.AST) -> Iterator[list[int]]:
    """Yield the places of the nodes that hold statements, as numbers of the walk."""
    for place, node in enumerate(ast.walk(tree)):
        if isinstance(getattr(node, "body", None), list):
            yield [place]


def block(tree: ast.AST, path: list[int]) -> list[ast.stmt]:
    """Return the statements at a place."""
    return list(ast.walk(tree))[path[0]].body  # type: ignore[attr-defined]


def without(tree: ast.AST, path: list[int], first: int, size: int) -> ast.AST:
    """Return the tree without some statements."""
    new = copy.deepcopy(tree)
    body = block(new, path)
    del body[first : first + size]
    if not body and path != [0]:
        body.append(ast.Pass())
    return new


def parts(node: ast.AST) -> list[ast.expr]:
    """Return the expressions that may stand for the whole."""
    if isinstance(node, ast.BinOp):
        return [node.left, node.right]
    if isinstance(node, ast.Call):
        values = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        return [
            *(v for v in values if not isinstance(v, ast.Name) or v.id not in NEEDED),
            *node.args,
        ]
    if isinstance(node, ast.UnaryOp):
        return [node.operand]
    return []


def replaced(tree: ast.AST, place: int, part: int) -> ast.AST:
    """Return the tree with a node exchanged for one of its parts."""
    new = copy.deepcopy(tree)
    target = list(ast.walk(new))[place]
    part_node = parts(target)[part]

    class Exchange(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return part_node if node is target else super().generic_visit(node)

    return Exchange().visit(new)


def written(program: Program, tree: ast.AST) -> Iterator[Program]:
    """Yield the program of a tree, with the arguments that it still reads."""
    try:
        source = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    except (ValueError, AttributeError):
        return
    names = {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name)}
    kept = tuple(a for a in program.arguments if a.name in names)
    for argument in program.arguments:
        if argument not in kept:
            source = without_parameter(source, argument.name)
    yield dataclasses.replace(program, source=source, arguments=kept)


def without_parameter(source: str, name: str) -> str:
    """Return a source whose `forward` has one parameter less."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            node.args.args = [a for a in node.args.args if a.arg != name]
    return ast.unparse(tree) + "\n"
