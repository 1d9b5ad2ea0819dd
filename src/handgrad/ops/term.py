"""Terms: symbolic tensors that rules written as plain PyTorch build expressions with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from handgrad.errors import NoRule
from handgrad.index import parse
from handgrad.ir import Arg, Call, Expr, Item, Name, Op, Shape, Static, operands
from handgrad.ops.numbers import lift, lower, text_of, write
from handgrad.ops.table import Table, ask
from handgrad.spell import ATOM, fits, guard, spelled

LONG = 200  # characters: the number is written instead of a text that takes so many
Type = tuple[Shape, torch.dtype]
CURRENT: ContextVar[Table] = ContextVar("op table")
EXPECTED: ContextVar[Type | None] = ContextVar("expected type", default=None)


class Term:
    """A symbolic tensor; torch functions and methods on it make larger expressions."""

    __slots__ = ("expr",)

    def __init__(self, expr: Expr) -> None:
        self.expr = expr

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return apply(function, args, kwargs or {})

    def __getattr__(self, method: str) -> Any:
        function = getattr(torch.Tensor, method)
        if not callable(function):  # a property such as .mT
            return apply(function.__get__, (self,), {})
        return lambda *args, **kwargs: apply(function, (self, *args), kwargs)

    def __getitem__(self, index: Any) -> Term:
        return apply(torch.Tensor.__getitem__, (self, index), {})

    @property
    def shape(self) -> tuple[Any, ...]:
        """Return the sizes, each with its text."""
        return tuple(size(self.expr, axis) for axis in range(self.expr.ndim))

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return self.expr.ndim

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype."""
        return self.expr.dtype

    def numel(self) -> Any:
        """Return the number of entries, as a product of named sizes or as `x.numel()`."""
        like = stand_in(self.expr)
        named = all(text_of(size).isidentifier() for size in self.shape)
        if isinstance(like, Name) and like.ndim > 1 and not named:
            return write(math.prod(like.shape), f"{like.name}.numel()")
        return math.prod(self.shape)


def operator(method: str) -> Callable[..., Any]:
    """Return a Term method that applies torch's operator of that name."""
    function = getattr(torch.Tensor, method)
    return lambda self, *others: apply(function, (self, *others), {})


BOTH_SIDES = ("add", "sub", "mul", "truediv", "pow")
ONE_SIDE = ("matmul", "neg", "invert", "gt", "ge", "lt", "le", "eq", "ne", "and", "or", "xor")
for _method in (*ONE_SIDE, *BOTH_SIDES, *(f"r{name}" for name in BOTH_SIDES)):
    setattr(Term, f"__{_method}__", operator(f"__{_method}__"))


class Building(TorchFunctionMode):
    """Make torch calls without a Term among their arguments (`torch.arange(n)`) build Terms too."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return apply(func, args, kwargs or {})


@contextmanager
def building(table: Table, expected: Type | None = None) -> Any:
    """Build Terms from the rows of a table."""
    tokens = CURRENT.set(table), EXPECTED.set(expected)
    try:
        with Building():
            yield
    finally:
        CURRENT.reset(tokens[0])
        EXPECTED.reset(tokens[1])


def apply(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Build the call of a torch function.

    Raises:
        NoRule: no row of the table describes the call.
    """
    found = CURRENT.get().match(function, args, kwargs)
    if found is None:
        name = getattr(function, "__name__", str(function))
        raise NoRule(
            f"no row in the op table for {name}", hint="add a row: see CONTRIBUTING, add an op"
        )
    return build(*found)


def build(op: Op, bound: Mapping[str, Any]) -> Any:
    """Build a call of a row from Terms and plain values, in its simplest equal form."""
    if op.fold is not None:
        folded = ask(op.fold, bound)
        if folded is not None:
            return folded
    args = {name: to_arg(value) for name, value in bound.items()}
    for name in op.stretches:
        args[name] = inner_of(args[name])
    for name in op.structural:
        args[name] = stand_in(args[name])
    if op.index is not None and parse(op.index).elementwise:
        stretched = next((a for a in args.values() if repeats(a)), None)
        if stretched is not None:
            return wrap(unstretched(op, args, stretched))
    return wrap(make_call(op, args))


