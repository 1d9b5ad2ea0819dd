"""Draws a program by its number: ordinary lines with one to four constructs among them."""

from __future__ import annotations

import random

from fuzzing.draws import DRAWS, STATE
from fuzzing.graphs import CONSTANTS, FUNCTIONS
from fuzzing.ordinary import DEEP, ORDINARY
from fuzzing.program import Program
from fuzzing.python import EDGES, LANGUAGE, NUMBERS
from fuzzing.several import LAYERS, RETURNS, SEVERAL
from fuzzing.writer import Unfit, Writer, add, run, source_of
from fuzzing.writes import WRITES

FAMILIES = (
    CONSTANTS,
    FUNCTIONS,
    DRAWS,
    STATE,
    WRITES,
    SEVERAL,
    LAYERS,
    RETURNS,
    NUMBERS,
    EDGES,
    LANGUAGE,
)
CONSTRUCTS = {name: texts for family in FAMILIES for name, texts in family.items()}
COUNTS = (0, 1, 1, 2, 2, 2, 3, 3, 4)  # how many constructs a program has
RETURNS_OF = ("return loss",) * 16 + (
    "return {'loss': loss}",
    "return loss, None",
    "return loss.squeeze()",
)
TRIES = 60


def generate(seed: int, only: str | None = None) -> Program:
    """Return the program of a number; `only` names a construct that it must have.

    Raises:
        Unfit: no program came of it.
    """
    rng = random.Random(seed)
    while True:
        w = started(rng, seed)
        try:
            return grown(w, only)
        except Unfit:
            continue


def started(rng: random.Random, seed: int) -> Writer:
    """Return a program with a first argument or two."""
    w = Writer(rng, seed, module=rng.random() < 0.25, asked=rng.random() < 0.5)
    w.square = rng.choice([2, 3, 4]) if rng.random() < 0.2 else 0
    for _ in range(rng.choice([1, 1, 2])):
        w.leaf(
            w.shape(rng.choice([1, 2, 2, 2, 3])), rng.choice(["float", "float", "float", "whole"])
        )
    add(w, "")
    return w


def grown(w: Writer, only: str | None) -> Program:
    """Add lines, and end in a loss."""
    rng = w.rng
    due = rng.choice(COUNTS)
    families = [rng.choice(FAMILIES) for _ in range(due)]
    chosen = [rng.choice(list(family)) for family in families] + ([only] if only else [])
    plan = [*chosen, *[""] * rng.randrange(3, 15)]
    rng.shuffle(plan)
    due_in_loss: list[str] = []
    for construct in plan:
        for _ in range(8 if construct else 2):
            text = rng.choice(CONSTRUCTS[construct]) if construct else ordinary(rng)
            if add(w, text):
                w.constructs += [construct] if construct else []
                due_in_loss += w.results if construct else []
                break
    if only and only not in w.constructs:
        raise Unfit(only)
    return ended(w, due_in_loss)


def ordinary(rng: random.Random) -> str:
    """Return the template of an ordinary line, sometimes a deep one."""
    if rng.random() < 0.1:
        text = "$x"
        for _ in range(rng.randrange(3, 9)):
            text = rng.choice(DEEP).replace("%s", text)
        return f"$0 = {text}" if len(text) < 300 else "$0 = $x.clone()"
    text = rng.choice(ORDINARY)
    return text


def ended(w: Writer, due: list[str]) -> Program:
    """Return the program with its last line, a sum of several results.

    Raises:
        Unfit: it has no gradient, or does not run.
    """
    rng = w.rng
    scope = run(w)
    given = {a.name for a in w.arguments}
    alive = [n for n, t in w.values.items() if n not in given and not n.startswith("self.")]
    alive = [n for n in alive if scope[n].requires_grad and scope[n].numel()] or list(w.values)
    used = [n for n in dict.fromkeys(due) if n in alive and rng.random() < 0.8]
    terms = list(dict.fromkeys([*alive[-rng.choice([1, 2, 3]) :], *used]))
    ways = ["%s.mean()", "(%s**2).mean()", "(%s * %s).sum()", "%s.sum()", "%s.sin().sum()"]
    text = " + ".join(rng.choice(ways).replace("%s", n) for n in terms)
    ending = [f"loss = {text}", rng.choice(RETURNS_OF)]
    program = Program(
        w.seed, source_of(w, ending), tuple(w.arguments), tuple(w.constructs), w.module
    )
    w.body += ending[:1]
    final = run(w)
    if not final["loss"].requires_grad:
        raise Unfit("no gradient")
    return program
