"""What an emitted Function refuses: sizes, axes and numbers that its lines are not right for."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from handgrad.emit.resize import NUMBER, Axis
from handgrad.ir import Line
from handgrad.spell import spell
from handgrad.trace import Trace

FEW = 3  # what is written out one by one
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
    told = [f"{name}.ndim == {ndim}" for name, ndim in ranks.items()]
    test = unequal(ranks, "{}.ndim", "t.ndim")
    return (Guard(test, f"{WRITTEN_FOR} {listed(told)}"),) if ranks else ()


def of_axes(axes: Mapping[Axis, int], why: str) -> tuple[Guard, ...]:
    """Return the guard of the sizes of some axes."""
    known = {f"{w}.shape[{k}]": size for (w, k), size in axes.items() if k != NUMBER}
    told = [f"{text} == {size}" for text, size in known.items()]
    test = unequal(known, "{}", "t")
    return (Guard(test, f"{WRITTEN_FOR} {listed(told)}: {why}"),) if known else ()


def unequal(values: Mapping[str, Any], alone: str, each: str) -> str:
    """Return the test whether any of some texts is not what it was."""
    if len(values) <= FEW:
        return " or ".join(f"{alone.format(text)} != {value}" for text, value in values.items())
    return f"[{each} for t in ({', '.join(values)})] != {list(values.values())}"


def of_one(axes: Iterable[Axis]) -> tuple[Guard, ...]:
    """Return the guard of axes that may have any size but 1."""
    known = [f"{w}.shape[{k}] == 1" for w, k in axes if k != NUMBER]
    return (Guard(" or ".join(known), f"{WRITTEN_FOR} no {known[0]}"),)


def of_multiples(axes: Iterable[Axis], step: int) -> tuple[Guard, ...]:
    """Return the guard of axes whose sizes are multiples of a number."""
    known = [f"{w}.shape[{k}] % {step}" for w, k in axes if k != NUMBER]
    test = " or ".join(f"{text} != 0" for text in known)
    return (Guard(test, f"{WRITTEN_FOR} {listed([f'{text} == 0' for text in known])}"),)


def of_shapes(shapes: Mapping[str, tuple[int, ...]], why: str) -> tuple[Guard, ...]:
    """Return the guard of whole shapes."""
    told = [f"{name} {list(shape)}" for name, shape in shapes.items()]
    test = unequal(shapes, "{}.shape", "t.shape")
    return (Guard(test, f"{WRITTEN_FOR} {listed(told)}: {why}"),) if shapes else ()


def listed(words: list[str]) -> str:
    """Return words as a list in a sentence, the first of them if they are many."""
    if len(words) > FEW + 1:
        words = [*words[:FEW], f"{len(words) - FEW} more"]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def reason(trace: Trace, other: Trace | None) -> str:
    """Return why the lines of a trace are not right at the sizes of another one."""
    if other is None:
        return "its lines are for this size alone"
    for mine, theirs in zip_longest(trace.lines, other.lines):
        if mine is None or theirs is None or spelled(mine) != spelled(theirs):
            both = [line for line in (mine, theirs) if line is not None]
            inside = (line for line in both if line.span and nest(line.span.file, line.span.line))
            more = len(trace.lines) != len(other.lines)
            return told(next(inside, both[0]) if more else both[0], more)
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
