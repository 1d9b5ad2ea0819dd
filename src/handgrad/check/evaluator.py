"""The process that runs a person's file: it answers questions about it, and decides nothing.

It has the file's forward pass, the file's other names and the statements of the backward pass, but
no gradient that these could be compared with: those are in the process that asks.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from handgrad.check.diagnose.repair import doubles
from handgrad.check.failing import TEXT, outcome
from handgrad.check.handover import trace_data
from handgrad.check.pack import Opaque, type_name
from handgrad.check.recorded.files import FileRun
from handgrad.check.recorded.handing import recording_data
from handgrad.check.reference import Point
from handgrad.check.run import Run, Write, error_text
from handgrad.check.runner import Here
from handgrad.check.statements import of_nodes, statements
from handgrad.check.talk import Talk
from handgrad.check.ways import file_scope, function_statements, own_names
from handgrad.check.wide import Shaking
from handgrad.trace import Trace
from handgrad.trace.files import split, trace_target, trace_tree

NUMBERS = (bool, int, float, type(None))
CARRIED = (*NUMBERS, str, torch.Tensor, slice, range, torch.dtype)
LONGEST = 1_000  # entries of a list that goes over; a longer one stays here


class Evaluator:
    """One person's file.

    Args:
        request: which file, and what it may use.
        talk: with the process that judges.
    """

    run_of_file: FileRun
    trace: Trace
    here: Here
    run: Run

    def __init__(self, request: Mapping[str, Any], talk: Talk) -> None:
        self.request, self.talk = request, talk
        sys.path.insert(0, str(Path(request["target"]).resolve().parent))
        self.points: dict[int, Point] = {}
        self.environment: dict[str, Any] = {}
        self.answers: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "record": self.recorded,
            "rest": self.rested,
            "trace": self.traced,
            "body": self.bodied,
            "first": self.first,
            "point": self.pointed,
            "value": self.valued,
            "whole": self.whole,
            "edited": self.edited,
        }

    def serve(self) -> None:
        """Answer questions until the other side is gone."""
        while True:
            message = self.talk.hear()
            answer = self.answers[message["do"]]
            self.talk.tell(outcome(lambda a=answer, m=message: a(m), self.request))

    def recorded(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the whole file, and tell what it did to tensors."""
        self.run_of_file = FileRun(Path(self.request["target"]), message["text"])
        found = self.run_of_file.whole()
        return {"whole": [] if found is None else [recording_data(found)]}

    def rested(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call what the file never calls, and tell what that did."""
        found, untried = self.run_of_file.rest()
        left = [[each.pair, each.line, each.why] for each in untried]
        return {"recordings": list(map(recording_data, found)), "untried": left}

    def traced(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the forward pass; its gradients do not stay here."""
        target, forward = self.request["target"], self.request["forward"]
        head, _ = split(message["text"], target) if forward is None else (None, [])
        trace, scope = (
            trace_target(forward or target) if head is None else trace_tree(Path(target), head)
        )
        self.environment = own_names(scope, trace)
        if isinstance(trace.grads, dict):
            trace.grads.clear()
        self.trace = dataclasses.replace(trace, grads={})
        return trace_data(self.trace)

    def bodied(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take the statements of the backward pass, and tell what other names they may read."""
        text, file, kind = message["text"], self.request["target"], message["kind"]
        if kind == "tail":
            body = of_nodes(split(text, file)[1], text, file)
        elif kind == "function":
            body = function_statements(text, file, self.trace) or ()
            self.environment = {**file_scope(text, file), **self.environment}
        else:
            body = statements(text, file)
        self.here = Here(self.trace, body, self.environment, message["wide"])
        read = {name for statement in body for name in statement.reads}
        return {
            "names": {
                name: carried(value) if name in read or type(value) in NUMBERS else opaque(value)
                for name, value in self.environment.items()
                if not name.startswith("__")
            }
        }

    def first(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the backward pass as it stands."""
        missing = Asked(self.talk, message["missing"], message["supplied"])
        self.run = self.here.first(missing)
        gradients = set(message["gradients"])
        return {
            "writes": {
                name: [
                    [w.statement, w.fresh, shown(w, name in gradients), list(w.shares)]
                    for w in writes
                ]
                for name, writes in self.run.writes.items()
            },
            "failures": [[f.statement, f.error[:TEXT]] for f in self.run.failures],
            "mutated": [list(each) for each in self.run.mutated],
            "asked": [[place, *texts] for place, texts in self.run.asked.items()],
        }

    def pointed(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Take a point at which statements are going to be run."""
        values = {"torch": torch, "F": torch.nn.functional, **message["values"]}
        self.points[message["number"]] = Point(self.trace, values, message["cotangents"], {}, {})
        return {}

    def valued(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run statements at a point."""
        point = self.points[message["point"]]
        cotangents = {**point.cotangents, **message["cotangents"]}
        name, places, by = message["name"], tuple(message["places"]), message["shaking"]
        try:
            with Shaking(by) if by else nullcontext():
                value = self.here.value(name, places, point, cotangents, message["given"])
        except Exception as error:  # the user's own code may raise anything
            return {"raised": error_text(error)[:TEXT]}
        return {"value": value}

    def whole(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the backward pass in float64."""
        found = self.here.whole(self.points[message["point"]], message["given"])
        values = {name: found[name] for name in message["names"] if name in found}
        return {"names": {n: v for n, v in values.items() if isinstance(v, torch.Tensor)}}

    def edited(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run statements with one of them exchanged."""
        name, places, place = message["name"], tuple(message["places"]), message["place"]
        with doubles():
            value = self.here.edited(
                name, places, place, message["edit"], self.points[message["point"]]
            )
        return {"value": value}


class Asked(Mapping[str, torch.Tensor]):
    """Gradients that the other side has, each asked for when it is needed."""

    def __init__(self, talk: Talk, names: list[str], had: Mapping[str, torch.Tensor]) -> None:
        self.talk, self.names, self.had = talk, names, dict(had)

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self.had:
            self.talk.tell({"ask": name})
            self.had[name] = self.talk.hear()["given"]
        return self.had[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


def shown(write: Write, gradient: bool) -> Any:
    """Return what a name held as it goes over: all of a gradient, of other tensors their form."""
    value = write.value
    if isinstance(value, torch.Tensor):
        return value if gradient else value.to("meta")
    if gradient and type(value) not in NUMBERS:
        try:
            return torch.as_tensor(value)
        except Exception:  # it is anything
            return opaque(value)
    return value if type(value) in NUMBERS else opaque(value)


def carried(value: Any, depth: int = 0) -> Any:
    """Return a value if it can go over as data, else what stands for it."""
    if isinstance(value, CARRIED):
        return value
    if type(value) in (list, tuple) and len(value) <= LONGEST and depth < 3:
        return type(value)(carried(part, depth + 1) for part in value)
    return opaque(value)


def opaque(value: Any) -> Opaque:
    """Return what stands for a value that stays here."""
    home = getattr(value, "__name__" if type_name(value) == "module" else "__module__", "")
    return Opaque(type_name(value), home if isinstance(home, str) else "")
