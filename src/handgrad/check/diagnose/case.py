"""What a suspect looks at: one wrong gradient, the truth, and the forward lines around it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import torch

from handgrad.check.judge import Judge, Local, equal
from handgrad.check.reference import Point
from handgrad.check.report import Diagnosis
from handgrad.check.statements import Statement
from handgrad.ir import Call, Line, names
from handgrad.trace.replay import scope_of

Tensors = list[torch.Tensor]
NEAR = 1e-9


@dataclass(eq=False)
class Case:
    """One wrong gradient.

    Attributes:
        judge: the forward pass and the user's statements.
        local: the gradient, computed alone, with what it should be.
        name: its name, `dlogits`.
    """

    judge: Judge
    local: Local
    name: str

    @property
    def primal(self) -> str:
        """Return the forward name."""
        return self.local.name

    @property
    def values(self) -> Tensors:
        """Return what the user computed, at each point."""
        return self.local.values

    @property
    def truth(self) -> Tensors:
        """Return the whole gradient at each point."""
        return self.local.full

    @property
    def points(self) -> tuple[Point, ...]:
        """Return the points."""
        return self.judge.points

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape that the gradient should have."""
        return tuple(self.truth[0].shape)

    @property
    def whole(self) -> frozenset[str]:
        """Return the names at which the truth is cut: those used, and the output."""
        return self.local.cuts | {self.judge.trace.output}

    @property
    def shaped(self) -> bool:
        """Tell whether the user's value has the right shape."""
        return all(v.shape == t.shape for v, t in zip(self.values, self.truth, strict=True))

    @cached_property
    def consumers(self) -> dict[int, Line]:
        """Return the forward lines that read the primal, by place."""
        return {
            place: line
            for place, line in enumerate(self.judge.trace.lines)
            if line.differentiable and self.primal in names(line.expr)
        }

    @cached_property
    def statements(self) -> list[Statement]:
        """Return the user's statements that make the gradient."""
        return [self.judge.body[place] for place in self.local.slice]

    @cached_property
    def scalars(self) -> dict[str, float]:
        """Return the numbers in scope by name, those of the primal's own lines first."""
        found = {**self.judge.environment, **self.judge.trace.program.scalars}
        near = " ".join(line.text for line in self.consumers.values())
        numbers = {
            name: float(value)
            for name, value in found.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        return dict(sorted(numbers.items(), key=lambda item: not word_in(item[0], near)))

    @cached_property
    def derived(self) -> dict[str, str]:
        """Return the derived lines by the name they assign, none where there is no rule."""
        backward = self.judge.derived
        return {} if backward is None else {e.name: e.line.text for e in backward.lines}

    @cached_property
    def derived_line(self) -> str:
        """Return the derived line of this gradient, if all it reads is in the user's own scope."""
        text = self.derived.get("d" + self.primal, "")
        if not text.startswith(self.name + " "):
            return ""
        output, run = "d" + self.judge.trace.output, self.judge.run
        known = {*run.writes, *run.supplied, *self.judge.environment}
        known |= {n for s in self.statements for n in s.reads}
        made = {target for line in self.consumers.values() for target in line.targets}
        if self.local.cuts and self.local.cuts <= made:
            known |= {"d" + target for target in made}  # to be written, if they are not yet
        forms = [text]
        if output not in known and not self.judge.trace.given:
            ones = f"torch.ones_like({self.judge.trace.output})"
            forms = [re.sub(rf"\b{output}\b", one, text) for one in ("1", ones)]
        return next((form for form in forms if self.runs(form, known)), "")

    def runs(self, text: str, known: set[str]) -> bool:
        """Tell whether a line reads only what the user has, and gives autograd's gradient."""
        read = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        values, grads = self.judge.trace.values, self.judge.trace.grads
        gradients = {n for n in read if n.startswith("d") and n not in values and n != self.name}
        if not gradients <= known:
            return False
        scope = {**self.judge.environment, **values, **scope_of(self.judge.trace.program)}
        scope |= {"d" + n: grad for n, grad in grads.items()}
        try:
            exec(text, scope)
        except (RuntimeError, TypeError, AttributeError, NameError):
            return False
        made, due = scope[self.name], grads[self.primal]
        if made.shape != due.shape or made.dtype != due.dtype or not due.numel():
            return False
        bound = 1e4 * torch.finfo(due.dtype).eps * float(due.abs().max())
        return not float((made - due).abs().max()) > bound

    def becomes(self, change: Callable[[torch.Tensor, Point], torch.Tensor]) -> bool:
        """Tell whether a change of the user's value gives the truth at every point."""
        try:
            pairs = zip(self.values, self.points, self.truth, strict=True)
            return all(equal(change(value, point), truth) for value, point, truth in pairs)
        except (RuntimeError, IndexError, TypeError):
            return False

    def is_value(self, made: Iterable[torch.Tensor]) -> bool:
        """Tell whether some tensors are what the user computed, at every point."""
        return all(equal(m, v) for m, v in zip(made, self.values, strict=True)) and self.nonzero

    @property
    def nonzero(self) -> bool:
        """Tell whether the user's value is anything but zero."""
        return any(bool(value.any()) for value in self.values)

    @property
    def right_hand(self) -> str:
        """Return the right-hand side of the only statement, in brackets where needed."""
        if len(self.statements) == 1:
            node = ast.parse(self.statements[0].text).body[0]
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == self.name:
                text = ast.get_source_segment(self.statements[0].text, node.value) or ""
                tight = ast.Name | ast.Call | ast.Attribute | ast.Subscript
                return text if isinstance(node.value, tight) else f"({text})"
        return self.name

    def try_line(self, form: str) -> str:
        """Return a line to try: the user's right-hand side in a form such as `{}.sum(0)`."""
        return f"{self.name} = {form.format(self.right_hand)}"


def word_in(word: str, text: str) -> bool:
    """Tell whether a name appears in a text."""
    return re.search(rf"\b{re.escape(word)}\b", text) is not None


def found(kind: str, text: str, proof: str, suggestion: str = "") -> Diagnosis:
    """Return a diagnosis."""
    return Diagnosis(kind, text, proof, suggestion)


def close(one: float, other: float) -> bool:
    """Tell whether two numbers are the same but for rounding."""
    return abs(one - other) <= NEAR * max(abs(one), abs(other))


def ratio(part: torch.Tensor, whole: torch.Tensor) -> float | None:
    """Return the one number that `part` is times `whole`, None if there is none."""
    if part.shape != whole.shape or not whole.numel() or not bool(whole.any()):
        return None
    place = whole.abs().argmax()
    factor = float(part.reshape(-1)[place] / whole.reshape(-1)[place])
    if factor != factor or not equal(whole * factor, part):
        return None
    return factor or None


def common_ratio(parts: Iterable[torch.Tensor], wholes: Iterable[torch.Tensor]) -> float | None:
    """Return the ratio that holds at every point, None if there is none."""
    ratios = [ratio(part, whole) for part, whole in zip(parts, wholes, strict=True)]
    first = ratios[0]
    if first is None or any(r is None or not close(r, first) for r in ratios):
        return None
    return first


def single(line: Line) -> bool:
    """Tell whether a forward line is one op on names."""
    expr = line.expr
    return isinstance(expr, Call) and not any(isinstance(a, Call) for a in expr.args.values())


def named_factor(case: Case, value: float, sizes: Mapping[str, int]) -> str:
    """Return how a factor is written with the numbers in scope, or nothing."""
    plain = {"2": 2.0, "3": 3.0, "4": 4.0}
    if (text := next((t for t, v in plain.items() if close(v, value)), "")) and not any(
        close(v, value) for v in case.scalars.values()
    ):
        return text
    numbers = {**case.scalars, **{t: float(v) for t, v in sizes.items()}}
    for form, (name, number) in product(FORMS, numbers.items()):
        made = FORMS[form](number)
        if made is not None and made != 1 and close(made, value):
            return form.format(name)
    return text


def _safe(function: Callable[[float], float]) -> Callable[[float], Any]:
    def run(number: float) -> float | None:
        try:
            made = function(number)
        except (ZeroDivisionError, OverflowError):
            return None
        return made if isinstance(made, float) else None

    return run


FORMS: dict[str, Callable[[float], Any]] = {
    "{}": _safe(lambda s: s),
    "({}-1)": _safe(lambda s: s - 1),
    "{0}/({0}-1)": _safe(lambda s: s / (s - 1)),
    "1/(1-{})": _safe(lambda s: 1 / (1 - s) if 0 < s < 1 else 0.0),
    "{}**0.5": _safe(lambda s: s**0.5 if s > 0 else 0.0),
    "1/{}": _safe(lambda s: 1 / s),
    "{}**2": _safe(lambda s: s**2),
}
