"""Search for the one edit that makes the user's line right, or a right line the user's."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from types import CodeType
from typing import Any

import torch

from handgrad.check.diagnose.case import Case, Tensors, found
from handgrad.check.diagnose.edits import Edit, Scope, Slot, edits, parsed, tidy
from handgrad.check.judge import equal
from handgrad.check.reference import Point
from handgrad.check.report import Diagnosis
from handgrad.ir import names
from handgrad.threads import one_thread

MOST = 1500  # edits tried for one gradient; single ones of a long line are some 600
Apart = Callable[[int, ast.stmt, int], "torch.Tensor | None"]
SLOW = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp)


@dataclass(eq=False)
class Bench:
    """Statements that make a gradient, ready to be run with one of them changed.

    Attributes:
        trees: their syntax.
        codes: they, compiled.
        scopes: for each point, what they read.
        name: the gradient.
        apart: runs them with one exchanged, where that can be done in another process only.
    """

    trees: list[ast.stmt]
    codes: list[CodeType]
    scopes: list[dict[str, Any]]
    name: str
    in_place: bool
    apart: Apart | None = None

    def run(self, place: int, code: CodeType, point: int) -> torch.Tensor | None:
        """Return the gradient with one statement exchanged, None where it raises."""
        if self.apart is not None:
            return self.apart(place, self.trees[place], point)
        scope = dict(self.scopes[point])
        if self.in_place:
            scope = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in scope.items()}
        try:
            for number, own in enumerate(self.codes):
                exec(code if number == place else own, scope)
            value = scope[self.name]
            return value.double() if isinstance(value, torch.Tensor) else None
        except Exception:  # an edit may be any nonsense
            return None

    @cached_property
    def reads(self) -> list[frozenset[str]]:
        """Return the names in each statement as it was written."""
        return [names_in(tree) for tree in self.trees]

    @property
    def slow(self) -> bool:
        """Tell whether the statements loop."""
        return any(isinstance(node, SLOW) for tree in self.trees for node in ast.walk(tree))


@contextmanager
def doubles() -> Iterator[None]:
    """Make float64 the default for a while, record nothing, and stay on one thread."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with one_thread(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error")  # what torch warns of is no repair
            yield
    finally:
        torch.set_default_dtype(default)


def users_bench(case: Case) -> Bench:
    """Return the user's own statements."""
    texts = [statement.text for statement in case.statements]
    made = bench(case, texts, case.name)
    if case.judge.runner.apart(case.local.slice):
        made.apart = partial(run_apart, case)
    return made


def run_apart(case: Case, place: int, tree: ast.stmt, point: int) -> torch.Tensor | None:
    """Return the gradient with one statement exchanged, run where the user's code runs."""
    places, text = case.local.slice, ast.unparse(tree)
    runner = case.judge.runner
    return runner.edited(case.name, places, places[place], text, case.points[point])


def bench(case: Case, texts: list[str], name: str) -> Bench:
    """Return statements with the names that they may read, changed or not."""
    trees = [ast.parse(text).body[0] for text in texts]
    read = {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name)}
    wanted = read | {n for around in swaps(case, read).values() for n, _ in around}
    wanted |= set(operands(case)) | set(case.scalars) | {"torch", "F"}
    scopes = []
    for point in case.points:
        scope = scope_at(case, point)
        scopes.append({n: scope[n] for n in wanted if n in scope and n != name})
    return Bench(trees, [compiled(t) for t in trees], scopes, name, any(map(changing, trees)))


def changing(tree: ast.stmt) -> bool:
    """Tell whether a statement may change a tensor in place."""
    if not isinstance(tree, ast.Assign) or not isinstance(tree.targets[0], ast.Name):
        return True
    called = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return any(isinstance(f, ast.Attribute) and f.attr.endswith("_") for f in called)


def scope_at(case: Case, point: Point) -> dict[str, Any]:
    """Return everything that a line may read at a point."""
    scope = case.judge.scope_at(point)
    scope |= {"d" + primal: cotangent for primal, cotangent in point.cotangents.items()}
    for other, primal in case.judge.trace.aliases.items():
        if primal in point.cotangents:
            scope["d" + other] = point.cotangents[primal]
    return scope


def compiled(tree: ast.stmt) -> CodeType:
    """Return a statement, compiled."""
    module = ast.Module([tree], type_ignores=[])
    return compile(module, "<edit>", "exec")


def operands(case: Case) -> list[str]:
    """Return the names in the forward lines around a gradient, and the gradients above it."""
    trace = case.judge.trace
    near = [n for line in case.consumers.values() for n in (*names(line.expr), *line.targets)]
    makers = [line for line in trace.lines if case.primal in line.targets]
    near += [n for line in makers for n in names(line.expr)]
    near += ["d" + t for line in case.consumers.values() for t in line.targets]
    near += ["d" + cut for cut in sorted(case.local.cuts)]
    return [n for n in dict.fromkeys(near) if n != case.name]


