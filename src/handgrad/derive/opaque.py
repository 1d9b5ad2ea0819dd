"""What stands in for a rule that is missing: autograd, for that op alone, plainly spelled."""

from __future__ import annotations

from typing import Any

import torch

from handgrad.ir import Call, Expr, Item, Name, Op, Param, Spelling, names, operands
from handgrad.ops.term import Term
from handgrad.spell import spell


def opaque_vjp(call: Call, param: str, dy: Any) -> Term | tuple[Term | None, ...]:
    """Return the gradient of one operand as a call of `torch.func.vjp` on its op alone."""
    arg = call.args[param]
    if isinstance(arg, tuple):
        return tuple(one_vjp(call, param, place, dy) for place, _ in enumerate(operands(arg)))
    return one_vjp(call, param, None, dy)


def one_vjp(call: Call, param: str, place: int | None, dy: Any) -> Term:
    """Return the gradient of one tensor among a call's arguments."""
    arg = call.args[param]
    x: Any = arg if place is None else list(operands(arg))[place]
    taken = set(names(call))
    inner = next(n for n in ("z", "z_", "z__", "z___") if n not in taken)
    variable = Name(inner, x.shape, x.dtype)
    swapped = variable if place is None else swap(arg, place, variable)
    function: Expr = Call(call.op, {**call.args, param: swapped}, call.outputs)
    if call.op.several or isinstance(dy, tuple):
        place_of_dy, dy = next((k, d) for k, d in enumerate(dy) if d is not None)
        function = Item(function, place_of_dy)
    text = f"torch.func.vjp(lambda {inner}: {braced(spell(function))}, {{x}})[1]({{dy}})[0]"
    others = {f"read{k}": Name(n.name, n.shape, n.dtype) for k, n in enumerate(named(call))}
    spelling = Spelling(text, "template", text, (Param("x"), Param("dy")), None, missing)
    op = Op(f"autograd of {call.op.name}", (spelling,), foreign=True)
    return Term(Call(op, {"x": x, "dy": dy.expr, **others}, ((x.shape, x.dtype),)))


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
