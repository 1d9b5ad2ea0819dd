"""The backward program: one line for each cotangent, run and compared before anyone sees it."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive.hoist import Hoist
from handgrad.derive.opaque import opaque_vjp
from handgrad.derive.sweep import Contribution, Sweep, building_for
from handgrad.derive.verify import verify
from handgrad.errors import NoRule, Undecided
from handgrad.ir import Call, Expr, Item, Line, Name, children, names, operands
from handgrad.ops.evidence import sizes_by_name
from handgrad.ops.term import Term, wrap
from handgrad.spell import spell
from handgrad.threads import threads_for
from handgrad.trace import Trace


@dataclass(frozen=True)
class BackwardLine:
    """One line of the backward pass.

    Attributes:
        line: the assignment.
        primal: the forward name whose cotangent it makes; empty for a part with a name of its own.
        forward: place of the forward line that it belongs to.
        contributions: the paths that add up in it.
    """

    line: Line
    primal: str
    forward: int
    contributions: tuple[Contribution, ...] = ()

    @property
    def name(self) -> str:
        """Return the name that the line assigns."""
        return self.line.target

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of what the line makes."""
        return self.line.expr.shape


@dataclass(frozen=True, repr=False)
class Backward:
    """A backward pass, in lines.

    Attributes:
        trace: the forward pass that it belongs to.
        lines: its lines, in order.
        opaque: for each op without a rule, its name and the place of its forward line.
    """

    trace: Trace
    lines: tuple[BackwardLine, ...]
    opaque: tuple[tuple[str, int], ...] = ()
    start: str = field(default="")

    @property
    def source(self) -> str:
        """Return the lines as text, one assignment each."""
        return "\n".join(each.line.text for each in self.lines) + "\n"

    @property
    def residuals(self) -> tuple[str, ...]:
        """Return the forward names whose values the lines read, not merely their shapes."""
        own = {each.name for each in self.lines} | {self.start}
        read = (n for each in self.lines for n in names_by_value(each.line.expr))
        return tuple(dict.fromkeys(n for n in read if n not in own))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Return every forward name that the lines read, for value or shape."""
        read = (n for each in self.lines for n in names_in_text(each.line.text))
        return tuple(dict.fromkeys(n for n in read if n in self.trace.values))

    def run(self, values: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """Run the lines.

        Args:
            values: forward tensors by name; the trace's own by default.

        Returns:
            Every cotangent by name: `{"dh": tensor, ...}`.
        """
        scope: dict[str, Any] = {"torch": torch, "F": F, **self.trace.program.scalars}
        scope |= self.trace.values if values is None else values
        scope[self.start] = self.trace.upstream
        with torch.no_grad():
            exec(compile(self.source, "<backward>", "exec"), scope)
        return {each.name: scope[each.name] for each in self.lines if each.primal}

    def to_dict(self) -> dict[str, Any]:
        """Return the lines as plain data."""
        return {
            "output": self.trace.output,
            "residuals": list(self.residuals),
            "lines": [
                {
                    "line": each.line.text,
                    "name": each.name,
                    "shape": list(each.shape),
                    "forward": self.trace.lines[each.forward].text,
                }
                for each in self.lines
            ],
            "without_rule": [name for name, _ in self.opaque],
        }

    def _repr_html_(self) -> str:
        # what displays is above what computes: it is looked up only when a notebook asks
        return str(import_module("handgrad.render.html").backward_html(self))

    def __repr__(self) -> str:
        return f"Backward of {self.trace.output}: {len(self.lines)} lines\n{self.source}"


def derive(trace: Trace, *, strict: bool = False) -> Backward:
    """Write the backward pass of a traced forward pass, and prove it against autograd.

    Args:
        trace: the forward pass.
        strict: refuse ops that have no rule, instead of calling autograd for them.

    Raises:
        NoRule: an op has no rule and `strict` was asked.
        Mismatch: a line does not give autograd's gradient.
    """
    refuse_nan(trace)
    backward = Writer(trace, strict).write()
    with threads_for(trace.values.values()):
        verify(backward)
    return backward


def refuse_nan(trace: Trace) -> None:
    """Refuse a forward pass with NaN in it, naming the line where it first appears.

    Raises:
        Undecided: a value is NaN, or the output is infinite.
    """
    for name in trace.program.inputs:
        if bool(trace.values[name.name].isnan().any()):
            raise not_a_number(trace.values[name.name], name.name, "", "an input")
    for line in trace.lines:
        for target in line.targets:
            value = trace.values[target]
            bad = bool(value.isnan().any())
            if bad or (target == trace.output and not bool(value.isfinite().all())):
                raise not_a_number(value, target, str(line.span or ""), line.text)


def not_a_number(value: torch.Tensor, name: str, where: str, text: str) -> Undecided:
    """Say where NaN or infinity first appears."""
    bad = value.isnan() if bool(value.isnan().any()) else ~value.isfinite()
    first = bad.nonzero()[0].tolist()
    kind = "NaN" if bool(value.isnan().any()) else "infinite"
    return Undecided(
        f"{name} is {kind} at {int(bad.sum())} of {value.numel()} entries, first at {first}",
        where=where,
        why=f"{text}\nno gradient can be compared with autograd's here",
        hint="mend the forward pass first: a log or root of a number too small, a division by zero",
    )


class Writer:
    """Write the lines, from the last forward line to the first."""

    def __init__(self, trace: Trace, strict: bool) -> None:
        self.trace, self.strict = trace, strict
        self.known = sizes_by_name(trace.program, trace.names)
        self.taken = set(trace.values) | set(trace.program.scalars)
        self.taken |= {"d" + name for name in trace.values}
        self.lines: list[BackwardLine] = []
        self.opaque: list[tuple[str, int]] = []
        self.place = 0
        self.made: set[str] = set()
        self.memo: dict[int, bool] = {}
        self.outputs: dict[int, Any] = {}
        self.sweep = Sweep(self.wanted, self.outputs, self.no_rule)

    def write(self) -> Backward:
        """Return the backward program."""
        lines = self.trace.lines
        output = self.trace.output
        first_use = self.first_uses()
        self.sweep.found[output] = []
        for place in range(len(lines) - 1, -1, -1):
            self.place = place
            line = lines[place]
            arrived = [t for t in line.targets if t == output or self.sweep.found.get(t)]
            if arrived and self.wanted(line.expr):
                self.pass_through(line, arrived)
            ready = [n for n, at in first_use.items() if at == place and self.sweep.found.get(n)]
            for name in ready:
                self.assign(name, self.sweep.found[name])
        return Backward(self.trace, tuple(self.lines), tuple(self.opaque), "d" + output)

    def first_uses(self) -> dict[str, int]:
        """Return for each name the first line that reads it, in order of reading."""
        found: dict[str, int] = {}
        for place, line in enumerate(self.trace.lines):
            if line.differentiable:
                for name in names(line.expr):
                    found.setdefault(name, place)
        return {n: at for n, at in found.items() if n in self.trace.grads}

    def pass_through(self, line: Line, arrived: list[str]) -> None:
        """Send the cotangent of a line's targets through its expression, sharing what repeats."""
        before = {name: len(found) for name, found in self.sweep.found.items()}
        expr = line.expr
        targets = [self.term(t) for t in line.targets]
        cotangents = tuple(self.term("d" + t, t) if t in arrived else None for t in line.targets)
        if isinstance(expr, Call) and expr.op.several:
            self.outputs[id(expr)] = tuple(targets)
            self.sweep.push(expr, cotangents, line.target)
        else:
            if isinstance(expr, Call):
                self.outputs[id(expr)] = targets[0]
            elif isinstance(expr, Item):
                whole = list(wrap(expr.call))
                whole[expr.position] = targets[0]
                self.outputs[id(expr.call)] = tuple(whole)
            self.sweep.push(expr, cotangents[0], line.target)
        self.share(line, before)

    def share(self, line: Line, before: Mapping[str, int]) -> None:
        """Name the parts that the new contributions have in common."""
        fresh = [
            (name, k)
            for name, found in self.sweep.found.items()
            for k in range(before.get(name, 0), len(found))
        ]
        hoist = Hoist()
        roots = [self.sweep.found[name][k].term.expr for name, k in fresh]
        named: dict[Any, Name] = {}
        for part in hoist.shared(roots):
            expr = hoist.exchange(part, named)
            gradient = any(n.startswith("d") and n[1:] in self.trace.values for n in names(expr))
            gradient = gradient or any(n in self.made for n in names(expr))
            name = self.fresh(("d" if gradient else "") + line.target)
            if gradient:
                self.made.add(name)
            named[hoist.key(part)] = Name(name, part.shape, part.dtype)
            self.add(name, expr, "", ())
        for name, k in fresh if named else ():
            old = self.sweep.found[name][k]
            term = Term(hoist.exchange(old.term.expr, named))
            self.sweep.found[name][k] = Contribution(term, old.passages, old.via)

    def assign(self, name: str, contributions: list[Contribution]) -> None:
        """Write the line of one cotangent: the sum of what arrives by every path."""
        total: Any = contributions[0].term
        with building_for(None):
            for other in contributions[1:]:
                total = total + other.term
        self.add("d" + name, total.expr, name, tuple(contributions))

    def add(
        self, name: str, expr: Expr, primal: str, contributions: tuple[Contribution, ...]
    ) -> None:
        """Append a line."""
        line = Line((name,), expr, f"{name} = {spell(expr)}")
        self.lines.append(BackwardLine(line, primal, self.place, contributions))

    def fresh(self, base: str) -> str:
        """Return a name that is not taken."""
        count = 1
        while f"{base}_{count}" in self.taken:
            count += 1
        self.taken.add(f"{base}_{count}")
        return f"{base}_{count}"

    def term(self, name: str, like: str = "") -> Term:
        """Return a name as a term, with what is known of its sizes."""
        known = self.known[like or name]
        return Term(Name(name, known.shape, known.dtype, known.sizes))

    def wanted(self, expr: Expr) -> bool:
        """Tell whether a gradient flows to an expression."""
        if isinstance(expr, Name):
            return expr.name in self.trace.grads and expr.dtype.is_floating_point
        if id(expr) not in self.memo:
            cut = isinstance(expr, Call) and expr.constant
            self.memo[id(expr)] = not cut and any(map(self.wanted, children(expr)))
        return self.memo[id(expr)]

    def no_rule(self, call: Call, param: str, dy: Any) -> Any:
        """Stand in for a missing rule.

        Raises:
            NoRule: in strict mode.
        """
        line = self.trace.lines[self.place]
        if self.strict:
            raise NoRule(
                f"no rule for {call.op.name}",
                where=str(line.span or ""),
                why=line.text,
                hint="check still works; derive needs a rule: see CONTRIBUTING, add an op",
            )
        self.opaque.append((call.op.name, self.place))
        return opaque_vjp(call, param, dy)


def names_in_text(text: str) -> list[str]:
    """Return the names that a line loads, those in sizes such as `x.shape[0]` too."""
    loads = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name))
    return list(dict.fromkeys(n.id for n in loads if isinstance(n.ctx, ast.Load)))


def names_by_value(expr: Expr) -> list[str]:
    """Return the names that an expression reads for their values, not merely their shapes."""
    found: dict[str, None] = {}

    def visit(node: Expr) -> None:
        if isinstance(node, Name):
            found[node.name] = None
        elif isinstance(node, Item):
            visit(node.call)
        else:
            for param, arg in node.args.items():
                if param not in node.op.structural:
                    for child in operands(arg):
                        visit(child)

    visit(expr)
    return list(found)
