"""Make mutants of right backward passes, put them before the checker, count what it says."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from handgrad.check.assess import assess
from handgrad.check.judge import Judge
from handgrad.check.report import Report, Row, Verdict
from handgrad.check.statements import statements
from mutation.operators import Context, Mistake, mistakes
from mutation.oracle import equivalent, is_gradient
from mutation.programs import Program, programs, scope_of


@dataclass(frozen=True, eq=False)
class Mutant:
    """A backward pass with mistakes in it.

    Attributes:
        program: the forward pass.
        source: the backward pass, mistakes included.
        operators: the name of each mistake's operator.
        lines: for each mistake, the numbers of the lines that are it.
        before: for each mistake, the line as it should be.
        after: for each mistake, the line as it is.
    """

    program: Program
    source: str
    operators: tuple[str, ...]
    lines: tuple[frozenset[int], ...]
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the checker says of a mutant.

    Attributes:
        mutant: it.
        bad: the rows that are not good.
        error: what the checker itself raised.
    """

    mutant: Mutant
    bad: tuple[Row, ...]
    error: str = ""

    @property
    def caught(self) -> bool:
        """Tell whether some row is not good."""
        return bool(self.bad)

    @property
    def named(self) -> bool:
        """Tell whether every mistake's line is named, and no other line."""
        lines = [row.number for row in self.bad]
        everywhere = frozenset().union(*self.mutant.lines)
        return set(lines) <= everywhere and all(m & set(lines) for m in self.mutant.lines)

    def __str__(self) -> str:
        m = self.mutant
        changes = zip(m.operators, m.lines, m.before, m.after, strict=True)
        told = [f"  line {min(n)}, {o}: `{a}` for `{b}`" for o, n, b, a in changes]
        rows = [f"  {r.name}, line {r.number} named: {r.verdict} {r.note}" for r in self.bad]
        named = "caught, another line named" if self.caught else "not caught"
        return "\n".join([f"{m.program.name}: {named}", *told, *rows, *self.error.splitlines()[:1]])


def judged(program: Program, source: str) -> Report:
    """Return the checker's report of a backward pass."""
    return assess(Judge(program.trace, statements(source)))


def outcome(mutant: Mutant) -> Outcome:
    """Put a mutant before the checker."""
    try:
        report = judged(mutant.program, mutant.source)
    except Exception as error:  # a checker that raises has not caught it
        return Outcome(mutant, (), f"  raised {type(error).__name__}: {error}")
    bad = (row for row in report.rows if not row.verdict.good)
    return Outcome(mutant, tuple(row for row in bad if not dead(mutant.program, row)))


def dead(program: Program, row: Row) -> bool:
    """Tell whether a row is undecided because the gradient is zero, mistake or none."""
    truth = program.trace.grads[row.name[1:]]
    return row.verdict is Verdict.UNTESTED and not bool(truth.any())


def values_of(program: Program, lines: tuple[str, ...]) -> dict[str, Any]:
    """Return every name after a backward pass."""
    scope = scope_of(program.trace)
    with torch.no_grad():
        exec("\n".join(lines), scope)
    return scope


def contexts(program: Program, lines: tuple[str, ...]) -> list[Context]:
    """Return for each line what it assigns and could read."""
    scope = values_of(program, lines)
    known = [n for n in program.trace.values if isinstance(scope.get(n), torch.Tensor)]
    known.append("d" + program.trace.output)
    found = []
    for line in lines:
        target = target_of(line)
        found.append(Context(target, {n: scope[n] for n in known if n != target}, program.made))
        if target not in known:
            known.append(target)
    return found


def target_of(line: str) -> str:
    """Return the name that a line assigns."""
    node = ast.parse(line).body[0]
    if isinstance(node, ast.AugAssign):
        return ast.unparse(node.target)
    assert isinstance(node, ast.Assign)
    return ast.unparse(node.targets[0])


@dataclass(frozen=True, eq=False)
class Variant:
    """One right backward pass of a program, with what its lines may read."""

    program: Program
    lines: tuple[str, ...]
    around: list[Context]


