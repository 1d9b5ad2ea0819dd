"""What stands in for a rule that is missing: autograd, for that op alone, plainly spelled."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import torch

from handgrad.ir import Call, Item, Name, Op, Param, Spelling, names, operands
from handgrad.ops.term import Term
from handgrad.spell import spell


def opaque_vjp(call: Call, param: str, dy: Any) -> Term | tuple[Term | None, ...]:
    """Return the gradient of one operand as a call of autograd on its op alone.

    Args:
        call: the op's call.
        param: the operand.
        dy: the cotangent of its result; of several results a tuple, None where none arrived.
    """
    arg = call.args[param]
    if isinstance(arg, tuple):
        parts = enumerate(operands(arg))
        floats = [x.dtype.is_floating_point for x in operands(arg)]
        return tuple(one_vjp(call, param, k, dy) if floats[k] else None for k, _ in parts)
    return one_vjp(call, param, None, dy)


def one_vjp(call: Call, param: str, place: int | None, dy: Any) -> Term:
    """Return the gradient of one tensor among a call's arguments."""
    arg = call.args[param]
    x: Any = arg if place is None else list(operands(arg))[place]
    taken = {*names(call), *re.findall(r"\w+", spell(call))}  # a text may have lambdas of its own
    inner = next(n for k in count() if (n := "z" + "_" * k) not in taken)
    variable = Name(inner, x.shape, x.dtype)
    swapped = variable if place is None else swap(arg, place, variable)
    function = Call(call.op, {**call.args, param: swapped}, call.outputs)
    cotangents = dict(enumerate(dy)) if isinstance(dy, tuple) else {0: dy}
    arrived = {k: each for k, each in cotangents.items() if each is not None}
    body = braced(results(function, list(arrived)))
    given = ", ".join(f"{{dy{k}}}" for k in arrived)
    given = given if len(arrived) == 1 else f"({given})"
    text = f"torch.autograd.functional.vjp(lambda {inner}: {body}, {{x}}, {given})[1]"
    others = {f"read{k}": Name(n.name, n.shape, n.dtype) for k, n in enumerate(named(call))}
    params = (Param("x"), *(Param(f"dy{k}") for k in arrived))
    spelling = Spelling(text, "template", text, params, None, missing)
    op = Op(f"autograd of {call.op.name}", (spelling,), foreign=True)
    args = {"x": x, **{f"dy{k}": each.expr for k, each in arrived.items()}, **others}
    return Term(Call(op, args, ((x.shape, x.dtype),)))


def results(function: Call, places: list[int]) -> str:
    """Spell the results of a call that have a cotangent."""
    text = spell(function)
    if not function.op.several:
        return text
    if len(places) == 1:
        return spell(Item(function, places[0]))
    if len(places) == len(function.outputs):
        return f"tuple({text})"
    return f"tuple({text}[k] for k in {tuple(places)})"


def swap(arg: Any, place: int, variable: Name) -> Any:
    """Return a tuple argument with its tensor at a place exchanged."""
    parts, seen = [], 0
    for part in arg:
        is_tensor = isinstance(part, Name | Call | Item)
        parts.append(variable if is_tensor and seen == place else part)
        seen += is_tensor
    return tuple(parts)


def named(call: Call) -> list[Name]:
    """Return the names that a call reads."""
    found = {n.name: n for arg in call.args.values() for n in names_in(arg)}
    return list(found.values())


def names_in(arg: Any) -> list[Name]:
    """Return the names in an argument."""
    from handgrad.ir import walk

    return [n for expr in operands(arg) for n in walk(expr) if isinstance(n, Name)]


def braced(text: str) -> str:
    """Protect braces in a text that is formatted later."""
    return text.replace("{", "{{").replace("}", "}}")


def missing(**_: Any) -> torch.Tensor:
    """Refuse to run: the text is run, never this."""
    raise NotImplementedError
