"""Rewrite a right backward pass as people write theirs: fused, renamed, split, in another order."""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mutation.operators import is_op, replace_in
from mutation.oracle import is_gradient
from mutation.programs import Program, scope_of

LONGEST = 300  # characters; a person breaks a line before


def free_form(program: Program, rng: random.Random) -> tuple[str, ...]:
    """Return another right backward pass of a program, drawn at random."""
    leaves = {"d" + leaf for leaf in program.trace.leaves}
    lines = fused([*program.lines], leaves, rng)
    lines = renamed_temporaries(program, lines, rng)
    lines = reordered(lines, rng)
    return tuple(split_sums(program, lines, rng))


def target(line: str) -> str:
    """Return the name that a line assigns, whole or in part."""
    node = ast.parse(line).body[0]
    assert isinstance(node, ast.Assign | ast.AugAssign)
    return ast.unparse(node.target if isinstance(node, ast.AugAssign) else node.targets[0])


def value(line: str) -> ast.expr:
    """Return the right-hand side of a line."""
    node = ast.parse(line).body[0]
    assert isinstance(node, ast.Assign | ast.AugAssign)
    return node.value


def reads(line: str) -> list[str]:
    """Return the names that a line loads, as often as it does."""
    nodes = ast.walk(ast.parse(line))
    return [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]


def fused(lines: list[str], keep: set[str], rng: random.Random, share: float = 0.5) -> list[str]:
    """Put lines that one other line reads once into that line, a share of them.

    Args:
        lines: one assignment each.
        keep: names that stay.
        rng: of the choice.
        share: how many of those that could go.
    """
    for name in [target(line) for line in lines]:
        line = next(line for line in lines if target(line) == name)
        readers = [other for other in lines if name in reads(other)]
        if name in keep or len(readers) != 1 or reads(readers[0]).count(name) != 1:
            continue
        if rng.random() < share and len(line) + len(readers[0]) < LONGEST:
            place = lines.index(readers[0])
            lines[place] = inlined(readers[0], name, value(line))
            lines.remove(line)
    return lines


def inlined(line: str, name: str, new: ast.expr) -> str:
    """Return a line with an expression in the place of a name."""
    node = ast.parse(line)
    (part,) = (n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id == name and loads(n))
    return ast.unparse(replace_in(node, part, new))


def loads(node: ast.Name) -> bool:
    """Tell whether a name is read."""
    return isinstance(node.ctx, ast.Load)


def renamed_temporaries(program: Program, lines: list[str], rng: random.Random) -> list[str]:
    """Give names of their own to intermediate gradients, a few of them, and to parts."""
    leaves = {"d" + leaf for leaf in program.trace.leaves}
    names: dict[str, str] = {}
    for line in lines:
        name = target(line)
        own = not is_gradient(program, name)
        if name not in leaves and (own or rng.random() < 0.1):
            names[name] = f"tmp{len(names) + 1}"
    return [with_names(line, names) for line in lines]


def with_names(line: str, names: Mapping[str, str]) -> str:
    """Return a line with names replaced."""
    node = ast.parse(line)
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            part.id = names.get(part.id, part.id)
    return ast.unparse(node)


def reordered(lines: list[str], rng: random.Random) -> list[str]:
    """Put lines in another order in which each still follows what it reads."""
    left, found, made = [*lines], list[str](), {target(line) for line in lines}
    known: set[str] = set()
    while left:
        ready = [line for line in left if set(reads(line)) & made <= known]
        line = rng.choice(ready[:3])
        left.remove(line)
        found.append(line)
        known.add(target(line))
    return found


def split_sums(program: Program, lines: Sequence[str], rng: random.Random) -> list[str]:
    """Write a sum as an assignment and `+=`, half of those where that is allowed."""
    scope, found = scope_of(program.trace), list[str]()
    with torch.no_grad():
        for line in lines:
            node, name = value(line), target(line)
            whole = eval(ast.unparse(node), scope)
            made = [line]
            if is_op(node, ast.Add) and rng.random() < 0.5:
                left, right = ast.unparse(node.left), ast.unparse(node.right)
                if owned(eval(left, scope), whole, eval(right, scope), scope):
                    made = [f"{name} = {left}", f"{name} += {right}"]
            found += made
            scope[name] = whole
    return found


def owned(part: Any, whole: Any, rest: Any, scope: Mapping[str, Any]) -> bool:
    """Tell whether a term may be added to in place: a whole tensor that nothing else shares."""
    if not isinstance(part, torch.Tensor) or part.shape != whole.shape or part.dtype != whole.dtype:
        return False
    if not part.is_contiguous() or not isinstance(rest, torch.Tensor) or rest.dtype != whole.dtype:
        return False
    place = part.untyped_storage().data_ptr()
    others = (v for v in scope.values() if isinstance(v, torch.Tensor))
    return all(v.untyped_storage().data_ptr() != place for v in others)