def variant(program: Program, lines: tuple[str, ...] | None = None) -> Variant:
    """Return a backward pass of a program, the derived one by default."""
    lines = lines or program.lines
    return Variant(program, lines, contexts(program, lines))


def mistake_in(chosen: Variant, place: int, rng: random.Random) -> Mistake | None:
    """Return a mistake in a line, every operator that fits as likely as another."""
    found = list(mistakes(chosen.lines[place], chosen.around[place]))
    kinds = sorted({m.operator for m in found})
    if not kinds:
        return None
    kind = rng.choice(kinds)
    return rng.choice([m for m in found if m.operator == kind])


def mutant_of(chosen: Variant, places: list[int], rng: random.Random) -> Mutant | None:
    """Return a mutant with a mistake at each place; None if it is none, or Python says it itself."""
    made = {place: mistake_in(chosen, place, rng) for place in places}
    text: list[str] = []
    lines = []
    for place, line in enumerate(chosen.lines):
        mistake = made.get(place)
        new = (mistake.text if mistake else line).splitlines()
        if mistake:
            lines.append(frozenset(range(len(text) + 1, len(text) + len(new) + 1)))
        text += new
    told = [m for m in made.values() if m]
    if len(told) < len(places) or not all(stands(chosen, p, m) for p, m in made.items() if m):
        return None
    if not all(different(chosen, p, m) for p, m in made.items() if m):
        return None
    return Mutant(
        chosen.program, "\n".join(text) + "\n", tuple(m.operator for m in told), tuple(lines),
        tuple(chosen.lines[p] for p in sorted(made)), tuple(made[p].text for p in sorted(made)),
    )  # fmt: skip


def stands(chosen: Variant, place: int, mistake: Mistake) -> bool:
    """Tell whether the changed line runs: what raises is told by Python."""
    context = chosen.around[place]
    scope = scope_of(chosen.program.trace)
    scope |= {n: v.clone() for n, v in context.tensors.items()}
    earlier = values_of(chosen.program, chosen.lines[:place])
    try:
        with torch.no_grad():
            exec(mistake.text, {**scope, **earlier})
    except Exception:
        return False
    return True


def different(chosen: Variant, place: int, mistake: Mistake) -> bool:
    """Tell whether a mistake changes a gradient."""
    lines = [*chosen.lines]
    lines[place] = mistake.text
    same_reads = upstream(mistake.text) == upstream(chosen.lines[place])
    noisy = same_reads and mistake.operator != "drop_upstream"
    right = "\n".join(chosen.lines)
    return not equivalent(chosen.program, right, "\n".join(lines), noisy=noisy)


def upstream(line: str) -> set[str]:
    """Return the names in a line that look like gradients."""
    names = (n.id for n in ast.walk(ast.parse(line)) if isinstance(n, ast.Name))
    return {name for name in names if name.startswith("d")}


Rewrite = Callable[[Program, random.Random], tuple[str, ...]]


def drawn(
    count: int, seed: int, mistakes_each: int = 1, rewrite: Rewrite | None = None
) -> Iterator[Mutant]:
    """Yield different mutants of the programs in turn.

    Args:
        count: how many.
        seed: of every choice.
        mistakes_each: in how many lines of a mutant there is a mistake.
        rewrite: makes another right backward pass of the derived one, drawn anew for each mutant.
    """
    rng, seen, made = random.Random(seed), set[str](), 0
    known = programs()
    plain = {} if rewrite else {p.name: variant(p) for p in known}
    while made < count:
        program = known[rng.randrange(len(known))]
        chosen = variant(program, rewrite(program, rng)) if rewrite else plain[program.name]
        places = [
            k
            for k, c in enumerate(chosen.around)
            if is_gradient(program, c.target) or c.target.startswith("tmp")
        ]
        if len(places) < mistakes_each:
            continue
        mutant = mutant_of(chosen, sorted(rng.sample(places, mistakes_each)), rng)
        if mutant is not None and mutant.source not in seen:
            seen.add(mutant.source)
            made += 1
            yield mutant
