"""How shapes, counts, notes and measurements are worded, in colour or without."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from handgrad.escape import escaped_name

if TYPE_CHECKING:
    from handgrad.derive import Backward
    from handgrad.ir import Line
    from handgrad.simplify import Simplified, Step
    from handgrad.trace import Trace
    from handgrad.trace.values import Note


Described = tuple[str, tuple[int, ...], str]

PLAIN = ("put in ", "multiply out", "it stretches", "the same with")
NOTES = {
    "detach": "no gradient flows back through this detach",
    "cut": "no gradient flows back through this line",
    "item": "a tensor became a plain number here: for the backward pass it is a constant",
    "state": "this is another one in the next run: the backward pass is that of this run only",
    "branch": "which way this goes depends on a value: the backward pass is that of this way only",
}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 line`, `4,137 parameters`."""
    plural = {"leaf": "leaves"}.get(noun, noun + "s")
    return f"{number:,} {noun if number == 1 else plural}"


def bracketed(shape: Sequence[int]) -> str:
    """Return a shape as `[32, 64]`."""
    return str(list(shape))


def tensor(described: Described, like: str = "") -> str:
    """Return `h [32, 64] float32`; the dtype is left out where it is `like`."""
    name, shape, dtype = described
    return " ".join([name, bracketed(shape), *([dtype] if dtype != like else [])])


def leaves(trace: Trace) -> list[tuple[Described, int]]:
    """Return each leaf with its number of entries."""
    return [(trace.described(name), trace.values[name].numel()) for name in trace.leaves]


def inputs(trace: Trace) -> list[tuple[str, str, str]]:
    """Return the other inputs with shape and dtype, then the numbers with value and type."""
    others = [n.name for n in trace.program.inputs if n.name not in trace.leaves]
    rows = [(n, bracketed(s), d) for n, s, d in map(trace.described, others)]
    scalars = trace.program.scalars.items()
    return rows + [(name, repr(value), type(value).__name__) for name, value in scalars]


def totals(trace: Trace) -> str:
    """Return what the forward pass comes to: parameters, leaves, lines, the output."""
    parameters = sum(entries for _, entries in leaves(trace))
    return (
        f"{counted(parameters, 'parameter')} in {counted(len(trace.leaves), 'leaf')}, "
        f"{counted(len(trace.lines), 'line')}, ends in {tensor(trace.described(trace.output))}"
    )


def agreement(backward: Backward, largest: float) -> str:
    """Return how the backward pass compares with autograd's, as measured."""
    dtypes = dict.fromkeys(
        str(g.dtype).removeprefix("torch.") for g in backward.trace.grads.values()
    )
    off = f"largest difference {largest:.1g}" if largest else "bit for bit"
    lines = counted(len(backward.lines), "line")
    return f"{lines}; every gradient equals autograd's ({off}, {' and '.join(dtypes)})"


def operations(backward: Backward) -> int:
    """Return how many tensor operations the lines do."""
    from handgrad.simplify.count import count

    scalars = backward.trace.program.scalars
    return sum(count(each.line.text.partition(" = ")[2], scalars) for each in backward.lines)


def shortened(result: Simplified, largest: float) -> str:
    """Return how much shorter a backward pass became, and how it compares with autograd's."""
    before = counted(len(result.before.lines), "line")
    now = f"{before} with {counted(operations(result.before), 'operation')} became "
    now += f"{len(result.lines)} with {operations(result)}"
    return f"{now}; {agreement(result, largest).partition('; ')[2]}"


def by_line(steps: Iterable[Step]) -> list[list[Step]]:
    """Return the steps of each line that changes."""
    changing = (step for step in steps if step.before != step.after)
    return [list(group) for _, group in groupby(changing, key=lambda step: step.name)]


def in_short(steps: Iterable[Step]) -> list[Step]:
    """Return one step for each line that changes, with the facts that its steps use."""
    found = []
    for many in by_line(steps):
        facts = [step.because for step in many if not step.because.startswith(PLAIN)]
        because = "; ".join(dict.fromkeys(facts)) or "put together"
        sets = min(step.sets for step in many)
        found.append(replace(many[0], after=many[-1].after, because=because, sets=sets))
    return found


def checked(result: Simplified) -> str:
    """Return how many steps there are, and at how many sizes each was run."""
    from handgrad.simplify.steps import checked

    many = [step for step in result.steps if step.before != step.after]
    return f"{counted(len(many), 'step')}. {checked(result.steps)}" if many else "No line changed."


def notes(trace: Trace) -> list[str]:
    """Return what a person should know of the forward pass, a paragraph for each note."""
    return paragraphs(trace.notes)


def paragraphs(notes: Iterable[Note]) -> list[str]:
    """Return notes as paragraphs, each once."""
    told: list[str] = []
    for note in notes:
        if note.kind == "item" and note.place and note.place.text.startswith("print("):
            continue  # nothing is made of that number
        text = NOTES.get(note.kind, note.text)
        where = f"{escaped_name(str(note.place.span))}: " if note.place else ""
        source = "\n" + quoted(note.place.text) if note.place and note.place.text else ""
        told.append(f"note: {where}{text}{source}")
    return list(dict.fromkeys(told))


def without_rule(backward: Backward) -> list[str]:
    """Return which forward lines need a rule, a paragraph for each op of a line."""
    return no_rules((name, backward.trace.lines[place]) for name, place in backward.opaque)


def no_rules(places: Iterable[tuple[str, Line]]) -> list[str]:
    """Return the paragraphs for ops without a rule and the lines that they are in."""
    told: dict[tuple[str, str], str] = {}
    for name, line in places:
        where = f"{escaped_name(str(line.span))}: " if line.span else f"{line.target}: "
        text = (
            f"note: {where}no rule for {name}, so the backward pass asks autograd for this op\n"
            f"{quoted(line.source or line.text)}\ntry: add a row for it: CONTRIBUTING.md, add an op"
        )
        told.setdefault((name, where), text)
    return list(told.values())


def left_of(printed: str) -> str:
    r"""Return what a terminal would show of a program's output: what `\r` wrote over is gone."""
    lines = printed.replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def quoted(source: str) -> str:
    """Return a line of the user's, indented, however many rows it has."""
    return textwrap.indent(source, "    ")
