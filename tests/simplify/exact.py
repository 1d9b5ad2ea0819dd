"""A stand-in for torch in 50 digits, for the few functions that forward passes in tests use."""

from __future__ import annotations

import ast
from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import torch

DIGITS = 50
Extreme = namedtuple("Extreme", "values indices")


def elementwise(function: Callable[[Any], Any]) -> Callable[[Exact], Exact]:
    """Return a function of numbers as a method of tensors."""
    many = np.frompyfunc(function, 1, 1)
    return lambda x: Exact(many(x.real().data))


class Exact:
    """A tensor whose real entries have 50 digits."""

    dtype, device = "real", "cpu"

    def __init__(self, data: Any) -> None:
        self.data = np.asarray(data)

    @classmethod
    def of(cls, value: Any) -> Any:
        """Take over a torch tensor; anything else as it is."""
        if not isinstance(value, torch.Tensor):
            return value
        data = value.numpy()
        real = value.is_floating_point()
        return cls(np.frompyfunc(mpmath.mpf, 1, 1)(data) if real else data)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def mT(self) -> Exact:
        return Exact(self.data.swapaxes(-1, -2))

    def real(self, *_: Any, **__: Any) -> Exact:
        """Return the same as real numbers."""
        if self.data.dtype == object:
            return self
        return Exact(np.frompyfunc(lambda v: mpmath.mpf(int(v)), 1, 1)(self.data))

    to = type_as = real

    def numel(self) -> int:
        return self.data.size

    def size(self, dim: int) -> int:
        return self.shape[dim]

    def __getitem__(self, index: Any) -> Exact:
        return Exact(self.data[plain(index)])

    def sum(self, dim: Any = None, keepdim: bool = False) -> Exact:
        data = self.data if self.data.dtype == object else self.data.astype(np.int64)
        return Exact(data.sum(axis=axes(dim), keepdims=keepdim))

    def mean(self, dim: Any = None, keepdim: bool = False) -> Exact:
        total = self.sum(dim, keepdim)
        return total * total.numel() / self.numel()

    def var(
        self,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        correction: int | None = None,
    ) -> Exact:
        less = int(unbiased) if correction is None else correction
        total = ((self - self.mean(dim, True)) ** 2).sum(dim, keepdim)
        return total / (self.numel() // total.numel() - less)

    def amax(self, dim: Any = None, keepdim: bool = False) -> Exact:
        return Exact(self.data.max(axis=axes(dim), keepdims=keepdim))

    def max(self, dim: int, keepdim: bool = False) -> Extreme:
        places = np.expand_dims(self.data.argmax(axis=dim), dim)
        indices = places if keepdim else places.squeeze(dim)
        return Extreme(self.amax(dim, keepdim), Exact(indices))

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Exact:
        return self.exp().sum(dim, keepdim).log()

    def softmax(self, dim: int) -> Exact:
        return self.exp() / self.exp().sum(dim, True)

    def log_softmax(self, dim: int) -> Exact:
        return self - self.logsumexp(dim, True)

    def unsqueeze(self, dim: int) -> Exact:
        return Exact(np.expand_dims(self.data, dim))

    def squeeze(self, dim: Any) -> Exact:
        return Exact(self.data.squeeze(axes(dim)))

    def expand_as(self, other: Exact) -> Exact:
        return Exact(np.broadcast_to(self.data, other.shape))

    def expand(self, *shape: Any) -> Exact:
        whole = shape[0] if isinstance(shape[0], tuple) else shape
        own = (1,) * (len(whole) - self.ndim) + self.shape
        sizes = [own[k] if size == -1 else size for k, size in enumerate(whole)]
        return Exact(np.broadcast_to(self.data, sizes))

    def reshape(self, *shape: Any) -> Exact:
        return Exact(self.data.reshape(shape[0] if isinstance(shape[0], tuple) else shape))

    def masked_fill(self, mask: Exact, value: Any) -> Exact:
        return where(mask, value, self)

    def gather(self, dim: int, index: Exact) -> Exact:
        return Exact(np.take_along_axis(self.data, index.data, dim))

    def scatter(self, dim: int, index: Exact, source: Any) -> Exact:
        data = self.data.copy()
        np.put_along_axis(data, index.data, plain(source), dim)
        return Exact(data)

    def scatter_add(self, dim: int, index: Exact, source: Exact) -> Exact:
        data = self.data.copy()
        places = list(np.indices(index.shape))
        places[dim] = index.data
        np.add.at(data, tuple(places), source.data[tuple(slice(s) for s in index.shape)])
        return Exact(data)

    def index_put(self, indices: Any, values: Exact, accumulate: bool = False) -> Exact:
        data = self.data.copy()
        if accumulate:
            np.add.at(data, plain(tuple(indices)), values.data)
        else:
            data[plain(tuple(indices))] = values.data
        return Exact(data)

    exp = elementwise(mpmath.exp)
    log = elementwise(mpmath.log)
    sqrt = elementwise(mpmath.sqrt)
    tanh = elementwise(mpmath.tanh)
    log1p = elementwise(lambda v: mpmath.log(1 + v))
    sigmoid = elementwise(lambda v: 1 / (1 + mpmath.exp(-v)))
    rsqrt = elementwise(lambda v: 1 / mpmath.sqrt(v))
    reciprocal = elementwise(lambda v: 1 / v)
    relu = elementwise(lambda v: max(v, mpmath.mpf(0)))
    abs = __abs__ = elementwise(abs)
    sign = elementwise(mpmath.sign)
    square = elementwise(lambda v: v * v)
    __neg__ = neg = elementwise(lambda v: -v)

    def __invert__(self) -> Exact:
        return Exact(~self.data)


def plain(value: Any) -> Any:
    """Return an index or operand as numpy takes it."""
    if isinstance(value, tuple | list):
        return tuple(map(plain, value))
    if isinstance(value, range):
        return list(value)
    return value.data if isinstance(value, Exact) else value


def axes(dim: Any) -> Any:
    """Return a `dim` as numpy's axis."""
    return tuple(dim) if isinstance(dim, list) else dim


def operator(name: str, real: bool) -> Callable[[Exact, Any], Any]:
    """Return numpy's operator for tensors; where it makes real numbers, of real numbers."""

    def apply(self: Exact, other: Any) -> Any:
        if isinstance(other, Exact):
            right = other.real().data if real else other.data
        else:
            right = mpmath.mpf(other) if real or isinstance(other, float) else other
        return Exact(getattr(self.real().data if real else self.data, name)(right))

    return apply


for each in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Exact, f"__{each}__", operator(f"__{each}__", real=True))
    setattr(Exact, f"__r{each}__", operator(f"__r{each}__", real=True))
