"""Code as it reads in float64, and values in float64 with their last bits changed."""

from __future__ import annotations

import ast
from types import CodeType

import torch

NARROW = ("float32", "float16", "bfloat16", "float", "half")
CASTS = ("float", "half", "bfloat16")
SHAKE = 2.0**-44  # of an entry: some 500 roundings


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


def shaken(value: torch.Tensor) -> torch.Tensor:
    """Return a float64 tensor with its last bits changed; equal entries stay equal.

    The change depends on nothing but the entry's own digits, so ties and zeros are kept.
    """
    if value.dtype != torch.float64:
        return value
    digits, _ = torch.frexp(value)
    return value * (1 + SHAKE * torch.sin(digits * 1e6))
