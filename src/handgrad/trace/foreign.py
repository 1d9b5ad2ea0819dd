"""Ops made on the spot for torch calls that have no row in the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.overrides import resolve_name

from handgrad.ir import Op, Param, Spelling

NN: Any = ("torch._C._nn", torch._C._nn)  # pyright: ignore[reportAttributeAccessIssue]


def foreign_call(
    function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], several: bool
) -> tuple[Op, dict[str, Any]]:
    """Return an op without rules that spells the call as it was made.

    Args:
        function: what torch reports.
        args: its positional arguments.
        kwargs: its keyword arguments.
        several: whether it returned a tuple or list.
    """
    dotted = spelled_function(function)
    names = [f"x{k}" for k in range(len(args))]
    bound = dict(zip(names, args, strict=True)) | dict(kwargs)
    if dotted.endswith(".__get__"):
        kind, target = "attribute", dotted.removesuffix(".__get__").split(".")[-1]
    elif dotted == "torch.Tensor.__getitem__":
        kind, target = "subscript", ""
    elif dotted.startswith("torch.Tensor."):
        kind, target = "method", dotted.removeprefix("torch.Tensor.")
    else:
        kind, target = "function", dotted.replace("torch.nn.functional.", "F.")
    params = tuple(Param(name) for name in names)
    params += tuple(Param(word, default=Missing, required=False) for word in kwargs)

    def run(**given: Any) -> Any:
        return function(*(given.pop(name) for name in names), **given)

    spelling = Spelling(dotted, kind, target, params, function, run)
    return Op(dotted, (spelling,), ("*ys",) if several else ("y",), foreign=True), bound


def template_op(text: str, operands: Iterable[str]) -> Op:
    """Return an op without rules that is spelled as a text with its operands in braces."""

    def run(**_: Any) -> Any:
        raise NotImplementedError  # its text is run, with what it names

    params = tuple(Param(name) for name in operands)
    return Op(text, (Spelling(text, "template", text, params, None, run),), foreign=True)


class Missing:
    """No default: the argument is always spelled."""


def spelled_function(function: Any) -> str:
    """Return the dotted name that a torch function is called by."""
    bare = getattr(function, "__name__", "unknown")
    name = resolve_name(function)
    if getattr(NN[1], bare, None) is function:
        return f"{NN[0]}.{bare}"
    if getattr(torch.sparse, bare.removeprefix("_sparse_"), None) is function:
        return f"torch.sparse.{bare.removeprefix('_sparse_')}"
    if name:
        return name.replace("torch.functional.", "torch.")
    for space, owner in (("torch", torch), ("torch.nn.functional", torch.nn.functional)):
        if getattr(owner, bare, None) is function:
            return f"{space}.{bare}"
    return f"torch.{bare}"