def swaps(case: Case, read: set[str]) -> dict[str, list[tuple[str, str]]]:
    """Return for each name what may have been meant, with the class of that mistake."""
    values = case.points[0].values
    around = operands(case)
    tensors = [n for n, v in values.items() if isinstance(v, torch.Tensor)]
    found_: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(read):
        forward = name[1:] if name.startswith("d") and name[1:] in values else name
        value = values.get(forward)
        if not isinstance(value, torch.Tensor):
            if name in case.scalars:
                others = [n for n in case.scalars if n != name]
                found_[name] = [(n, "scale") for n in others]
            continue
        alike = [n for n in tensors if values[n].shape == value.shape and n != "loss"]
        grads = ["d" + n for n in alike if n in case.points[0].cotangents]
        other = forward if forward != name else "d" + name
        choice = dict.fromkeys([*around, other, *alike, *grads])
        found_[name] = [(n, swap_kind(case, name, n)) for n in choice if n not in (name, case.name)]
    return found_


def swap_kind(case: Case, wrong: str, right: str) -> str:
    """Return the class of one name in place of another: input for output, or another operand."""
    for line in case.judge.trace.lines:
        read = [n for n in names(line.expr) if n in case.judge.trace.grads]
        pair = {wrong, right}
        if pair == {line.target, *read} and len(read) == 1:
            return "local-derivative"
    return "operand"


def edit_scope(case: Case, read: set[str]) -> Scope:
    """Return what edits of a line may put in."""
    near = list(case.scalars)[:6]
    values = case.scalars
    factors = [f for s in near for f in (s, f"1/{s}")]
    factors += [f"{s}/({s} - 1)" for s in near if values[s] > 1]
    factors += [f"({s} - 1)/{s}" for s in near if values[s] > 1]
    factors += [f"1/({s} - 1)" for s in near if values[s] > 1]
    factors += [f"1/(1 - {s})" for s in near if 0 < values[s] < 1]
    factors += ["2", "0.5"]
    return Scope(swaps(case, read), tuple(factors), tuple(operands(case)), frozenset(case.scalars))


@dataclass(frozen=True)
class Mended:
    """An edit that does it.

    Attributes:
        kind: the class of the mistake.
        operator: which kind of edit.
        before: the text that goes.
        after: the text that comes.
        line: the statement, edited.
        places: at how many places.
    """

    kind: str
    operator: str
    before: str
    after: str
    line: str
    places: int


def search(case: Case, made: Bench, goal: Tensors | None) -> Mended | None:
    """Return the first edit after which statements give a goal at every point.

    Args:
        case: the gradient.
        made: the statements.
        goal: what they should give; the truth through what they then read, by default.
    """
    most = 150 if made.slow else 400 if case.local.error else MOST
    scope = edit_scope(case, {n for read in made.reads for n in read})
    with doubles():
        first = [(k, e) for k, tree in enumerate(made.trees) for e in statement_edits(tree)]
        for tried, (place, edit) in enumerate(chain(first, edits(made.trees, scope))):
            if tried > most:
                return None
            if (mended := attempt(case, made, goal, place, edit)) is not None:
                return mended
    return None


def statement_edits(tree: ast.stmt) -> Iterator[Edit]:
    """Yield `+=` for `=`, and the other sign for an augmented assignment."""
    if isinstance(tree, ast.AugAssign):
        other: ast.operator = ast.Sub() if isinstance(tree.op, ast.Add) else ast.Add()
        yield Edit("sign", "augmented", ((Slot(tree, "op", None), other),))  # type: ignore[arg-type]


def attempt(case: Case, made: Bench, goal: Tensors | None, place: int, edit: Edit) -> Mended | None:
    """Return an edit if it gives the goal, leaving the statement as it was."""
    tree = made.trees[place]
    old = [slot.node for slot, _ in edit.changes]
    for slot, node in edit.changes:
        slot.put(ast.fix_missing_locations(node))
    try:
        code = compiled(tree)
        first = made.run(place, code, 0)
        if first is None or first.shape != (case.truth if goal is None else goal)[0].shape:
            return None
        wanted = truth_for(case, made, place) if goal is None else goal
        if not equal(first, wanted[0]):
            return None
        for number in range(1, len(made.scopes)):
            value = made.run(place, code, number)
            if value is None or not equal(value, wanted[number]):
                return None
        line = tidy(ast.unparse(tree))
    except (SyntaxError, ValueError, TypeError):
        return None
    finally:
        for (slot, _), node in zip(edit.changes, old, strict=True):
            slot.put(node)
    before = tidy(ast.unparse(old[0])) if isinstance(old[0], ast.expr) else ""
    return Mended(edit.kind, edit.operator, before, told(edit), line, len(edit.changes))


def told(edit: Edit) -> str:
    """Return the text that an edit puts in."""
    node = edit.changes[0][1]
    return tidy(ast.unparse(ast.fix_missing_locations(node))) if isinstance(node, ast.expr) else ""


