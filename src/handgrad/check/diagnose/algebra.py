"""The last suspect: truth minus yours as a formula, where both have a normal form."""

from __future__ import annotations

import ast

import torch

from handgrad.check.diagnose.case import Case, found
from handgrad.check.judge import equal
from handgrad.check.plain import Plain
from handgrad.check.report import Diagnosis
from handgrad.simplify.difference import Difference, difference
from handgrad.trace.replay import scope_of

SHORT = 6  # operations: a longer term explains nothing
MOST_LINES = 6


def missing_term(case: Case) -> Diagnosis | None:
    """What is missing from the value is a short formula."""
    rest = compared(case)
    if rest is None or rest.equal or rest.cost > SHORT or not case.shaped:
        return None
    if not completes(case, rest.missing):
        return None
    sign, term = signed(rest.missing)
    verb = "has too much by" if sign == "-" else "lacks"
    return found(
        "missing term",
        f"truth minus yours is one term: {case.name} {verb} {term}",
        f"yours {sign} {term} equals the truth",
        case.try_line(f"{{}} {sign} {term}"),
    )


def signed(term: str) -> tuple[str, str]:
    """Return how a term is added: its sign, and the rest of it."""
    node = ast.parse(term, mode="eval").body
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        return "+", f"({term})"
    return ("-", term[1:]) if term.startswith("-") else ("+", term)


def compared(case: Case) -> Difference | None:
    """Compare the user's statements with the derived line, None where they have no normal form."""
    backward = case.judge.derived
    texts = [statement.text for statement in case.statements]
    if backward is None or case.name != f"d{case.primal}" or len(texts) > MOST_LINES:
        return None
    trace = case.judge.trace
    known = {*trace.values, *trace.program.scalars, *(each.name for each in backward.lines)}
    known |= {backward.start, *(n for s in case.statements for n in s.assigns)}
    if not all(Plain(known).text(text) for text in texts):
        return None  # it is built in this process: only what is known to be harmless
    return difference(backward, case.name, texts)


def completes(case: Case, term: str) -> bool:
    """Tell whether a term added to the user's value gives the truth at every point."""
    for value, truth, point in zip(case.values, case.truth, case.points, strict=True):
        scope = {**case.judge.given_at(point), **scope_of(case.judge.trace.program)}
        try:
            whole = value + eval(compile(term, "<term>", "eval"), scope)
        except (RuntimeError, NameError, TypeError, IndexError, AttributeError):
            return False
        if not isinstance(whole, torch.Tensor) or not equal(whole, truth):
            return False
    return True
