"""What an emitted Function refuses: sizes, axes and numbers that its lines are not right for."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from handgrad.emit.resize import NUMBER, Axis
from handgrad.ir import Line
from handgrad.spell import spell
from handgrad.trace import Trace

LOOPS = (ast.For, ast.While)
NESTS = (*LOOPS, ast.If)
WRITTEN_FOR = "this Function was written for"


@dataclass(frozen=True)
class Guard:
    """A test at the head of `forward`, and what its error says where it is true."""

    test: str
    words: str


def of_ranks(ranks: Mapping[str, int]) -> tuple[Guard, ...]:
    """Return the guard of how many axes each tensor has."""
    test = " or ".join(f"{name}.ndim != {ndim}" for name, ndim in ranks.items())
    told = [f"{name}.ndim == {ndim}" for name, ndim in ranks.items()]
    return (Guard(test, f"{WRITTEN_FOR} {listed(told)}"),) if ranks else ()


def of_axes(axes: Mapping[Axis, int], why: str) -> tuple[Guard, ...]:
    """Return the guard of the sizes of some axes."""
    known = {f"{w}.shape[{k}]": size for (w, k), size in axes.items() if k != NUMBER}
    test = " or ".join(f"{text} != {size}" for text, size in known.items())
    told = [f"{text} == {size}" for text, size in known.items()]
    return (Guard(test, f"{WRITTEN_FOR} {listed(told)}: {why}"),) if known else ()


def of_one(axes: Iterable[Axis]) -> tuple[Guard, ...]:
    """Return the guard of axes that may have any size but 1."""
    known = [f"{w}.shape[{k}] == 1" for w, k in axes if k != NUMBER]
    return (Guard(" or ".join(known), f"{WRITTEN_FOR} no {known[0]}"),)


def of_shapes(shapes: Mapping[str, tuple[int, ...]], why: str) -> tuple[Guard, ...]:
    """Return the guard of whole shapes."""
    test = " or ".join(f"{name}.shape != {shape}" for name, shape in shapes.items())
    told = [f"{name} {list(shape)}" for name, shape in shapes.items()]
    words = listed(told) if len(told) < 5 else "tensors of the shapes that it was traced with"
    return (Guard(test, f"{WRITTEN_FOR} {words}: {why}"),) if shapes else ()


def listed(words: list[str]) -> str:
    """Return words as a list in a sentence."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def reason(trace: Trace, other: Trace | None) -> str:
    """Return why the lines of a trace are not right at the sizes of another one."""
    if other is None:
        return "its lines are for this size alone"
    for mine, theirs in zip_longest(trace.lines, other.lines):
        if mine is None or theirs is None or spelled(mine) != spelled(theirs):
            line = mine or theirs
            return told(line, len(trace.lines) != len(other.lines))
    return "its gradients are summed and reshaped as at this size"


def spelled(line: Line) -> str:
    """Return a line's right side in the table's own words."""
    return spell(line.expr)


def told(line: Line, other_lines: bool) -> str:
    """Say what a line that is another one at another size has to do with it."""
    if line.span is None:
        return f"{line.text} is another line at another one"
    inside = nest(line.span.file, line.span.line)
    if other_lines and inside is not None:
        does = "loops over it" if isinstance(inside, LOOPS) else "branches on it"
        return f"the forward pass {does} (line {inside.lineno})"
    if other_lines:
        return f"the forward pass has other lines at another one, from line {line.span.line} on"
    return f"line {line.span.line} has it as a number: {' '.join(line.text.split())}"


def nest(file: str, number: int) -> ast.stmt | None:
    """Return the outermost loop or branch around a line, None if there is none."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, NESTS) and node.lineno <= number <= (node.end_lineno or 0)
    ]
    loops = [node for node in around if isinstance(node, LOOPS)]
    return min(loops or around, key=lambda node: node.lineno, default=None)


def joined(axes: Iterable[Mapping[Axis, int]]) -> dict[Axis, int]:
    """Return the axes of several mappings as one."""
    found: dict[Axis, int] = {}
    for each in axes:
        found |= each
    return found
