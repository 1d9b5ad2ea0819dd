"""Expressions as the PyTorch text that a person would write."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch

from handgrad.ir import Arg, Call, Expr, Item, Name, Param, Static, operands, walk

ATOM = 15
LONG = 1000  # characters: a list that is as long is read as one without parsing it
PRECEDENCE = {
    "|": 6,
    "^": 7,
    "&": 8,
    "+": 10,
    "-": 10,
    "*": 11,
    "/": 11,
    "@": 11,
    "//": 11,
    "%": 11,
    "**": 13,
}
COMPARE = 5
UNARY = 12
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.MatMult: "@",
    ast.Pow: "**",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.USub: "-",
    ast.Invert: "~",
}


Texts: TypeAlias = Mapping[int, tuple[str, int]]


def spell(arg: Arg) -> str:
    """Return an expression or argument as source text."""
    return spelled(arg)[0]


def spelled(arg: Arg) -> tuple[str, int]:
    """Return the text and how tightly its outermost operator binds."""
    texts: dict[int, tuple[str, int]] = {}
    for root in operands(arg):
        for node in walk(root):  # each once, operands first: an expression may be of any depth
            if id(node) not in texts:
                texts[id(node)] = spelled_node(node, texts)
    return spelled_part(arg, texts)


def fits(expr: Expr, most: int) -> bool:
    """Tell whether an expression's text has at most so many characters, without making it."""
    texts: dict[int, tuple[str, int]] = {}
    for node in walk(expr):  # no text is made of one that is too long already
        texts[id(node)] = spelled_node(node, texts)
        if len(texts[id(node)][0]) > most:
            return False
    return True


def spelled_part(arg: Arg, texts: Texts) -> tuple[str, int]:
    """Spell an argument whose expressions are spelled already."""
    if isinstance(arg, Static):
        return arg.text, text_precedence(arg.text)
    if isinstance(arg, tuple):
        inside = ", ".join(spelled_part(part, texts)[0] for part in arg)
        return f"({inside},)" if len(arg) == 1 else f"({inside})", ATOM
    return texts[id(arg)]


def spelled_node(node: Expr, texts: Texts) -> tuple[str, int]:
    """Spell an expression whose operands are spelled already."""
    if isinstance(node, Name):
        return node.name, ATOM
    if isinstance(node, Item):
        call = guard(texts[id(node.call)], ATOM)
        if node.call.op.variadic:
            return f"{call}[{node.position}]", ATOM
        output = node.call.op.outputs[node.position]
        names_it = node.call.op.spellings[0].kind == "method"
        return (f"{call}.{output}" if names_it else f"{call}[{node.position}]"), ATOM
    return spelled_call(node, texts)


def guard(text: tuple[str, int], precedence: int) -> str:
    """Return the text, in brackets if it binds less tightly than its place asks."""
    return text[0] if text[1] >= precedence else f"({text[0]})"


def spelled_call(call: Call, texts: Texts) -> tuple[str, int]:
    """Spell a call in its op's first spelling."""
    spelling, args = call.op.spellings[0], call.args
    params = spelling.params
    if spelling.kind == "template":
        filled = {name: spelled_part(arg, texts)[0] for name, arg in args.items()}
        return spelling.target.format(**filled), ATOM
    if spelling.kind in ("operator", "compare"):
        return spelled_binary(spelling.target, args[params[0].name], args[params[1].name], texts)
    if spelling.kind == "function":
        return f"{spelling.target}({spelled_arguments(params, args, texts)})", ATOM
    operand = spelled_part(args[params[0].name], texts)
    first = guard(operand, ATOM)
    if spelling.kind == "unary":
        return spelling.target + guard(operand, UNARY), UNARY
    if spelling.kind == "subscript":
        return f"{first}[{spelled_index(args[params[1].name], texts)}]", ATOM
    if spelling.kind == "attribute":
        return f"{first}.{spelling.target}", ATOM
    return f"{first}.{spelling.target}({spelled_arguments(params[1:], args, texts)})", ATOM


def spelled_binary(symbol: str, left: Arg, right: Arg, texts: Texts) -> tuple[str, int]:
    """Spell an operator between two arguments; a number goes before what it multiplies."""
    if symbol == "*" and isinstance(right, Static) and not isinstance(left, Static):
        left, right = right, left
    precedence = PRECEDENCE.get(symbol, COMPARE)
    space = "" if symbol == "**" else " "
    # ** groups from the right and takes a sign on its right side; the others group from the left
    left_needs = precedence + 1 if symbol == "**" or precedence == COMPARE else precedence
    right_needs = UNARY if symbol == "**" else precedence + 1
    before = guard(spelled_part(left, texts), left_needs)
    after = guard(spelled_part(right, texts), right_needs)
    return space.join((before, symbol, after)), precedence


