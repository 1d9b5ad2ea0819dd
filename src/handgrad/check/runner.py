"""Run a person's statements: the backward pass as it stands, and parts of it at a point."""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType
from typing import Any, Protocol

import torch

from handgrad.check.reference import Point
from handgrad.check.run import Run, run_once
from handgrad.check.statements import Statement
from handgrad.check.wide import wide_code
from handgrad.trace import Trace
from handgrad.trace.replay import scope_of

Given = Mapping[str, torch.Tensor]


class Runner(Protocol):
    """What runs a person's statements, in this process or in another."""

    @property
    def codes(self) -> list[CodeType]:
        """Return the statements, compiled as they run in float64."""
        ...

    def first(self, missing: Given) -> Run:
        """Run the whole backward pass as it stands, in the user's own dtype.

        Args:
            missing: gradients to supply where one is read that nothing assigned.
        """
        ...

    def value(
        self,
        name: str,
        places: tuple[int, ...],
        point: Point,
        cotangents: Given,
        given: Given | None = None,
    ) -> torch.Tensor:
        """Run statements at a point and return what a name then holds, in float64.

        Args:
            name: the name.
            places: of the statements.
            point: the forward values.
            cotangents: by primal.
            given: names of the user's own that are not computed but given.
        """
        ...

    def whole(self, point: Point, given: Given) -> Mapping[str, Any]:
        """Return every name after the backward pass ran in float64, none where it raised."""
        ...

    def apart(self, places: tuple[int, ...]) -> bool:
        """Tell whether statements can be run in another process only."""
        ...

    def edited(
        self, name: str, places: tuple[int, ...], place: int, text: str, point: Point
    ) -> torch.Tensor | None:
        """Run statements at a point with one exchanged for a text, None where they raise."""
        ...


class Here:
    """Run statements in this process.

    Args:
        trace: the forward pass.
        body: the statements.
        environment: other names that they may read: sizes, helper functions, constants.
        wide: whether casts to a narrower dtype are read as casts to float64.
    """

    def __init__(
        self,
        trace: Trace,
        body: tuple[Statement, ...],
        environment: Mapping[str, Any],
        wide: bool | None = None,
    ) -> None:
        self.trace, self.body, self.environment = trace, body, environment
        widened = narrow(trace) if wide is None else wide
        self.codes = [wide_code(each.text, "<backward>") if widened else each.code for each in body]

    def first(self, missing: Given) -> Run:
        """Run the whole backward pass as it stands, in the user's own dtype."""
        scope = {**self.environment, **scope_of(self.trace.program)}
        scope |= {n: v.clone() for n, v in self.trace.values.items()}
        scope |= {other: scope[name] for other, name in self.trace.aliases.items()}
        scope["d" + self.trace.output] = self.trace.upstream.clone()
        forward = frozenset(self.trace.values) | frozenset(self.trace.aliases)
        return run_once(self.body, scope, forward, missing)

    def value(
        self,
        name: str,
        places: tuple[int, ...],
        point: Point,
        cotangents: Given,
        given: Given | None = None,
    ) -> torch.Tensor:
        """Run statements at a point and return what a name then holds, in float64."""
        scope = Copies(self.trace, self.environment, point, cotangents, name)
        scope |= {n: v.clone() for n, v in (given or {}).items()}
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                for place in places:
                    exec(self.codes[place], scope)
        finally:
            torch.set_default_dtype(default)
        value = scope[name]
        if not isinstance(value, torch.Tensor):
            value = torch.as_tensor(value)
        return value.detach().double()

    def whole(self, point: Point, given: Given) -> Mapping[str, Any]:
        """Return every name after the backward pass ran in float64, none where it raised."""
        scope = scope_at(self.trace, self.environment, point)
        scope |= {n: v.clone() for n, v in given.items()}
        scope["d" + self.trace.output] = self.trace.upstream.double()
        try:
            with torch.no_grad():
                for code in self.codes:
                    exec(code, scope)
        except Exception:  # the user's own code may raise anything
            return {}
        return scope

    def apart(self, places: tuple[int, ...]) -> bool:
        """Tell that statements can be run here."""
        return False

    def edited(
        self, name: str, places: tuple[int, ...], place: int, text: str, point: Point
    ) -> torch.Tensor | None:
        """Run statements at a point with one exchanged for a text, None where they raise."""
        scope = scope_at(self.trace, self.environment, point)
        scope |= {"d" + primal: c.clone() for primal, c in point.cotangents.items()}
        scope |= {
            "d" + other: scope["d" + primal]
            for other, primal in self.trace.aliases.items()
            if primal in point.cotangents
        }
        scope.pop(name, None)
        try:
            for each in places:
                code = compile(text, "<edit>", "exec") if each == place else self.body[each].code
                exec(code, scope)
            value = scope[name]
            return value.double() if isinstance(value, torch.Tensor) else None
        except Exception:  # an edit may be any nonsense
            return None


class Copies(dict[str, Any]):
    """What statements may read at a point, each tensor copied when it is first read.

    Args:
        trace: the forward pass.
        environment: other names.
        point: the forward values.
        cotangents: by primal.
        without: the name that the statements make.
    """

    def __init__(
        self,
        trace: Trace,
        environment: Mapping[str, Any],
        point: Point,
        cotangents: Given,
        without: str,
    ) -> None:
        super().__init__()
        self.aliases = trace.aliases
        self.sources = environment, point.values
        self.cotangents, self.without = cotangents, without

    def __missing__(self, name: str) -> Any:
        if name == self.without:
            raise KeyError(name)
        self[name] = self.copied(name)
        return self[name]

    def copied(self, name: str) -> Any:
        """Return what a name stands for at the point.

        Raises:
            KeyError: nothing.
        """
        primal = name[1:] if name[:1] == "d" else ""
        if self.aliases.get(primal) in self.cotangents:
            return self["d" + self.aliases[primal]]
        if primal in self.cotangents:
            return self.cotangents[primal].clone()
        if name in self.aliases:
            return self[self.aliases[name]]
        environment, values = self.sources
        if name not in values:
            return widened(environment[name])
        value = values[name]
        return value.clone() if isinstance(value, torch.Tensor) else value


def scope_at(trace: Trace, environment: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """Return what statements may read at a point, in float64, each tensor a copy."""
    scope = {n: widened(v) for n, v in environment.items()}
    scope |= {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in point.values.items()}
    scope |= {other: scope[name] for other, name in trace.aliases.items()}
    return scope


def narrow(trace: Trace) -> bool:
    """Tell whether a forward pass ran in less than float64."""
    return any(g.dtype != torch.float64 for g in trace.grads.values())


def widened(value: Any) -> Any:
    """Return a floating tensor in float64, anything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.detach().double() if value.is_floating_point() else value.detach().clone()
    return value
