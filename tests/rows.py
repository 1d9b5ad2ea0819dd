"""A row's examples as runnable calls, and its rules as runnable text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.derive import Sweep
from handgrad.ir import Call, Expr, Item, Name, Op, Static, operands
from handgrad.ops import TABLE
from handgrad.ops.declare import Example, Given
from handgrad.ops.table import bind, fill
from handgrad.ops.term import Term, build, building, lower, make_call
from handgrad.spell import spell

SCOPE = {"torch": torch, "F": F}


@dataclass
class Case:
    """One example of one row: its arguments as tensors, and as an expression over their names."""

    row: Op
    bound: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    call: Call

    @property
    def wanted(self) -> list[str]:
        """Names of the operands that have a rule and are of floating point."""
        found = []
        for param, arg in self.call.args.items():
            if param in self.row.rules:
                found += [
                    n.name
                    for n in operands(arg)
                    if isinstance(n, Name) and n.dtype.is_floating_point
                ]
        return found


def make(row: Op, example: Example, seed: int = 0, dtype: torch.dtype = torch.float64) -> Case:
    """Build an example's tensors and its symbolic call."""
    generator = torch.Generator().manual_seed(seed)
    spelling = row.spellings[0]
    tensors: dict[str, torch.Tensor] = {}

    def tensor(value: torch.Tensor, hint: str, keep: bool = False) -> torch.Tensor:
        value = value.to(dtype) if value.is_floating_point() and not keep else value
        tensors[fresh(hint)] = value
        return value

    def fresh(hint: str) -> str:
        taken = (hint if k == 0 else f"{hint}{k}" for k in itertools.count())
        return next(name for name in taken if name not in tensors)

    def argument(value: Any, hint: str, operand: bool) -> Any:
        if isinstance(value, Given):
            return tensor(value.make(generator), hint, value.keep)
        if operand and isinstance(value, tuple) and all(isinstance(n, int) for n in value):
            return tensor(torch.randn(value, generator=generator, dtype=dtype), hint)
        if isinstance(value, list):
            return [argument(part, hint, operand) for part in value]
        if isinstance(value, tuple):
            return tuple(argument(part, hint, False) for part in value)
        return value

    roles = operand_names(row)
    params = [p for p in spelling.params if not p.constant]
    place = iter(params)
    args = []
    param = None
    for value in example.args:
        param = param if param is not None and param.star else next(place, param)
        assert param is not None
        args.append(argument(value, param.name, param.name in roles))
    kwargs = {k: argument(v, k, k in roles) for k, v in example.kwargs.items()}
    slots: list[Any] = []
    rest = iter(args)
    for p in spelling.params:
        slots += [None] if p.constant else list(rest) if p.star else list(itertools.islice(rest, 1))
    bound = bind(spelling, tuple(slots), kwargs)
    assert bound is not None, f"{row.name}: the example does not fit the first spelling"
    bound = fill(row, bound)
    assert row.when is None or TABLE_applies(row, bound), f"{row.name}: `when` refuses its example"
    by_id = {id(t): Name(n, tuple(t.shape), t.dtype) for n, t in tensors.items()}
    real = types_of(row.spellings[0].run(**bound))
    with building(TABLE, real[0]):
        call = make_call(row, {n: symbolic(v, by_id) for n, v in bound.items()})
    assert call.outputs == real, f"{row.name}: on meta tensors the outputs are {call.outputs}"
    return Case(row, bound, tensors, call)


def types_of(result: Any) -> tuple[tuple[tuple[int, ...], torch.dtype], ...]:
    """Shapes and dtypes of a call's outputs."""
    outputs = result if isinstance(result, tuple | list) else (result,)
    return tuple((tuple(out.shape), out.dtype) for out in outputs)


def TABLE_applies(row: Op, bound: Mapping[str, Any]) -> bool:
    from handgrad.ops.table import applies

    return applies(row, bound)


def operand_names(row: Op) -> set[str]:
    """Names of parameters that take tensors: those with rules, and those the index notation reads."""
    from handgrad.index import parse

    names = set(row.rules) | set(row.structural) | set(row.stretches)
    if row.index is not None:
        names |= set(parse(row.index).reads)
    first = row.spellings[0].params[0]
    return names | ({first.name} if row.spellings[0].kind != "function" else set())


def symbolic(value: Any, by_id: Mapping[int, Name]) -> Any:
    """Return an argument with its tensors as names."""
    if isinstance(value, torch.Tensor):
        return by_id[id(value)]
    if isinstance(value, tuple | list):
        parts = tuple(symbolic(part, by_id) for part in value)
        if any(not isinstance(part, Static) for part in parts):
            return parts
    return lower(value)


def gradients(call: Call, wanted: set[str], upstream: list[Name]) -> dict[str, Expr]:
    """Derive a call: the expression of each operand's gradient, over operands and upstream."""

    def reaches(node: Expr) -> bool:
        named = any(isinstance(n, Name) and n.name in wanted for n in walk_all(node))
        return named and node.dtype.is_floating_point

    def no_rule(call: Call, param: str, dy: Any) -> Term:
        raise AssertionError(f"{call.op.name} has no rule for {param}")

    sweep = Sweep(reaches, {}, no_rule)
    dy: Any = tuple(Term(n) for n in upstream) if call.op.several else Term(upstream[0])
    sweep.push(call, dy)
    found: dict[str, Expr] = {}
    with building(TABLE):
        for name, contributions in sweep.found.items():
            total: Any = contributions[0].term
            for other in contributions[1:]:
                total = total + other.term
            found[name] = total.expr
    return found


def walk_all(node: Expr) -> Iterator[Expr]:
    from handgrad.ir import walk

    return walk(node)


def evaluate(expr: Expr, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Run an expression's printed text, the generator at its start."""
    torch.manual_seed(0)
    return eval(spell(expr), {**SCOPE, **values})


def upstream_of(call: Call, seed: int = 7) -> tuple[list[Name], dict[str, torch.Tensor]]:
    """Draw a cotangent for each floating output of a call."""
    generator = torch.Generator().manual_seed(seed)
    names, values = [], {}
    for place, (shape, dtype) in enumerate(call.outputs):
        name = f"dout{place}"
        names.append(Name(name, shape, dtype if dtype.is_floating_point else torch.float64))
        values[name] = torch.randn(shape, generator=generator, dtype=torch.float64)
        values[name] = values[name].to(names[-1].dtype)
    return names, values


__all__ = ["Case", "Item", "build", "evaluate", "gradients", "make", "upstream_of"]