def spelled_index(index: Arg, texts: Texts) -> str:
    """Spell what stands between square brackets, or in place of a starred parameter."""
    if isinstance(index, Static):
        return unbracketed(index)
    parts = index if isinstance(index, tuple) else (index,)
    text = ", ".join(spelled_part(part, texts)[0] for part in parts)
    return text or "()"


def unbracketed(static: Static) -> str:
    """Return a static's text, a tuple's without its brackets: `x[1:, 0]`, `x.view(2, 6)`."""
    text = static.text
    if not isinstance(static.value, tuple) or not text.startswith("(") or len(static.value) == 0:
        return text
    try:
        inside = ast.parse(f"_[{text[1:-1]}]", mode="eval").body if text.endswith(")") else None
    except SyntaxError:  # `(n,) + (1,) * k` has brackets at both ends, and is not inside them
        return text
    if not isinstance(inside, ast.Subscript) or not isinstance(inside.slice, ast.Tuple):
        return text
    return text[1:-1].removesuffix(",")


def spelled_arguments(params: tuple[Param, ...], args: Mapping[str, Arg], texts: Texts) -> str:
    """Spell arguments: required ones by position, the others by keyword where not the default."""
    parts: list[str] = []
    for param in params:
        if param.constant:
            parts.append(repr(param.default))
            continue
        arg = args.get(param.name)
        if arg is None:
            continue
        if param.star:
            parts.append(spelled_index(arg, texts))
        elif param.required:
            parts.append(spelled_list(arg, texts))
        elif not (isinstance(arg, Static) and same(arg.value, param.default)):
            parts.append(f"{param.name}={spelled_list(arg, texts)}")
    return ", ".join(parts)


def spelled_list(arg: Arg, texts: Texts) -> str:
    """Spell an argument; a sequence that holds tensors is a list."""
    if isinstance(arg, tuple) and any(not isinstance(part, Static) for part in arg):
        return "[" + ", ".join(spelled_part(part, texts)[0] for part in arg) + "]"
    return spelled_part(arg, texts)[0]


def same(value: Any, default: Any) -> bool:
    """Tell whether a static value is the default, type included (1 is not True).

    A size for each axis, `stride=(1, 1)`, is the default `1` written out.
    """
    if type(default) is int and isinstance(value, tuple) and len(value) > 1:
        return all(same(part, default) for part in value)
    return type(value) is type(default) and value == default


@lru_cache(4096)
def text_precedence(text: str) -> int:
    """Return how tightly the outermost operator of a static's text binds."""
    if text.isidentifier() or text.isdigit() or (len(text) > LONG and text[0] in "[("):
        return ATOM
    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError:
        return ATOM  # a slice such as `1:n`, which stands only between brackets
    if isinstance(node, ast.BinOp):
        return PRECEDENCE[OPERATORS[type(node.op)]]
    if isinstance(node, ast.UnaryOp):
        return UNARY
    if isinstance(node, (ast.Compare, ast.BoolOp, ast.IfExp, ast.Lambda)):
        return COMPARE
    return ATOM


def literal(value: Any) -> str:
    """Return the text of a static value that has no better one.

    Raises:
        ValueError: the value has no text that gives it back.
    """
    if isinstance(value, np.generic):
        value = value.item()  # a number is written as Python's own
    if isinstance(value, bool | int | str | None | type(...)):
        return "..." if value is ... else repr(value)
    if isinstance(value, float):
        if math.isinf(value) or math.isnan(value):
            return f"float('{value}')"
        return re.sub(r"e([+-])0+", r"e\1", repr(value))  # 1e-5, not 1e-05
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout):
        return str(value)
    if isinstance(value, torch.device):
        return f"'{value}'"
    if isinstance(value, slice):
        start, stop = ("" if part is None else literal(part) for part in (value.start, value.stop))
        step = "" if value.step is None else f":{literal(value.step)}"
        return f"{start}:{stop}{step}"
    if isinstance(value, range):
        plain = value.start == 0 and value.step == 1
        return f"range({value.stop})" if plain else repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, tuple):
        inside = ", ".join(map(literal, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    raise ValueError(f"no text for a {type(value).__name__}")
