"""Write the backward pass of a traced forward pass: one line for each cotangent."""

from __future__ import annotations

from typing import Any

import torch

from handgrad.derive.backward import Backward, BackwardLine, refuse_nan
from handgrad.derive.hoist import Hoist
from handgrad.derive.opaque import opaque_vjp
from handgrad.derive.sweep import Contribution, Sweep, building_for
from handgrad.derive.verify import verify
from handgrad.errors import NoRule, must_be
from handgrad.ir import Call, Expr, Item, Line, Name, children, names, walk
from handgrad.ops.evidence import sizes_by_name
from handgrad.ops.term import Term, wrap
from handgrad.patience import patience
from handgrad.spell import spell
from handgrad.threads import threads_for
from handgrad.trace import Trace

MOST_TERMS = 50  # in one line


def derive(trace: Trace, *, strict: bool = False) -> Backward:
    """Write the backward pass of a traced forward pass, and prove it against autograd.

    Args:
        trace: the forward pass.
        strict: refuse ops that have no rule, instead of calling autograd for them.

    Raises:
        NoRule: an op has no rule and `strict` was asked.
        Mismatch: a line does not give autograd's gradient.
    """
    must_be(trace, Trace, "hg.derive(hg.trace(forward, *args))")
    refuse_nan(trace)
    with patience("deriving"), threads_for(trace.values.values()):
        backward = Writer(trace, strict).write()
        verify(backward)
    return backward


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
        self.counts: dict[str, int] = {}
        self.memo: dict[int, bool] = {}
        self.outputs: dict[int, Any] = {}
        self.sweep = Sweep(self.wanted, self.outputs, self.no_rule)

    def write(self) -> Backward:
        """Return the backward program."""
        lines = self.trace.lines
        output = self.trace.output
        first_read = self.first_read()
        self.sweep.found[output] = []
        for place in range(len(lines) - 1, -1, -1):
            self.place = place
            line = lines[place]
            arrived = [t for t in line.targets if t == output or self.sweep.found.get(t)]
            if arrived and self.wanted(line.expr):
                self.pass_through(line, arrived)
            for name in first_read[place]:
                if self.sweep.found.get(name):
                    self.assign(name, self.sweep.found[name])
        self.add_zeros()
        return Backward(self.trace, tuple(self.lines), tuple(self.opaque), "d" + output)

    def add_zeros(self) -> None:
        """Write the line of each cotangent that nothing arrives at: it is 0."""
        written = {each.primal for each in self.lines} | {self.trace.output}
        for name in self.trace.grads:
            if name not in written:
                with building_for(None):
                    zero: Any = torch.zeros_like(self.term(name))  # pyright: ignore[reportArgumentType]
                self.add("d" + name, zero.expr, name, ())

    def first_read(self) -> list[list[str]]:
        """Return for each line the names that no line before it reads, in order of reading."""
        seen: set[str] = set()
        found: list[list[str]] = []
        for line in self.trace.lines:
            read = names(line.expr) if line.differentiable else []
            found.append([n for n in read if n not in seen and n in self.trace.grads])
            seen.update(read)
        return found

    def pass_through(self, line: Line, arrived: list[str]) -> None:
        """Send the cotangent of a line's targets through its expression, sharing what repeats."""
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
        self.share(line)

    def share(self, line: Line) -> None:
        """Name the parts that the new contributions have in common, and what is deep in them."""
        fresh = sorted(self.sweep.brought, key=lambda each: (self.sweep.rank[each[0]], each[1]))
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
        """Write the line of one cotangent: the sum of what arrives by every path.

        A sum of very many has lines of its own on the way, in the order in which they are added.
        """
        total: Any = contributions[0].term
        first = 0
        for place, other in enumerate(contributions[1:], 1):
            if place - first == MOST_TERMS:
                part = self.fresh("d" + name)
                self.add(part, total.expr, "", tuple(contributions[first:place]))
                total = Term(Name(part, total.expr.shape, total.expr.dtype))
                first = place
            with building_for(None):
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
        count = self.counts.get(base, 1)
        while f"{base}_{count}" in self.taken:
            count += 1
        self.counts[base] = count + 1
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
        for node in walk(expr) if id(expr) not in self.memo else ():
            if isinstance(node, Name):
                continue
            several = isinstance(node, Call) and node.op.several
            moves = several or node.dtype.is_floating_point
            cut = isinstance(node, Call) and node.constant
            self.memo[id(node)] = moves and not cut and any(map(self.wanted, children(node)))
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
