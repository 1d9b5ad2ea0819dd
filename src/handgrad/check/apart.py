"""Run a person's statements from the process that judges: plain ones here, the others elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import CodeType
from typing import Any

import torch

from handgrad.check.pack import BadTalk, Broken, Opaque
from handgrad.check.plain import BUILTINS, MODULES, Plain, imported, without_imports
from handgrad.check.reference import Point
from handgrad.check.run import Elsewhere, Failure, Run, Write
from handgrad.check.runner import Given, Here
from handgrad.check.statements import Statement
from handgrad.check.talk import Talk, each, part, texts
from handgrad.check.wide import shaking
from handgrad.trace import Trace

SLOTS = 16  # points that the other process keeps


class Relayed(Broken):
    """The other process has an error to tell of.

    Args:
        frame: the error's parts.
    """

    def __init__(self, frame: Mapping[str, Any]) -> None:
        super().__init__()
        self.frame = {k: v for k, v in frame.items() if isinstance(v, str | int)}


def ask(talk: Talk, question: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the process that runs the file.

    Raises:
        Relayed: it has an error to tell of.
    """
    talk.tell(question)
    return told(talk.hear())


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer that is no error.

    Raises:
        Relayed: it is one.
    """
    if answer.get("kind") in ("error", "bug"):
        raise Relayed(answer)
    return answer


def environment_of(told: Mapping[str, Any], body: tuple[Statement, ...]) -> dict[str, Any]:
    """Return the file's other names: numbers, tensors, known modules, and what stands for others.

    Raises:
        BadTalk: a name is none.
    """
    found: dict[str, Any] = {}
    for name, value in part(told, "names", dict).items():
        if not name.isidentifier() or name.startswith("__"):
            raise BadTalk("a name is none")
        known = isinstance(value, Opaque) and value.kind == "module" and value.home in MODULES
        found[name] = MODULES[value.home] if known else value
    for statement in body:
        for name, home in imports_of(statement).items():
            found.setdefault(name, MODULES[home])
    return found


def imports_of(statement: Statement) -> dict[str, str]:
    """Return the known modules that a statement imports, by the names that it binds."""
    if not statement.text.startswith(("import", "from")):
        return {}
    tree = ast.parse(statement.text)
    return imported(tree.body[0]) if len(tree.body) == 1 else {}


def plain_names(trace: Trace, body: tuple[Statement, ...], environment: Mapping[str, Any]) -> Plain:
    """Return what plain statements of a backward pass may read."""
    by_module = {id(module): home for home, module in MODULES.items()}
    modules = {n: by_module[id(v)] for n, v in environment.items() if id(v) in by_module}
    modules |= {"torch": "torch", "F": "torch.nn.functional"}
    bound = {n for s in body if not imports_of(s) for n in s.assigns}
    names = {*trace.values, *trace.aliases, *trace.program.scalars, *bound}
    names |= {"d" + name for name in names}
    names |= {n for n, v in environment.items() if n not in modules}
    names -= {n for n, v in environment.items() if hidden(v) and n not in trace.values}
    return Plain(names, {n: home for n, home in modules.items() if n not in bound})


def hidden(value: Any) -> bool:
    """Tell whether a value, or a part of it, is in the other process."""
    if isinstance(value, list | tuple):
        return any(map(hidden, value))
    return isinstance(value, Opaque)


class Apart:
    """Run plain statements in this process, and the others where the file runs.

    Args:
        trace: the forward pass.
        body: the statements.
        environment: other names that they may read.
        talk: with the process that runs the file.
    """

    def __init__(
        self,
        trace: Trace,
        body: tuple[Statement, ...],
        environment: Mapping[str, Any],
        talk: Talk,
    ) -> None:
        self.trace, self.body, self.talk = trace, body, talk
        self.here = Here(trace, body, {**environment, "__builtins__": dict(BUILTINS)})
        plain = plain_names(trace, body, environment)
        self.plain = [plain.text(statement.text) for statement in body]
        for place, statement in enumerate(body):
            if imports_of(statement):
                tree = ast.parse(statement.text).body[0]
                self.here.codes[place] = without_imports(tree, self.here.codes[place])
        self.slots: list[Point] = []

    @property
    def codes(self) -> list[CodeType]:
        """Return the statements, compiled as they run in float64."""
        return self.here.codes

    def apart(self, places: tuple[int, ...]) -> bool:
        """Tell whether statements are more than plain torch."""
        return not all(self.plain[place] for place in places)

    def first(self, missing: Given) -> Run:
        """Run the whole backward pass as it stands, in the user's own dtype, where the file runs.

        A gradient that should be there goes over only where nothing makes it, or what makes it
        raised.
        """
        assigned = {name for statement in self.body for name in statement.assigns}
        read = {name for statement in self.body for name in statement.reads}
        supplied = sorted(read & missing.keys() - assigned)
        gradients = [*missing, *("d" + other for other in self.trace.aliases)]
        self.talk.tell(
            {
                "do": "first",
                "missing": list(missing),
                "supplied": {name: missing[name] for name in supplied},
                "gradients": gradients,
            }
        )
        given = set[str]()
        while "ask" in (answer := self.talk.hear()):
            name = part(answer, "ask", str)
            if name not in missing:
                raise BadTalk("a gradient that there is not")
            given.add(name)
            self.talk.tell({"given": missing[name]})
        run = self.run_of(told(answer))
        run.supplied = supplied
        failed = {n for f in run.failures for n in self.body[f.statement].assigns}
        if not given <= failed:
            raise BadTalk("a gradient was asked for that nothing lacked")
        self.refuse_unwritten(run, {*gradients})
        return run

    def run_of(self, answer: Mapping[str, Any]) -> Run:
        """Return what happened, from an answer."""
        run = Run()
        for name, writes in part(answer, "writes", dict).items():
            run.writes[name] = [self.write(data) for data in each(writes, list)]
        for place, error in part(answer, "failures", list):
            run.failures.append(Failure(self.place(place), each(error, str)))
        for name, place in part(answer, "mutated", list):
            run.mutated.append((each(name, str), self.place(place)))
        for place, *said in part(answer, "asked", list):
            run.asked[self.place(place)] = [each(text, str) for text in said]
        places = [[w.statement for w in writes] for writes in run.writes.values()]
        if not all(places) or any(found != sorted(found) for found in places):
            raise BadTalk("writes are out of order")
        return run

    def write(self, data: Any) -> Write:
        """Return one write."""
        place, fresh, value, shares = each(data, list)
        names = texts({"shares": shares}, "shares")
        return Write(self.place(place), each(fresh, bool), value, names)

    def place(self, place: Any) -> int:
        """Return the place of a statement."""
        if not 0 <= each(place, int) < len(self.body):
            raise BadTalk("a statement that there is not")
        return place

    def refuse_unwritten(self, run: Run, gradients: set[str]) -> None:
        """Refuse a run in which a plain assignment to a gradient did not happen.

        Raises:
            BadTalk: there is one.
        """
        done = {(n, w.statement) for n, writes in run.writes.items() for w in writes}
        failed = {failure.statement for failure in run.failures}
        for place, statement in enumerate(self.body):
            if place in failed or not gradients & statement.assigns:
                continue
            node = ast.parse(statement.text).body[0] if self.plain[place] else None
            if not isinstance(node, ast.Assign | ast.AugAssign):
                continue
            if any((n, place) not in done for n in gradients & statement.assigns):
                raise BadTalk(f"line {statement.line} ran and wrote nothing")

    def value(
        self,
        name: str,
        places: tuple[int, ...],
        point: Point,
        cotangents: Given,
        given: Given | None = None,
    ) -> torch.Tensor:
        """Run statements at a point and return what a name then holds, in float64."""
        if not self.apart(places):
            return self.here.value(name, places, point, cotangents, given)
        changed = {n: c for n, c in cotangents.items() if c is not point.cotangents.get(n)}
        answer = ask(
            self.talk,
            {
                "do": "value",
                "name": name,
                "places": list(places),
                "point": self.slot(point),
                "cotangents": changed,
                "given": dict(given or {}),
                "shaking": shaking(),
            },
        )
        if "raised" in answer:
            raise Elsewhere(part(answer, "raised", str))
        return part(answer, "value", torch.Tensor).double()

    def whole(self, point: Point, given: Given) -> Mapping[str, Any]:
        """Return every name after the backward pass ran in float64, none where it raised."""
        if not self.apart(tuple(range(len(self.body)))):
            return self.here.whole(point, given)
        names = ["d" + n for n in (*self.trace.grads, *self.trace.aliases)]
        question = {"do": "whole", "point": self.slot(point), "given": dict(given), "names": names}
        return part(ask(self.talk, question), "names", dict)

    def edited(
        self, name: str, places: tuple[int, ...], place: int, text: str, point: Point
    ) -> torch.Tensor | None:
        """Run statements at a point with one exchanged for a text, None where they raise."""
        question = {"do": "edited", "name": name, "places": list(places), "place": place}
        answer = ask(self.talk, {**question, "edit": text, "point": self.slot(point)})
        return None if answer.get("value") is None else part(answer, "value", torch.Tensor)

    def slot(self, point: Point) -> int:
        """Return under which number the other process knows a point."""
        for number, known in enumerate(self.slots):
            if known is point:
                return number
        number = len(self.slots) if len(self.slots) < SLOTS else SLOTS - 1
        self.slots[number:] = [point]
        values = {n: v for n, v in point.values.items() if not hasattr(v, "__name__")}
        question = {"do": "point", "number": number, "values": values}
        ask(self.talk, {**question, "cotangents": dict(point.cotangents)})
        return number
