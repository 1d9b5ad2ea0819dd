"""Code as it reads in float64, and values in float64 with their last bits changed."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from types import CodeType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

NARROW = ("float32", "float16", "bfloat16", "float", "half")
CASTS = ("float", "half", "bfloat16")
SHAKE = 2.0**-44  # of an entry: some 500 roundings
FINE = SHAKE / 64
MIX = -0x61C8864680B583EB  # odd, its bits in no order
ROUNDED = (  # operations of torch whose result is rounded: none that picks or moves entries
    "add", "sub", "rsub", "mul", "div", "pow", "square", "sqrt", "rsqrt", "reciprocal", "exp",
    "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "tanh", "sinh", "cosh",
    "atan", "erf", "sigmoid", "silu", "gelu", "softplus", "addcmul", "addcdiv", "lerp", "sum",
    "mean", "var", "std", "prod", "cumsum", "cumprod", "logsumexp", "linalg_vector_norm",
    "_softmax", "_log_softmax", "mm", "bmm", "mv", "dot", "addmm", "addmv", "addbmm", "baddbmm",
    "convolution", "index_add", "scatter_add",
)  # fmt: skip


class Widen(ast.NodeTransformer):
    """Replace `torch.float32` and `.float()` by their float64 forms."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Replace a dtype of torch."""
        self.generic_visit(node)
        if node.attr in NARROW and isinstance(node.value, ast.Name) and node.value.id == "torch":
            return ast.copy_location(ast.Attribute(node.value, "float64", node.ctx), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace a cast by method."""
        self.generic_visit(node)
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in CASTS and not node.args:
            function = ast.Attribute(called.value, "double", ast.Load())
            made = ast.Call(ast.copy_location(function, called), [], node.keywords)
            return ast.copy_location(made, node)
        return node


def wide_code(text: str, file: str) -> CodeType:
    """Return source text, compiled with its casts widened."""
    return compile(Widen().visit(ast.parse(text)), file, "exec")


def shaken(value: torch.Tensor, by: float = SHAKE) -> torch.Tensor:
    """Return a float64 tensor with its last bits changed; equal entries stay equal.

    The change depends on nothing but the entry's own digits, so ties and zeros are kept. Entries
    that differ in one bit alone are changed apart.
    """
    if value.dtype != torch.float64:
        return value
    digits, _ = torch.frexp(value.abs())
    mixed = digits.view(torch.int64) * MIX
    mixed = (mixed ^ (mixed >> 31)) * MIX
    part = (mixed >> 11).double() / 2.0**53  # from -0.5 to 0.5
    return value * (1 + by * (part + 0.5 * part.sign()))


def jumps(large: float, small: float) -> bool:
    """Tell whether a move by SHAKE and one by FINE are no rounding, which is as small as they are.

    A mask that flips, or 0 / 0, moves a value as far however little is changed.
    """
    return 0 < large < 2 * small


class Shaking(TorchDispatchMode):
    """Run torch with the last bits of each rounded result changed, in-between results too.

    What cancels inside an expression, `x * c - x.mean() * c`, is noise that changed operands do
    not show: both sides change alike.

    Args:
        by: how much, as a part of an entry.
    """

    def __init__(self, by: float = SHAKE) -> None:
        super().__init__()
        self.by = by

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Say that nothing is compiled here: else torch's compiler is imported, for seconds."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not isinstance(result, torch.Tensor) or name.removesuffix("_") not in ROUNDED:
            return result
        changed = shaken(result, self.by)
        return result.copy_(changed) if name.endswith("_") else changed


def shaking() -> float:
    """Return by how much results are changed just now, 0 where they are not."""
    mode = _get_current_dispatch_mode()
    return mode.by if isinstance(mode, Shaking) else 0.0