def truth_for(case: Case, made: Bench, place: int) -> Tensors:
    """Return the whole gradient through the gradients that edited statements read."""
    own = {case.judge.primal(n) for n in names_in(made.trees[place]) if n != case.name}
    had = {case.judge.primal(n) for n in made.reads[place] if n != case.name}
    if own == had:
        return case.truth
    others = [made.reads[k] for k in range(len(made.trees)) if k != place]
    kept = own | {case.judge.primal(n) for read in others for n in read if n != case.name}
    known = case.local.cuts | (own - had)
    cuts = frozenset(n for n in kept if n is not None and n in known)
    return [p.expected(case.primal, cuts | {case.judge.trace.output}) for p in case.points]


def names_in(tree: ast.stmt) -> frozenset[str]:
    """Return the names in a statement."""
    return frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))


def one_edit(case: Case) -> Diagnosis | None:
    """One edit of the user's own line makes it right."""
    mended = search(case, users_bench(case), None)
    if mended is None:
        return None
    return found(
        mended.kind,
        sentence(case, mended),
        f"with `{mended.after or mended.line}`"
        f"{f' in place of `{mended.before}`' if mended.before else ''} the line equals the truth",
        mended.line,
    )


WHY = {
    "swap_name": "`{before}` stands where `{after}` belongs",
    "change_dim": "the wrong axis: `{before}` should be `{after}`",
    "change_keepdim": "keepdim: `{before}` should be `{after}`",
    "sum_for_mean": "`{before}` should be `{after}`: mean divides by the number of entries",
    "change_sign": "a sign: `{before}` should be `{after}`",
    "augmented": "a sign: the line should read `{line}`",
    "transpose": "a transpose: `{before}` should be `{after}`",
    "change_power": "a power: `{before}` should be `{after}`",
    "change_number": "a number: `{before}` should be `{after}`",
    "whole_for_one": "`{before}` takes one part of what should be added up: `{after}`",
    "drop_part": "something too much: `{before}` should be `{after}`",
    "times_number": "a factor: `{before}` should be `{after}`",
    "add_sum": "a sum is missing: `{before}` should be `{after}`",
    "flip": "the order along an axis: `{before}` should be `{after}`",
    "times_operand": "a factor is missing: `{before}` should be `{after}`",
    "same_dtype": "`{before}` makes integers: convert them with `{after}`",
}


def sentence(case: Case, mended: Mended) -> str:
    """Return what is wrong with the user's line, by the edit that mends it."""
    form = WHY.get(mended.operator, "`{before}` should be `{after}`")
    text = form.format(before=mended.before, after=mended.after, line=mended.line)
    many = f" (at {mended.places} places)" if mended.places > 1 else ""
    forward = "; ".join(line.text for line in case.consumers.values())
    reason = ""
    if mended.operator == "swap_name" and mended.kind == "local-derivative":
        reason = ": one is the input of the forward line, the other its output"
    elif mended.operator == "swap_name" and mended.after == "d" + mended.before:
        reason = ": a forward value in place of its gradient"
    return text + many + reason + (f" (forward: {forward})" if len(forward) < 90 else "")


def broken_derived(case: Case) -> Diagnosis | None:
    """One edit of a derived line gives what the user has."""
    if not case.shaped or not case.nonzero:
        return None
    texts = lines_between(case)
    if not texts:
        return None
    made = bench(case, texts, "d" + case.primal)
    mended = search(case, made, case.values)
    if mended is None:
        return None
    right = next(t for t in reversed(texts) if t.split(" = ")[0] == mended.line.split(" = ")[0])
    return found(
        product_rule(case, mended, right),
        f"{lacking(mended)}: the right line is `{right}`",
        f"`{mended.line}` gives exactly yours",
        right,
    )


def lacking(mended: Mended) -> str:
    """Return in words what turns the right line into the user's."""
    if mended.operator == "drop_part":
        return f"yours is the gradient with `{mended.after}` in place of `{mended.before}`"
    return f"yours has `{mended.after}` where `{mended.before}` belongs"


def product_rule(case: Case, mended: Mended, right: str) -> str:
    """Return the class of what the user's line lacks."""
    if mended.operator != "drop_part" or mended.kind != "accumulate":
        return mended.kind
    value = ast.parse(right).body[0]
    top = isinstance(value, ast.Assign) and isinstance(value.value, ast.BinOp)
    assert isinstance(value, ast.Assign)
    if top and isinstance(value.value, ast.BinOp) and isinstance(value.value.op, ast.Mult):
        inside = ast.dump(value.value) != ast.dump(parsed(mended.before))
        return "product-rule" if inside else "accumulate"
    return "accumulate"


def lines_between(case: Case) -> list[str]:
    """Return the derived lines from what the user reads down to the gradient."""
    lines, wanted, texts = case.derived, ["d" + case.primal], list[str]()
    cut = {"d" + n for n in case.whole}
    seen = set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen or name in cut or name not in lines:
            continue
        seen.add(name)
        wanted += [n.id for n in ast.walk(ast.parse(lines[name])) if isinstance(n, ast.Name)]
    texts = [text for name, text in lines.items() if name in seen]
    return texts if len(texts) <= 12 else []
