"""A slow interpreter of index notation: loops over every entry, one at a time."""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Mapping
from typing import Any

import torch

from handgrad.index import Equation, labels, reduction
from handgrad.ops.words import axes

FUNCTIONS = {
    name: getattr(math, name)
    for name in (
        "exp log log1p expm1 sqrt sin cos tanh erf pi inf "
        "isfinite isinf isnan log2 log10 tan asin acos atan sinh cosh floor ceil trunc"
    ).split()
} | {
    "sign": lambda v: (v > 0) - (v < 0),
    "where": lambda c, a, b: a if c else b,
    "abs": abs,
    "round": round,
    "float": float,
    "int": int,
    "bool": bool,
    "min": min,
    "max": max,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
}


def run_equation(equation: Equation, bound: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
    """Compute the result of an equation entry by entry."""
    entries = [
        evaluate(equation.value, output_labels(equation, bound, place), equation, bound)
        for place in itertools.product(*map(range, shape))
    ]
    return torch.tensor(entries).reshape(shape)


def output_labels(
    equation: Equation, bound: Mapping[str, Any], place: tuple[int, ...]
) -> dict[str, Any]:
    """Return what each label of the output stands for at one place."""
    env: dict[str, Any] = {}
    rest = list(place)
    for label in reversed(equation.output):
        if label[0].isupper():
            break
        env[label] = rest.pop()
    wide = [label for label in equation.output if label[0].isupper()]
    if wide and "-" in wide[0]:
        name, taken = wide[0].split("-")
        rank = rank_of(name, equation, bound)
        reduced = axes(bound.get(taken), rank)
        if not bound.get("keepdim"):
            for axis in reduced:
                rest.insert(axis, 0)
        env[name] = rest
    elif wide:
        env[wide[0]] = rest
    return env


def rank_of(label: str, equation: Equation, bound: Mapping[str, Any]) -> int:
    """Return how many axes a capital label stands for."""
    ranks = [0]
    for name, reads in equation.reads.items():
        value = bound[name]
        if isinstance(value, torch.Tensor):
            ranks += [value.ndim - (len(read) - 1) for read in reads if label in read]
    return max(ranks)


def sizes_of(label: str, equation: Equation, bound: Mapping[str, Any]) -> list[int]:
    """Return the sizes a label runs over, a list with one entry for a small label."""
    wide = label[0].isupper()
    rank = rank_of(label, equation, bound) if wide else 1
    sizes = [1] * rank
    for name, reads in equation.reads.items():
        value = bound[name]
        for read in reads:
            if label not in read or not isinstance(value, torch.Tensor):
                continue
            after = len(read) - read.index(label) - 1
            own = value.ndim - (len(read) - 1) if wide else 1
            for k in range(own):
                size = value.shape[value.ndim - after - own + k]
                sizes[rank - own + k] = sizes[rank - own + k] if size == 1 else size
    return sizes


def evaluate(
    node: ast.expr, env: dict[str, Any], equation: Equation, bound: Mapping[str, Any]
) -> Any:
    """Compute one entry of an expression."""

    def value(part: ast.expr) -> Any:
        return evaluate(part, env, equation, bound)

    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        if node.id in env:
            return env[node.id]
        return bound[node.id] if node.id in bound else FUNCTIONS[node.id]
    if isinstance(node, ast.Subscript):
        return read(node, env, equation, bound)
    if (kind := reduction(node)) is not None:
        assert isinstance(node, ast.Call)
        return reduce(kind, node, env, equation, bound)
    if isinstance(node, ast.Call):
        return FUNCTIONS[ast.unparse(node.func)](*map(value, node.args))
    if isinstance(node, ast.UnaryOp):
        inside = value(node.operand)
        return (not inside) if isinstance(node.op, ast.Invert | ast.Not) else -inside
    names = {
        f"v{k}": value(part)
        for k, part in enumerate(ast.iter_child_nodes(node))
        if isinstance(part, ast.expr)
    }
    if isinstance(node, ast.Compare):
        template: ast.expr = ast.Compare(ast.Name("v0"), node.ops, [ast.Name("v2")])
        names = {"v0": value(node.left), "v2": value(node.comparators[0])}
    else:
        assert isinstance(node, ast.BinOp)
        template = ast.BinOp(ast.Name("v0"), node.op, ast.Name("v2"))
        names = {"v0": value(node.left), "v2": value(node.right)}
    return eval(ast.unparse(template), names)


def read(
    node: ast.Subscript, env: dict[str, Any], equation: Equation, bound: Mapping[str, Any]
) -> Any:
    """Read one entry of an operand; a number is read everywhere the same."""
    tensor = bound[ast.unparse(node.value)]
    if not isinstance(tensor, torch.Tensor):
        return tensor
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    texts = labels(node)
    place: list[int] = []
    for text, part in zip(texts, parts, strict=False):
        if text[0].isupper():
            own = tensor.ndim - (len(texts) - 1)
            place += list(env[text])[len(env[text]) - own :] if own else []
        else:
            place.append(int(evaluate(part, env, equation, bound)))
    return tensor[
        tuple(min(p, s - 1) if s == 1 else p for p, s in zip(place, tensor.shape, strict=True))
    ].item()


def reduce(
    kind: str, node: ast.Call, env: dict[str, Any], equation: Equation, bound: Mapping[str, Any]
) -> Any:
    """Compute `sum[j](...)`: over a small label, or over the axes that an argument names."""
    assert isinstance(node.func, ast.Subscript)
    values = []
    for label in labels(node.func):
        if label in bound or label == "dim":
            wide = next(
                r[0] for reads in equation.reads.values() for r in reads if r and r[0][0].isupper()
            )
            sizes = sizes_of(wide, equation, bound)
            taken = axes(bound.get(label), len(sizes))
            for place in itertools.product(*(range(sizes[axis]) for axis in taken)):
                at = list(env[wide])
                for axis, p in zip(taken, place, strict=True):
                    at[axis] = p
                values.append(evaluate(node.args[0], {**env, wide: at}, equation, bound))
        else:
            count = sizes_of(label, equation, bound)[0]
            values += [
                evaluate(node.args[0], {**env, label: k}, equation, bound) for k in range(count)
            ]
    total = math.fsum(values) if kind in ("sum", "mean") else math.prod(values)
    if kind == "mean":
        return total / len(values)
    return {"max": max, "min": min}[kind](values) if kind in ("max", "min") else total
