"""Judge a recorded file: its backward pass as straight lines, each gradient called as one."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from handgrad.check.assess import assess
from handgrad.check.drawn import pictures
from handgrad.check.judge import Judge
from handgrad.check.recorded.choosing import settled
from handgrad.check.recorded.files import is_numpy_alone
from handgrad.check.recorded.forward import NoGradient, forward_trace
from handgrad.check.recorded.naming import meant
from handgrad.check.recorded.recording import Recording
from handgrad.check.recorded.seeds import comes_late, seeded
from handgrad.check.recorded.settle import NEAR, Settlement, distance
from handgrad.check.recorded.telling import Told, text_of
from handgrad.check.recorded.uncalled import Untried
from handgrad.check.report import Report, Row, Verdict
from handgrad.check.statements import Statement, names_of
from handgrad.derive.hoist import inside
from handgrad.errors import BadInput
from handgrad.ir import Call, Expr, Line, Name, Static, names
from handgrad.spell import spell
from handgrad.trace import Trace

MOST_LOSSES = 4  # of one recording by which it is judged


Rest = Callable[[], tuple[list[Recording], list[Untried]]]


def judged(whole: Recording | None, rest: Rest, text: str) -> dict[str, Any]:
    """Judge what was recorded of a file, and return what came of it as plain data.

    Args:
        whole: what its own run did, None if it computes nothing.
        rest: what is never called, called: it is asked for where that run has no backward pass.
        text: the file's.

    Raises:
        BadInput: nothing in any is a gradient.
    """
    errors: list[BadInput] = []
    if whole is not None:
        try:
            return judged_best(whole, text)
        except BadInput as error:
            errors.append(error)
    found: list[dict[str, Any]] = []
    recordings, untried = rest()
    for recording in recordings:
        try:
            found.append(judged_best(recording, text))
        except BadInput as error:
            pair = recording.told.partition(":")[0]
            untried.append(Untried(pair, 0, error.what))
    if not found:
        raise errors[0] if errors else nothing(untried)
    return together(found, [untried_row(each, text) for each in untried])


def nothing(untried: list[Untried]) -> BadInput:
    """Say that a file computes nothing, and why what it defines could not be called."""
    return BadInput(
        "nothing is computed when this file runs",
        why="\n".join(f"{each.pair}: {each.why}" for each in untried),
        hint="call its functions at the end of the file, the backward pass too",
    )


def untried_row(each: Untried, text: str) -> dict[str, Any]:
    """Return the row of what could not be called."""
    lines = text.splitlines()
    line = lines[each.line - 1].strip() if 0 < each.line <= len(lines) else ""
    row = Row(each.pair, Verdict.UNCONFIRMED, line, each.line, note=each.why)
    return Report((row,)).to_dict()["rows"][0]


def together(found: list[dict[str, Any]], more: list[dict[str, Any]]) -> dict[str, Any]:
    """Return several results as one, with more rows."""
    reports = [each["report"] for each in found]
    rows = [*(row for report in reports for row in report["rows"]), *more]
    whole = {
        "ok": not more and all(report["ok"] for report in reports),
        "supplied": [name for report in reports for name in report["supplied"]],
        "told": [text for report in reports for text in report["told"]],
        "rows": rows,
    }
    drawn = {name: each for one in reversed(found) for name, each in one["pictures"].items()}
    return {"report": whole, "pictures": drawn}


def judged_best(recording: Recording, text: str) -> dict[str, Any]:
    """Judge one recording of a file, by that of its losses of which the fewest rows are wrong.

    Raises:
        BadInput: nothing in it is a gradient.
    """
    late = comes_late(recording)
    if late and (told := judged_from_seed(recording, text)) is not None:
        return told
    found: list[dict[str, Any]] = []
    errors: list[BadInput] = []
    for loss in recording.losses[:MOST_LOSSES]:
        try:
            found.append(judged_one(recording, loss, text))
        except NoGradient as error:
            errors.append(error)
        if found and found[-1]["report"]["ok"]:
            return found[-1]
    told = None if late else judged_from_seed(recording, text)
    if told is not None and (told["report"]["ok"] or not found):
        return told
    if not found:
        raise errors[0] if errors else no_loss()
    return min(found, key=wrong_in)


def judged_from_seed(recording: Recording, text: str) -> dict[str, Any] | None:
    """Judge a recording by the first value that stands for a cotangent, None if none does."""
    found: list[dict[str, Any]] = []
    seed = ""
    for other, first, told in seeded(recording):
        if found and first != seed:
            break
        seed = first
        try:
            found.append(judged_one(other, other.losses[0], text))
        except BadInput:
            continue
        found[-1]["report"]["told"] += [told]
        if found[-1]["report"]["ok"]:
            return found[-1]
    return min(found, key=wrong_in, default=None)


def no_loss() -> BadInput:
    """Say that nothing is a loss, and nothing stands for its gradient."""
    return BadInput(
        "no line makes a loss: a tensor with one entry",
        hint="name the file's forward pass: --forward FILE:FUNCTION",
    )


def wrong_in(told: dict[str, Any]) -> int:
    """Return how many rows are not right."""
    return sum(not Verdict(row["verdict"]).good for row in told["report"]["rows"])


def judged_one(recording: Recording, loss: str, text: str) -> dict[str, Any]:
    """Judge one recording of a file by one loss.

    Raises:
        BadInput: nothing in it is a gradient.
    """
    trace = forward_trace(recording, loss)
    refuse_other_graph(recording, trace)
    report, told, judge = report_of(trace, recording, text)
    drawn = {told.name(n): each for n, each in pictures(judge, report.rows).items()}
    return {"report": told.report(report).to_dict(), "pictures": drawn}


def report_of(trace: Trace, recording: Recording, text: str) -> tuple[Report, Told, Judge]:
    """Return what came of the lines of a recording, who tells of it, and who judged.

    Args:
        trace: the forward pass.
        recording: what was recorded.
        text: where its lines stand.

    Raises:
        BadInput: nothing in it is a gradient.
    """
    found = settled(trace, recording)
    lines = Lines(found, is_numpy_alone(text))
    if asks_autograd(recording, trace):
        raise BadInput("a line asks autograd", hint="write the gradient by hand")
    if not found.of:
        raise NoGradient(
            "no line writes a gradient of this forward pass",
            hint="name each gradient `d` + the forward name",
        )
    judge = Judge(lines.trace, lines.body, lines.environment)
    return assess(judge), Told(found, lines.called, lines.parts, text.splitlines()), judge


def refuse_other_graph(recording: Recording, trace: Trace) -> None:
    """Refuse a recording whose gradients are not those of the person's own graph.

    Raises:
        BadInput: a hook, or a backward pass of the file's own, makes another one.
    """
    for name, grad in recording.own.items():
        mine = trace.grads.get(name)
        size = float(grad.abs().max()) if grad.numel() else 0.0
        if mine is None or distance(grad, mine) > NEAR * size:
            raise BadInput(
                f"the gradient of {text_of(recording.labels[name], name)} passes something that is "
                "no line",
                hint="leave out hooks, and write the forward pass in plain torch",
            )


def asks_autograd(recording: Recording, trace: Trace) -> bool:
    """Tell whether what autograd gave is called as a gradient, or goes into one."""
    called = {label.key for name in trace.values for label in recording.labels[name]}
    for name in recording.asked:
        lines = [line for line in recording.program.lines if name in names(line.expr)]
        readers = [target for line in lines for target in line.targets]
        labels = [label for n in (name, *readers) for label in recording.labels[n]]
        if any(key in called for label in labels for key in meant(label)):
            return True
    return False


class Lines:
    """The backward pass of a settled recording as statements.

    A part that has no name and is read once stands in the line that reads it.

    Args:
        found: the recording.
        any_dtype: a gradient may be wider than its primal, as NumPy makes it of mixed arrays.

    Attributes:
        trace: the forward pass, each further gradient of one value under an alias.
        body: the statements.
        environment: tensors that they read and that are no forward values.
        called: for each value, what it is called here.
    """

    def __init__(self, found: Settlement, any_dtype: bool) -> None:
        self.found, self.any_dtype = found, any_dtype
        self.called: dict[str, str] = {}
        aliases: dict[str, str] = {}
        taken = {*found.trace.values}
        for target, primal in {**found.recording.supplied, **found.of}.items():
            word = primal
            while f"d{word}" in taken:
                word += "_"
            aliases |= {word: primal} if word != primal else {}
            taken.add(f"d{word}")
            self.called[target] = f"d{word}"
        for line in found.body:
            for target in line.targets:
                self.called.setdefault(target, fresh(target, taken))
        self.parts = {target: f"d{primal}" for target, primal in found.parts.items()}
        self.trace: Trace = replace(found.trace, aliases=aliases)
        self.environment = self.constants()
        self.body = tuple(self.statements())

    def constants(self) -> dict[str, Any]:
        """Return the tensors from outside that are no forward values, and the numbers."""
        recording, known = self.found.recording, self.found.trace.values
        made = {target for line in self.found.body for target in line.targets}
        made |= {*recording.supplied}  # a judge supplies them too
        own = {n: v for n, v in recording.values.items() if n not in made and n not in known}
        return {**own, **recording.program.scalars}

    def statements(self) -> list[Statement]:
        """Return the statements."""
        found = self.found
        uses = Counter(name for line in found.body for name in {*names(line.expr)})
        steps = found.recording.steps
        readers = {n: steps[line.target] for line in found.body for n in names(line.expr)}
        inlined: dict[str, Expr] = {}
        made: list[Statement] = []
        for line in self.needed():
            expr = renamed(line.expr, {**self.renaming(line), **inlined})
            target = line.target
            single = len(line.targets) == 1 and uses[target] == 1
            single = single and readers.get(target) == found.recording.steps[target]
            if single and not found.recording.labels[target] and target not in found.of:
                inlined[target] = expr
                continue
            made.append(self.statement(line, expr))
            made += [self.cast(each) for each in line.targets if self.widened(each)]
            made += [self.copied(each) for each in line.targets if each in self.parts]
        return made

    def widened(self, target: str) -> bool:
        """Tell whether a gradient is of another dtype than its primal, and may be."""
        values, primal = self.found.recording.values, self.found.of.get(target)
        return (
            self.any_dtype and primal is not None and values[target].dtype != values[primal].dtype
        )

    def cast(self, target: str) -> Statement:
        """Return the statement that gives a gradient the dtype of its primal."""
        dtype = self.found.recording.values[self.found.of[target]].dtype
        return self.renamed_as(target, self.called[target], f".to({dtype})")

    def copied(self, target: str) -> Statement:
        """Return the statement that gives a part the name of the gradient that it is."""
        return self.renamed_as(target, self.parts[target])

    def renamed_as(self, target: str, name: str, cast: str = "") -> Statement:
        """Return the statement that gives a value another name, or dtype."""
        own = self.called[target]
        text = f"{name} = {own}{cast}"
        number = self.found.recording.steps[target].line
        code = compile(text, "<backward>", "exec")
        return Statement(text, number, frozenset({own}), frozenset({name}), code)

    def needed(self) -> list[Line]:
        """Return the lines that gradients are made by."""
        wanted, kept = {*self.found.of, *self.found.parts}, list[Line]()
        for line in reversed(self.found.body):
            if not wanted.isdisjoint(line.targets):
                kept.append(line)
                wanted |= set(names(line.expr))
        return kept[::-1]

    def renaming(self, line: Line) -> dict[str, Expr]:
        """Return what a line's names stand for here."""
        values = self.found.recording.values
        return {
            n: Name(self.called.get(n, n), tuple(values[n].shape), values[n].dtype)
            for n in names(line.expr)
        }

    def statement(self, line: Line, expr: Expr) -> Statement:
        """Return one line as a statement of the person's."""
        text = f"{', '.join(self.called[t] for t in line.targets)} = {spell(expr)}"
        node = ast.parse(text).body[0]
        loads, stores = names_of(node)
        code = compile(text, "<backward>", "exec")
        number = self.found.recording.steps[line.target].line
        return Statement(text, number, frozenset(loads), frozenset(stores), code)


def fresh(name: str, taken: set[str]) -> str:
    """Return a name for a value that is no gradient: it is never called as one."""
    made, count = f"own_{name}", 1
    while made in taken:
        made, count = f"own_{name}_{count}", count + 1
    taken.add(made)
    return made


def renamed(expr: Expr, by: Mapping[str, Expr]) -> Expr:
    """Return an expression with names exchanged, those in sizes too."""
    if isinstance(expr, Name):
        return by.get(expr.name, expr)
    done = inside(expr, lambda part: renamed(part, by))
    if not isinstance(done, Call):
        return done
    moved = {n for n, e in by.items() if not isinstance(e, Name) or e.name != n}
    args = {n: unnamed(a, moved) if isinstance(a, Static) else a for n, a in done.args.items()}
    return Call(done.op, args, done.outputs, done.constant)


def unnamed(static: Static, moved: set[str]) -> Static:
    """Return a number without the names that mean something else here."""
    from handgrad.spell import literal

    read = set(re.findall(r"[A-Za-z_]\w*", static.text))
    return Static(static.value, literal(static.value)) if read & moved else static