def make_call(op: Op, args: Mapping[str, Arg]) -> Call:
    """Return the call with the shapes and dtypes of its outputs."""
    return Call(op, args, infer(op, args))


def repeats(arg: Arg) -> bool:
    """Tell whether an argument is another tensor stretched and nothing else."""
    return isinstance(arg, Call) and arg.op.repeats


def inner_of(arg: Arg) -> Arg:
    """Return the tensor that an argument stretches, or the argument itself."""
    return next(iter(arg.args.values())) if isinstance(arg, Call) and arg.op.repeats else arg


def stand_in(arg: Arg) -> Arg:
    """Return a name that has an argument's shape and dtype, if its text has one, else itself."""
    expr = arg
    while isinstance(expr, Call) and expr.op.index and parse(expr.op.index).elementwise:
        same = (a for a in operands(tuple(expr.args.values())) if is_like(a, expr))
        expr = next(same, None)
    return expr if isinstance(expr, Name) else arg


def is_like(a: Expr, b: Expr) -> bool:
    """Tell whether two expressions have the same shape and dtype."""
    return a.shape == b.shape and a.dtype == b.dtype


def unstretched(op: Op, args: Mapping[str, Arg], stretched: Any) -> Call:
    """Apply an elementwise op before the stretch, not after: broadcasting makes them equal."""
    inner = {name: inner_of(arg) for name, arg in args.items()}
    small, full = make_call(op, inner), infer(op, args)
    if small.outputs == full:
        return small
    operand, *rest = stretched.args
    others = {name: stretched.args[name] for name in rest}
    again = make_call(stretched.op, {operand: small, **others})
    return again if again.outputs == full else make_call(op, args)


def wrap(call: Call) -> Any:
    """Return a call's output as a Term, or all its outputs as Terms."""
    if call.op.several:
        return tuple(Term(Item(call, place)) for place in range(len(call.outputs)))
    return Term(call)


def to_arg(value: Any) -> Arg:
    """Return a rule's value as part of an expression."""
    if isinstance(value, Term):
        return value.expr
    if isinstance(value, Name | Call | Item | Static):
        return value
    if isinstance(value, tuple | list):
        parts = tuple(to_arg(part) for part in value)
        if any(not isinstance(part, Static) for part in parts):
            return parts
    return lower(value)


def to_value(arg: Arg) -> Any:
    """Return an argument as a rule sees it."""
    if isinstance(arg, Static):
        return lift(arg)
    if isinstance(arg, tuple):
        return tuple(to_value(part) for part in arg)
    return Term(arg)


def infer(op: Op, args: Mapping[str, Arg]) -> tuple[Type, ...]:
    """Return the types of a call's outputs by running its first spelling on empty stand-ins."""
    key = tuple((name, freeze(arg)) for name, arg in args.items())
    try:
        return infer_frozen(op, key)
    except (RuntimeError, NotImplementedError):
        expected = EXPECTED.get()
        if expected is None:
            raise
        return (expected,)  # how many entries a mask picks is known only from the data


@cache
def infer_frozen(op: Op, key: tuple[tuple[str, Any], ...]) -> tuple[Type, ...]:
    """Return the output types for arguments that can be hashed.

    One zero stretched to the shape is enough, and starts faster than meta tensors, whose kernels
    are Python; meta tensors are for masks, which must not be mistaken for masks of zeros.
    """
    masked = op.index is None and any(holds_mask(frozen) for _, frozen in key)
    for device in ("meta",) if masked else ("cpu", "meta"):
        try:
            with torch._C.DisableTorchFunction(), torch.no_grad():
                result = op.spellings[0].run(**{name: thaw(arg, device) for name, arg in key})
                outputs = result if isinstance(result, tuple | list) else (result,)
                return tuple((tuple(out.shape), out.dtype) for out in outputs)
        except (RuntimeError, IndexError):
            if device == "meta":
                raise
    raise AssertionError


