"""Reverse sweep: from a forward program to the lines of its backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from handgrad.errors import NoRule
from handgrad.ir import Call, Expr, Item, Name, Op, Shape, operands, walk
from handgrad.ops.declare import needs
from handgrad.ops.term import Term, building, to_value, wrap

CASTS = {torch.float32: "float", torch.float64: "double", torch.float16: "half"}


@dataclass(frozen=True)
class Passage:
    """How a gradient passes one op: through which operand, and what it was summed over.

    Attributes:
        op: the row whose rule was used.
        param: the operand that receives the gradient.
        summed: axes of the result that are summed because the operand was stretched along them.
        shape: the operand's shape.
        result: the shape of the op's output.
    """

    op: Op
    param: str
    summed: tuple[int, ...]
    shape: Shape
    result: Shape


@dataclass(frozen=True)
class Contribution:
    """One path by which a gradient arrives at a name.

    Attributes:
        term: what it brings.
        passages: the ops that it passed, from the line's result inwards.
        via: the name whose line it came through.
    """

    term: Any
    passages: tuple[Passage, ...]
    via: str = ""


Opaque = Callable[[Call, str, Any], Term]


class Sweep:
    """Collect the contributions to every name from the cotangents of expressions.

    Args:
        wanted: tells whether a gradient is wanted for an expression.
        outputs: terms for the outputs of whole right-hand sides, by node: the user's names.
        opaque: builds the contribution through an op that has no rule.
    """

    def __init__(
        self, wanted: Callable[[Expr], bool], outputs: Mapping[int, Term], opaque: Opaque
    ) -> None:
        self.wanted, self.outputs, self.opaque = wanted, outputs, opaque
        self.found: dict[str, list[Contribution]] = {}
        self.rank: dict[str, int] = {}  # the order in which names were first reached
        self.brought: list[tuple[str, int]] = []  # names and places of the last push's

    def push(self, root: Expr, dy: Any, via: str = "") -> None:
        """Send a cotangent (a Term, or one for each output) through an expression to its names."""
        order = list(walk(root))
        self.brought = []
        arrived: dict[int, list[Contribution]] = {id(root): [Contribution(dy, ())]}
        for node in reversed(order):
            if (contributions := arrived.pop(id(node), None)) is None:
                continue
            if isinstance(node, Name):
                here = [replace(each, via=via) for each in contributions]
                known = self.found.setdefault(node.name, [])
                self.rank.setdefault(node.name, len(self.rank))
                self.brought += [(node.name, len(known) + k) for k in range(len(here))]
                known.extend(here)
            elif isinstance(node, Item):
                for each in contributions:
                    terms = one_of(node, each.term)
                    arrived.setdefault(id(node.call), []).append(Contribution(terms, each.passages))
            else:
                self.through(node, merged(contributions), arrived)

    def through(
        self, call: Call, arriving: Contribution, arrived: dict[int, list[Contribution]]
    ) -> None:
        """Send a cotangent through one call to its operands."""
        for param, arg in call.args.items():
            passes = param in call.op.rules or call.op.foreign
            if not passes or not any(self.wanted(node) for node in operands(arg)):
                continue
            terms = self.rule(call, param, arriving.term)
            each = terms if isinstance(arg, tuple) else [terms]
            for node, term in zip(operands(arg), each, strict=True):
                if not self.wanted(node) or term is None:
                    continue
                summed, shaped = unbroadcast(term, node.shape)
                shaped = recast(shaped, node.dtype)
                passage = Passage(call.op, param, summed, node.shape, call.shape)
                arrived.setdefault(id(node), []).append(
                    Contribution(shaped, (*arriving.passages, passage))
                )

    def rule(self, call: Call, param: str, dy: Any) -> Any:
        """Return the gradient that one operand of a call receives, from its row's rule."""
        rule = call.op.rules.get(param)
        if rule is None:
            return self.opaque(call, param, dy)
        available = {name: to_value(arg) for name, arg in call.args.items()}
        available |= self.values_of(call) | cotangents_of(call, dy)
        arguments = {name: available[name] for name in needs(rule)}
        arg = call.args[param]
        one = isinstance(arg, Name | Call | Item)
        expected = (arg.shape, arg.dtype) if one else None
        try:
            with building_for(expected):
                return rule(**arguments)
        except (NoRule, RuntimeError):  # the rule's own lines have no row, or torch refuses them
            return self.opaque(call, param, dy)

    def values_of(self, call: Call) -> dict[str, Any]:
        """Return the call's outputs by the names that rules know them under."""
        known = self.outputs.get(id(call))
        value: Any = known if known is not None else wrap(call)
        if call.op.variadic:
            return {call.op.outputs[0][1:]: value}
        if not call.op.several:
            return {call.op.outputs[0]: value}
        return dict(zip(call.op.outputs, value, strict=True))


def building_for(expected: Any) -> Any:
    """Build Terms from the op table."""
    from handgrad.ops import TABLE

    return building(TABLE, expected)


def cotangents_of(call: Call, dy: Any) -> dict[str, Any]:
    """Return the cotangents of a call's outputs by name; what never arrived is zero."""
    if not call.op.several:
        return {"d" + call.op.outputs[0]: dy}
    values = wrap(call)
    if not isinstance(dy, tuple):
        dy = (dy,)
    with building_for(None):
        full = tuple(
            torch.zeros_like(value) if part is None else part
            for part, value in zip(dy, values, strict=True)
        )
    if call.op.variadic:
        return {"d" + call.op.outputs[0][1:]: full}
    return {"d" + name: part for name, part in zip(call.op.outputs, full, strict=True)}


def one_of(item: Item, dy: Term) -> tuple[Term | None, ...]:
    """Return the cotangents of all outputs when one of them receives `dy`."""
    return tuple(dy if place == item.position else None for place in range(len(item.call.outputs)))


def merged(contributions: list[Contribution]) -> Contribution:
    """Add up what arrives at one node."""
    first, *others = contributions
    if not others:
        return first
    term: Any = first.term
    with building_for(None):
        for other in others:
            term = plus(term, other.term)
    return Contribution(term, first.passages)


def plus(left: Any, right: Any) -> Any:
    """Add two cotangents, or two tuples of them in which None is zero."""
    if left is None or right is None:
        return right if left is None else left
    if isinstance(left, tuple):
        return tuple(plus(a, b) for a, b in zip(left, right, strict=True))
    return left + right


def unbroadcast(term: Term, shape: Shape) -> tuple[tuple[int, ...], Term]:
    """Sum a cotangent over the axes along which its operand was stretched.

    Returns:
        The summed axes of the result, and the cotangent in the operand's shape.
    """
    have = term.expr.shape
    if have == shape:
        return (), term
    extra = len(have) - len(shape)
    leading = tuple(range(extra))
    kept = tuple(axis for axis, size in enumerate(shape) if size == 1 and have[axis + extra] != 1)
    with building_for(None):
        if leading:
            term = term.sum(dim=leading if extra > 1 else 0)
        if kept:
            term = term.sum(dim=kept if len(kept) > 1 else next(iter(kept)), keepdim=True)
    return (*leading, *(axis + extra for axis in kept)), term


def recast(term: Term, dtype: torch.dtype) -> Term:
    """Cast a cotangent to its operand's dtype, where operands of several dtypes met."""
    if term.expr.dtype == dtype:
        return term
    short = CASTS.get(dtype)
    with building_for(None):
        return term.to(dtype) if short is None else getattr(term, short)()