for each in ("eq", "ne", "lt", "le", "gt", "ge", "and", "or"):
    setattr(Exact, f"__{each}__", operator(f"__{each}__", real=False))


def where(mask: Exact, a: Any, b: Any) -> Exact:
    """Choose entries."""
    real = [v.real().data if isinstance(v, Exact) else mpmath.mpf(v) for v in (a, b)]
    return Exact(np.where(mask.data.astype(bool), *real))


def one_hot(label: Exact, num_classes: int) -> Exact:
    """Return rows with a 1 at the label."""
    return Exact((label.data[..., None] == np.arange(num_classes)).astype(np.int64))


def filled(value: int) -> Callable[..., Exact]:
    """Return the function that makes a tensor like another, of one number."""
    return lambda x, **_: Exact(np.full(x.shape, mpmath.mpf(value), dtype=object))


class Torch:
    """What stands for `torch` and for `torch.nn.functional`: a function is a method's."""

    where, one_hot = staticmethod(where), staticmethod(one_hot)
    zeros_like, ones_like = staticmethod(filled(0)), staticmethod(filled(1))
    finfo = staticmethod(lambda _: SimpleNamespace(eps=torch.finfo(torch.float64).eps))

    @staticmethod
    def arange(count: int, **_: Any) -> Exact:
        return Exact(np.arange(count))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


def run_exact(*sources: str, **values: Any) -> dict[str, Any]:
    """Run lines in 50 digits on torch tensors; return all that they assign."""
    scope: dict[str, Any] = {name: Exact.of(value) for name, value in values.items()}
    scope |= {"torch": Torch(), "F": Torch()}
    scope |= {"_decimal": mpmath.mpf, "_divided": divided}
    with mpmath.workdps(DIGITS):
        for source in sources:
            tree = ast.fix_missing_locations(Decimals().visit(ast.parse(source)))
            exec(compile(tree, "<lines in 50 digits>", "exec"), scope)
    return scope


class Decimals(ast.NodeTransformer):
    """Make `0.1` and `1 / n` as exact as tensors are."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if type(node.value) is not float:
            return node
        return called("_decimal", ast.Constant(repr(node.value)))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        return called("_divided", node.left, node.right) if isinstance(node.op, ast.Div) else node


def called(name: str, *args: ast.expr) -> ast.Call:
    """Return a call of a function in the lines' scope."""
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def divided(a: Any, b: Any) -> Any:
    """Divide tensors or numbers."""
    return a / b if isinstance(a, Exact) or isinstance(b, Exact) else mpmath.mpf(a) / b
