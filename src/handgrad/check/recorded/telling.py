"""Tell of a recorded file's gradients in the person's own words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from handgrad.check.recorded.naming import Label, meant
from handgrad.check.recorded.settle import Settlement
from handgrad.check.report import Diagnosis, Report, Row, Verdict
from handgrad.ir import Line
from handgrad.spell import spell

WORD = re.compile(r"(?<![\w.'\"])[A-Za-z_]\w*")
ORDER = [*Verdict]
LONGEST = 60  # characters of a value that is told by what makes it
WORST = (Verdict.WRONG, Verdict.SHAPE)


@dataclass
class Told:
    """Rows and reasons in the person's own words.

    Args:
        found: what is the gradient of what.
        called: what each backward value is called in the statements that were judged.
        parts: and those that are gradients too, beside it.
        source: the lines of the file.
        spelled: the unnamed values that are being spelled.
    """

    found: Settlement
    called: dict[str, str]
    parts: dict[str, str]
    source: list[str]
    spelled: set[str] = field(default_factory=set[str])

    @cached_property
    def values(self) -> dict[str, str]:
        """Return the backward values by what they are called in the statements."""
        pairs = (*self.called.items(), *self.parts.items())
        return {name: target for target, name in pairs}

    @cached_property
    def order(self) -> dict[str, int]:
        """Return when each value was made."""
        program = self.found.recording.program
        made = [target for line in program.lines for target in line.targets]
        return {name: k for k, name in enumerate([*(n.name for n in program.inputs), *made])}

    def name(self, name: str) -> str:
        """Return what the person calls a gradient."""
        target = self.values.get(name, name)
        labels, primal = self.found.recording.labels, self.found.of.get(target, "")
        if target in labels and not labels[target] and labels.get(primal):
            return f"update of {labels[primal][0].text}"
        return gradient_text(labels.get(target, ()), target)

    def report(self, report: Report) -> Report:
        """Return the rows under the person's names, one for each line and name."""
        rows: dict[tuple[str, int], Row] = {}
        seen: dict[tuple[int, str], str] = {}
        for row in report.rows:
            told = self.row(row)
            if told is None:
                continue
            if told.diagnosis is not None:
                first = seen.setdefault((told.number, told.diagnosis.text), told.name)
                told = told if first == told.name else inheriting(told)
            for each in (told, *self.again(told, self.values.get(row.name, ""))):
                key = each.name, each.number
                if key not in rows or worse(each, rows[key]):
                    rows[key] = each
        lost = [self.lost(target) for target in self.found.lost]
        told = self.found.recording.told
        given = () if told else report.supplied
        return Report((*rows.values(), *lost), given, (told,) if told else ())

    def lost(self, target: str) -> Row:
        """Return the row of what is called a gradient, and cannot be told of what."""
        recording = self.found.recording
        number = recording.steps[target].line
        return Row(
            gradient_text(recording.labels[target], target),
            Verdict.UNCONFIRMED,
            self.text_at(number),
            number,
            shape=tuple(recording.values[target].shape),
            note="it is no gradient of a forward value that its name or its shape tells",
        )

    def again(self, row: Row, target: str) -> Iterator[Row]:
        """Yield the rows of a right gradient's other names: `dp = de` has one of its own."""
        labels = self.found.recording.labels
        shared = {label.key for name in self.found.also for label in labels[name]}
        for label in labels.get(target, ()) if row.verdict.good else ():
            other = not label.held and label.text != row.name
            if other and not label.depth and shared & {*meant(label)}:
                text = self.text_at(label.line)
                yield replace(row, name=label.text, number=label.line, line=text)

    def row(self, row: Row) -> Row | None:
        """Return a row in the person's words, None for one that nobody asked for."""
        recording = self.found.recording
        target = self.values.get(row.name)
        if target is None:
            leaf = row.name[1:]
            if leaf not in recording.marked or leaf in self.found.covered:
                return None
            return replace(row, name="d" + text_of(recording.labels[leaf], leaf))
        step = recording.steps[target]
        number = row.number or step.line
        note = self.out_of_sight(row, target)
        if note:
            row = replace(row, verdict=Verdict.UNCONFIRMED, note=note, diagnosis=None)
            number = step.line
        return replace(
            row,
            name=self.name(row.name),
            number=number,
            line=self.text_at(number) or row.line,
            note=self.words(row.note),
            diagnosis=None if row.diagnosis is None else self.diagnosis(row.diagnosis, number),
        )

    def out_of_sight(self, row: Row, target: str) -> str:
        """Say why a gradient can be neither right nor wrong here, nothing where it can."""
        found = self.found
        primal = found.of.get(target) or found.parts[target]
        if primal in found.unseen:
            line = found.unseen[primal]
            return (
                f"numbers are taken from {self.word(primal)} at line {line}, and none follows them"
            )
        line = found.numbers_in(target)
        if line and row.approximate and row.verdict is Verdict.WRONG:
            return f"its value is autograd's; it may hold numbers that were taken at line {line}"
        return ""

    def text_at(self, number: int) -> str:
        """Return a line of the file."""
        return self.source[number - 1].strip() if 0 < number <= len(self.source) else ""

    def diagnosis(self, diagnosis: Diagnosis, number: int) -> Diagnosis:
        """Return a reason in the person's words; a line to try only if all its names are theirs."""
        return replace(
            diagnosis,
            text=self.words(diagnosis.text),
            proof=self.words(diagnosis.proof),
            suggestion=self.line_to_try(diagnosis.suggestion, number),
        )

    def words(self, text: str) -> str:
        """Return a text with the person's lines and names instead of those that were judged."""
        for line in self.found.trace.lines:
            if line.text in text:
                theirs = self.text_at(self.found.recording.steps[line.target].line)
                text = text.replace(line.text, theirs or line.text)
        return WORD.sub(lambda found: self.word(found.group()), text)

    def word(self, word: str) -> str:
        """Return what the person calls a name."""
        target = self.values.get(word, word)
        labels = self.found.recording.labels.get(target, ())
        if target in self.found.of:
            return gradient_text(labels, word)
        return labels[0].text if labels else self.unnamed(word, target)

    def unnamed(self, word: str, name: str) -> str:
        """Return a forward value without a name as what makes it, `x @ W + b`, if that is short."""
        line = self.makers.get(name)
        if line is None or len(line.targets) > 1 or name in self.spelled:
            return word
        self.spelled.add(name)
        text = WORD.sub(lambda found: self.word(found.group()), spell(line.expr))
        self.spelled.discard(name)
        return f"({text})" if len(text) <= LONGEST else word

    @cached_property
    def makers(self) -> dict[str, Line]:
        """Return the forward lines by what they make."""
        return {t: line for line in self.found.trace.lines for t in line.targets}

    def line_to_try(self, text: str, number: int) -> str:
        """Return a suggested line in names that mean the same where it stands, else nothing."""
        theirs: dict[str, str] = {}
        target = text.partition("=")[0].strip()
        for word in map(str, {*WORD.findall(text)}):
            value = self.values.get(word, word)
            if value not in self.found.recording.labels:
                continue
            known = self.readable(value, number, word == target)
            if not known:
                return ""
            theirs[word] = known
        return WORD.sub(lambda found: theirs.get(found.group(), found.group()), text)

    def readable(self, value: str, number: int, bound: bool) -> str:
        """Return what a value can be read as at a line; for what the line binds, its own name."""
        for label in self.found.recording.labels[value]:
            if not re.fullmatch(r"[\w.\[\]'\"-]+", label.text):
                continue
            if bound or (label.line <= number and self.is_current(label, value, number)):
                return label.text
        return ""

    def is_current(self, label: Label, value: str, number: int) -> bool:
        """Tell whether a name still means a value where a line stands."""
        for other, labels in self.found.recording.labels.items():
            later = self.order.get(other, 0) > self.order.get(value, 0)
            mine = [o for o in labels if (o.home, o.key) == (label.home, label.key)]
            if later and other != value and any(o.line < number for o in mine):
                return False
        return True


def inheriting(row: Row) -> Row:
    """Return a row whose one mistake another row has told of already."""
    note = f"inherits the mistake of line {row.number}"
    return replace(row, verdict=Verdict.CORRECT, inherits=True, diagnosis=None, note=note)


def worse(one: Row, other: Row) -> bool:
    """Tell whether a row says worse than another."""
    return rank(one.verdict) > rank(other.verdict)


def rank(verdict: Verdict) -> int:
    """Return how bad a verdict is."""
    if verdict is Verdict.UNTESTED:
        return -1  # another turn of the same line was tested
    worst = {each: len(ORDER) + len(WORST) - k for k, each in enumerate(WORST)}
    return worst.get(verdict, ORDER.index(verdict))


def text_of(labels: tuple[Label, ...], name: str) -> str:
    """Return what a value is called in the outermost frame."""
    return labels[0].text if labels else name


def gradient_text(labels: tuple[Label, ...], name: str) -> str:
    """Return what a gradient is called: a name that says that it is one, if there is one."""
    says = [label.text for label in labels if meant(label)]
    return (says or [text_of(labels, name)])[0]