def holds_mask(frozen: Any) -> bool:
    """Tell whether a frozen argument is or holds a mask."""
    kind, *rest = frozen
    if kind in ("tuple", "list"):
        return any(holds_mask(part) for part in rest)
    return kind == "tensor" and rest[1] is torch.bool


def freeze(arg: Arg) -> Any:
    """Return an argument as a key: type of a tensor, value of a static."""
    if isinstance(arg, tuple):
        return ("tuple", *(freeze(part) for part in arg))
    if isinstance(arg, Static):
        return freeze_value(arg.value)
    return ("tensor", arg.shape, arg.dtype)


def freeze_value(value: Any) -> Any:
    """Return a static value as a key."""
    if type(value) in (tuple, list):
        return ("tuple" if isinstance(value, tuple) else "list", *map(freeze_value, value))
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    return ("static", type(value), value)


def thaw(frozen: Any, device: str) -> Any:
    """Return a key as an argument to run on."""
    kind, *rest = frozen
    if kind in ("tuple", "list"):
        parts = [thaw(part, device) for part in rest]
        return tuple(parts) if kind == "tuple" else parts
    if kind == "tensor":
        return torch.zeros((), dtype=rest[1], device=device).expand(rest[0])
    if kind == "slice":
        return slice(*rest)
    return rest[1]


def size(expr: Expr, axis: int) -> Any:
    """Return the size of an axis as a person would write it: `n`, or `x.shape[0]`."""
    axis %= expr.ndim
    return write(expr.shape[axis], size_text(expr, axis))


def size_text(expr: Expr, axis: int) -> str:
    """Return the text of an axis' size, from the nearest named tensor that has the axis."""
    while isinstance(expr, Call):
        source = axis_source(expr, axis)
        if isinstance(source, str):
            return source
        if source is None:
            break
        expr, axis = source
    if isinstance(expr, Name) and expr.sizes and expr.sizes[axis]:
        return expr.sizes[axis]
    if not fits(expr, LONG):
        return str(expr.shape[axis])
    return f"{guard(spelled(expr), ATOM)}.shape[{axis}]"


def axis_source(call: Call, axis: int) -> tuple[Expr, int] | str | None:
    """Return the operand and axis that an output axis comes from, or its text, if known."""
    if call.op.index is None:
        written = call.args.get("index")
        ranges = written if isinstance(written, tuple) else (written,)
        if call.ndim == 1 and isinstance(ranges[0], Static) and isinstance(ranges[0].value, range):
            text = ranges[0].text
            if text.startswith("range(") and "," not in text:
                return text[len("range(") : -1]
        return None
    equation = parse(call.op.index)
    if not equation.elementwise and equation.output != ("I",):
        return labelled_source(call, axis)
    for name, arg in call.args.items():
        if name in equation.reads and isinstance(arg, Name | Call | Item):
            own = axis - (call.ndim - arg.ndim)
            if own >= 0 and arg.shape[own] == call.shape[axis]:
                return arg, own
    return None


def labelled_source(call: Call, axis: int) -> tuple[Expr, int] | None:
    """Find an output axis among the operands of an equation with single labels."""
    equation = parse(call.op.index or "")
    back = call.ndim - axis  # labels are counted from the right, where they are aligned
    if back > len(equation.output) or equation.output[-back][0].isupper():
        return None
    label = equation.output[-back]
    for name, reads in equation.reads.items():
        arg = call.args.get(name)
        if isinstance(arg, Name | Call | Item) and label in reads[0]:
            return arg, arg.ndim - (len(reads[0]) - reads[0].index(label))
    return None
