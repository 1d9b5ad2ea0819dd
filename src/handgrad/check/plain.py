"""Which lines of Python are plain torch: arithmetic, indexing, and calls of known functions.

Such a line can do nothing but compute, so that the judge may run it in its own process, with its
own torch, whoever wrote it. What is not known to be plain is not: it is never run there.
"""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Any

import torch

from handgrad.ops import TABLE

MODULES: Mapping[str, Any] = {
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "math": math,
}
BUILTINS: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(range, len, float, int, bool, tuple, list, slice, zip, enumerate, reversed),
        *(sum, abs, min, max, round, any, all, sorted),
    )
}


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


MORE_FUNCTIONS = frozenset(
    "torch." + name
    for name in words("""
        addbmm addcdiv addcmul addmv addr allclose argwhere as_tensor atan2 bincount block_diag
        cdist cross cumsum diagflat diff equal finfo fliplr flipud fmod histc hypot
        is_floating_point is_tensor isclose kron linalg.det linalg.inv linalg.matrix_norm logaddexp
        logspace meshgrid no_grad nonzero numel rot90 scatter_reduce sgn sinc special.entr square
        tensor_split tensordot tril_indices triu_indices unique
    """)
)
MATH = words("sqrt exp log log2 log10 pow prod floor ceil sin cos tanh pi inf nan e")
MORE_METHODS = words("""
    addcdiv addcmul addmv addr allclose append argwhere atan2 bincount copy cpu cross diff dim equal
    extend fill fliplr flipud fmod hypot index index_reduce is_floating_point isclose item logaddexp
    ndimension nelement new_tensor nonzero numel rot90 scatter_reduce sgn size sum_to_size
    tensor_split to tolist unfold unique zero
""")
ATTRIBUTES = words("T mT H mH shape dtype device ndim data values indices eps tiny real itemsize")
CONSTANTS = words("""
    float64 double float32 float float16 half bfloat16 int64 long int32 int int16 short int8 uint8
    bool pi inf nan e strided
""")
OPERATORS = (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)
STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.For, ast.If, ast.With)
EXPRESSIONS = (
    *(ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Tuple, ast.List),
    *(ast.Subscript, ast.Slice, ast.ListComp, ast.GeneratorExp, ast.Starred),
)
PARTS = (ast.comprehension, ast.keyword, ast.withitem)


@cache
def functions() -> frozenset[str]:
    """Return the functions of torch that only compute, `torch.exp` and `F.softmax`."""
    rows = {s.target for row in TABLE.rows for s in row.spellings if s.kind == "function"}
    return MORE_FUNCTIONS | rows - {"F.dropout", "torch.dropout", "torch.native_dropout"}


@cache
def methods() -> frozenset[str]:
    """Return the methods that only compute, those that change their tensor included."""
    rows = {s.target for row in TABLE.rows for s in row.spellings if s.kind == "method"}
    every = rows | MORE_METHODS
    return frozenset(every | {name + "_" for name in every})


