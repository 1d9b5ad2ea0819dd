"""Expressions of a program lowered to arrays: by pattern, by index notation, by an equal one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.errors import BadInput
from handgrad.index import parse
from handgrad.ir import Arg, Call, Expr, Item, Name, Static, operands
from handgrad.native.lower.array import CTYPES, Array, Graph
from handgrad.native.lower.budget import CannotLower, spend
from handgrad.native.lower.expr import const
from handgrad.native.lower.notation import Notation
from handgrad.native.lower.patterns import EQUALS, PATTERNS
from handgrad.native.lower.patterns.given import Given
from handgrad.ops import TABLE
from handgrad.ops.table import ask
from handgrad.ops.term import Term, building, to_value


class Lowering:
    """Expressions on their way to arrays.

    Attributes:
        names: what has been lowered, by its name in the program.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names: dict[str, Array] = {}
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []

    def lower(self, expr: Expr) -> Array:
        """Return an expression as an array.

        Raises:
            CannotLower: an op in it has no native code.
        """
        if isinstance(expr, Name):
            return self.names[expr.name]
        found = self.call(expr.call if isinstance(expr, Item) else expr)
        return found[expr.position] if isinstance(expr, Item) else found

    def call(self, call: Call) -> Any:
        """Return what a call makes: an array, or a tuple of them."""
        if id(call) not in self.done:
            self.done[id(call)] = self.lowered(call)
            self.kept.append(call)  # so that its id stays its own
        return self.done[id(call)]

    def lowered(self, call: Call) -> Any:
        """Lower one call."""
        spend()
        refuse_types(call)
        op = call.op
        if all(0 in shape for shape, _ in call.outputs):
            return self.nothing(call)
        try:
            if op.name in PATTERNS:
                return PATTERNS[op.name](self.given(call))
            if op.name in EQUALS:
                return self.equal(call, EQUALS[op.name])
            if op.index is not None:
                return self.by_notation(call, op.index)
            if op.same_as is not None:
                return self.equal(call, op.same_as)
        except CannotLower:
            raise  # an operand's own reason says more
        except BadInput as error:
            raise cannot(call, error.what) from error
        if not any(True for arg in call.args.values() for _ in operands(arg)):
            return self.known(call)
        raise cannot(call, "")

    def nothing(self, call: Call) -> Any:
        """Return what a call makes that makes no entry, whatever its op."""
        made = tuple(
            self.graph.map(shape, CTYPES[dtype], lambda _: const(0, "int64_t"))
            for shape, dtype in call.outputs
        )
        return made if call.op.several else made[0]

    def given(self, call: Call) -> Given:
        """Return a call's arguments for a pattern."""
        return Given(
            self.graph,
            {name: self.argument(call, name, arg) for name, arg in call.args.items()},
            tuple((shape, CTYPES[dtype]) for shape, dtype in call.outputs),
            call.op,
        )

    def argument(self, call: Call, name: str, arg: Arg) -> Any:
        """Return an argument: an array, a plain value, or a tuple of them."""
        if isinstance(arg, Static):
            return arg.value
        if isinstance(arg, tuple):
            return tuple(self.argument(call, name, part) for part in arg)
        if name in call.op.structural:
            return torch.empty(arg.shape, dtype=arg.dtype, device="meta")
        return self.lower(arg)

    def by_notation(self, call: Call, index: str) -> Array:
        """Lower a call by the meaning of its op."""
        given = self.given(call)
        shape, ctype = given.outputs[0]
        return Notation(self.graph, parse(index), given.values, shape, ctype).lower()

    def equal(self, call: Call, by: Any) -> Any:
        """Lower a call as an equal expression: text, or a function of terms."""
        values = {name: to_value(arg) for name, arg in call.args.items()}
        with building(TABLE, call.outputs[0]):
            if isinstance(by, str):
                found = eval(by, {"torch": torch, "F": F, **values})
            else:
                found = ask(by, values)
        if isinstance(found, tuple):
            return tuple(self.lower(part.expr) for part in found)
        assert isinstance(found, Term)
        return self.lower(found.expr)

    def known(self, call: Call) -> Any:
        """Return what a call of plain values makes, by running it."""
        values = {name: plain(arg) for name, arg in call.args.items()}
        with torch._C.DisableTorchFunction():
            found = call.op.spellings[0].run(**values)
        if isinstance(found, tuple | list):
            return tuple(map(self.graph.constant, found))
        return self.graph.constant(found)


def plain(arg: Arg) -> Any:
    """Return an argument without tensors as the value that it is."""
    if isinstance(arg, tuple):
        return tuple(map(plain, arg))
    assert isinstance(arg, Static)
    return arg.value


def refuse_types(call: Call) -> None:
    """Refuse types that no C type stands for.

    Raises:
        CannotLower: the call makes half precision or complex numbers.
    """
    for _, dtype in call.outputs:
        if dtype not in CTYPES:
            raise cannot(call, f"it makes {str(dtype).removeprefix('torch.')}")


def cannot(call: Call, why: str) -> CannotLower:
    """Say that a call has no native code."""
    name = call.op.name.removeprefix("autograd of ")
    return CannotLower(f"no native code for {name}" + (f": {why}" if why else ""))


def types(values: Mapping[str, torch.Tensor]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and C type of tensors by name.

    Raises:
        CannotLower: a dtype has no C type.
    """
    for name, value in values.items():
        if value.dtype not in CTYPES:
            dtype = str(value.dtype).removeprefix("torch.")
            raise CannotLower(f"no native code for {name}, which is {dtype}")
    return {n: (tuple(v.shape), CTYPES[v.dtype]) for n, v in values.items()}