@dataclass(frozen=True)
class Plain:
    """What plain lines may read.

    Attributes:
        names: of tensors and numbers.
        modules: the names that stand for a module, with that module's own name.
    """

    names: Collection[str]
    modules: Mapping[str, str] = field(
        default_factory=lambda: {"torch": "torch", "F": "torch.nn.functional"}
    )

    def text(self, source: str) -> bool:
        """Tell whether source text is plain statements."""
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return all(map(self.statement, tree.body))

    def index(self, source: str) -> bool:
        """Tell whether a text that may stand between square brackets is plain."""
        try:
            node = ast.parse(f"_[{source}]", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        if not isinstance(node, ast.Subscript) or ast.unparse(node.value) != "_":
            return False
        return self.part(node.slice, frozenset())

    def statement(self, node: ast.stmt) -> bool:
        """Tell whether a statement is plain."""
        if imported(node):
            return True
        bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and stores(n)}
        if any(name.startswith("__") or name in self.modules for name in bound):
            return False
        return not bound & BUILTINS.keys() and self.part(node, frozenset(bound))

    def part(self, node: ast.AST, bound: frozenset[str]) -> bool:
        """Tell whether a node and all in it are plain."""
        if isinstance(node, ast.Name):
            return stores(node) or node.id in bound or self.value(node.id)
        if isinstance(node, ast.Constant):
            return not isinstance(node.value, bytes | complex)
        if isinstance(node, ast.Attribute):
            return self.attribute(node, bound)
        if isinstance(node, ast.Call):
            given = [*node.args, *node.keywords]
            return self.callee(node.func, bound) and all(self.part(a, bound) for a in given)
        if isinstance(node, STATEMENTS + EXPRESSIONS + PARTS):
            return all(self.part(child, bound) for child in ast.iter_child_nodes(node))
        return isinstance(node, OPERATORS)

    def value(self, name: str) -> bool:
        """Tell whether a name is one of a tensor or number."""
        return name in self.names and name not in self.modules and not name.startswith("__")

    def attribute(self, node: ast.Attribute, bound: frozenset[str]) -> bool:
        """Tell whether an attribute that is read is plain."""
        if stores(node):
            return False
        home = self.module(node.value)
        if home is not None:
            return node.attr in (MATH if home == "math" else CONSTANTS)
        return node.attr in ATTRIBUTES and self.part(node.value, bound)

    def callee(self, node: ast.expr, bound: frozenset[str]) -> bool:
        """Tell whether what is called only computes."""
        if isinstance(node, ast.Name):
            return node.id in BUILTINS and node.id not in self.names and node.id not in bound
        if not isinstance(node, ast.Attribute):
            return False
        home = self.module(node.value)
        if home == "math":
            return node.attr in MATH
        if home is not None:
            return f"{home}.{node.attr}".replace("torch.nn.functional.", "F.") in functions()
        return node.attr in methods() and self.part(node.value, bound)

    def module(self, node: ast.expr) -> str | None:
        """Return the module that a dotted name stands for."""
        if isinstance(node, ast.Name):
            return self.modules.get(node.id)
        if isinstance(node, ast.Attribute):
            home = self.module(node.value)
            inner = ("torch.nn", "torch.nn.functional", "torch.linalg", "torch.special")
            dotted = f"{home}.{node.attr}"
            return dotted if home is not None and dotted in inner else None
        return None


def stores(node: ast.Name | ast.Attribute) -> bool:
    """Tell whether a node is bound, not read."""
    return not isinstance(node.ctx, ast.Load)


def imported(node: ast.stmt) -> dict[str, str]:
    """Return the names that an import of known modules binds, none for anything else."""
    found: dict[str, str] = {}
    if isinstance(node, ast.Import):
        found = {a.asname or a.name.split(".")[0]: a.name for a in node.names}
        plain = all(a.asname or a.name in ("torch", "math") for a in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        found = {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        plain = True
    else:
        return {}
    return found if plain and all(home in MODULES for home in found.values()) else {}


def without_imports(node: ast.stmt, code: CodeType) -> CodeType:
    """Return a statement's code; of an import, whose names are there already, nothing."""
    return compile("", code.co_filename, "exec") if imported(node) else code


def resolved(dotted: str) -> Any:
    """Return a function of torch by the name that torch itself gives it, None if it has none.

    It is one of those that torch lets others override: they take tensors and compute.
    """
    head, *rest = dotted.removesuffix(".__get__").split(".")
    shut = ("empty", "load", "save", "file", "backward", "register", "numpy", "storage", "set_")
    shut += ("apply_", "map_", "resize", "__reduce", "__setstate", "hook", "__class", "__dict")
    if head != "torch" or any(word in dotted for word in shut):
        return None
    found: Any = importlib.import_module("torch")
    for name in rest:
        found = getattr(found, name, None)
    if dotted.endswith(".__get__"):
        found = getattr(found, "__get__", None)
    return found if found in overridable() or found in (torch.as_tensor, torch.tensor) else None


@cache
def overridable() -> frozenset[Any]:
    """Return the functions that torch lets others override."""
    from torch.overrides import get_overridable_functions

    return frozenset(f for each in get_overridable_functions().values() for f in each)
