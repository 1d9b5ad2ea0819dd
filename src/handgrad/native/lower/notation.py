"""Index notation lowered: an equation and its operands become the definition of an array."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handgrad.errors import BadInput
from handgrad.index import Equation, labels, reduction
from handgrad.native.lower.array import Array, Graph
from handgrad.native.lower.expr import (
    BOOL,
    INT,
    Entry,
    apply,
    axes_of,
    axis,
    bounds,
    call,
    cast,
    const,
    is_float,
    join,
    make,
    select,
    var,
    whole,
)
from handgrad.native.lower.powers import power, remainder
from handgrad.native.lower.tree import walk
from handgrad.ops.words import axes

BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or"}
BINARY |= {ast.BitXor: "xor"}
COMPARE = {ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq"}
COMPARE |= {ast.NotEq: "ne"}
FUNCTIONS_TEXT = (
    "exp log log1p expm1 sqrt sin cos tanh erf log2 log10 tan asin acos atan sinh cosh "
    "floor ceil trunc sigmoid abs sign isfinite isinf isnan"
)
FUNCTIONS = set(FUNCTIONS_TEXT.split())
TESTS = {"isfinite", "isinf", "isnan"}


@dataclass
class Notation:
    """An equation that is being lowered.

    Attributes:
        bound: the arguments: arrays and numbers by name.
        shape: that of the result.
        ctype: that of the result.
    """

    graph: Graph
    equation: Equation
    bound: Mapping[str, Any]
    shape: tuple[int, ...]
    ctype: str
    count: int = 0
    free: list[Entry] = field(default_factory=list)

    def lower(self) -> Array:
        """Return the array that the equation defines."""
        indices = tuple(axis(place, size) for place, size in enumerate(self.shape))
        self.free = [i for i in indices if i.op == "var"]
        body = self.value(self.equation.value, self.output_labels(indices))
        if body.op == "read" and body.ctype == self.ctype and body.args[1] == indices:
            made: Array = body.args[0]
            if made.kind == "reduce" and made.shape == self.shape:
                return made
        return self.graph.map(self.shape, self.ctype, lambda _: body)

    @property
    def work(self) -> str:
        """Return the type that is computed in."""
        if is_float(self.ctype):
            return self.ctype
        found = BOOL
        for value in self.bound.values():
            if isinstance(value, Array):
                found = join(found, value.ctype)
        return found if is_float(found) else INT

    def output_labels(self, indices: tuple[Entry, ...]) -> dict[str, Any]:
        """Return what each label of the result stands for."""
        env: dict[str, Any] = {}
        rest = list(indices)
        for label in reversed(self.equation.output):
            if label[0].isupper():
                break
            env[label] = rest.pop()
        wide = [label for label in self.equation.output if label[0].isupper()]
        if wide and "-" in wide[0]:
            name, taken = wide[0].split("-")
            for place in axes(self.bound.get(taken), self.rank(name)):
                if not self.bound.get("keepdim"):
                    rest.insert(place, whole(0))
            env[name] = rest
        elif wide:
            env[wide[0]] = rest
        return env

    def rank(self, label: str) -> int:
        """Return how many axes a capital label stands for."""
        ranks = [0]
        for name, many in self.equation.reads.items():
            value = self.bound[name]
            if isinstance(value, Array):
                ranks += [len(value.shape) - (len(r) - 1) for r in many if label in r]
        return max(ranks)

    def sizes(self, label: str) -> list[int]:
        """Return the sizes that a label runs over; one of them for a small label."""
        wide = label[0].isupper()
        rank = self.rank(label) if wide else 1
        sizes = [1] * rank
        for name, many in self.equation.reads.items():
            value = self.bound[name]
            for read in many:
                if label not in read or not isinstance(value, Array):
                    continue
                after = len(read) - read.index(label) - 1
                own = len(value.shape) - (len(read) - 1) if wide else 1
                for k in range(own):
                    size = value.shape[len(value.shape) - after - own + k]
                    place = rank - own + k
                    sizes[place] = sizes[place] if size == 1 else size
        return sizes

    def value(self, node: ast.expr, env: dict[str, Any]) -> Entry:
        """Return an expression as an entry."""
        if isinstance(node, ast.Constant):
            return self.literal(node.value)
        if isinstance(node, ast.Name):
            return self.name(node.id, env)
        if isinstance(node, ast.Subscript):
            return self.read(node, env)
        if (kind := reduction(node)) is not None:
            assert isinstance(node, ast.Call)
            return self.reduce(kind, node, env)
        if isinstance(node, ast.Call):
            return self.function(node, env)
        if isinstance(node, ast.UnaryOp):
            inside = self.value(node.operand, env)
            if isinstance(node.op, ast.USub):
                return apply("neg", inside)
            return (
                apply("eq", inside, const(0, BOOL)) if inside.ctype == BOOL else call("not", inside)
            )
        if isinstance(node, ast.Compare):
            left, right = self.value(node.left, env), self.value(node.comparators[0], env)
            return apply(COMPARE[type(node.ops[0])], left, right)
        assert isinstance(node, ast.BinOp)
        return self.binary(node, env)

    def literal(self, value: Any) -> Entry:
        """Return a number in the type that is computed in."""
        if isinstance(value, bool):
            return const(value, BOOL)
        if isinstance(value, float) and not is_float(self.work):
            return const(value, "double")
        return const(value, self.work if is_float(self.work) else INT)

    def name(self, name: str, env: dict[str, Any]) -> Entry:
        """Return what a bare name stands for: a label's place or an argument."""
        if name in env:
            return env[name]
        value = {"pi": math.pi, "inf": math.inf}.get(name, self.bound.get(name))
        if isinstance(value, int | float):
            return self.literal(value)
        raise BadInput(f"{name} is no number in {self.equation.text}")

    def read(self, node: ast.Subscript, env: dict[str, Any]) -> Entry:
        """Return an operand's entry; a number is the same everywhere."""
        operand = self.bound[ast.unparse(node.value)]
        if not isinstance(operand, Array):
            return self.literal(operand)
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        texts = labels(node)
        place: list[Entry] = []
        for text, part in zip(texts, inside, strict=False):
            if text[0].isupper():
                own = len(operand.shape) - (len(texts) - 1)
                place += env[text][len(env[text]) - own :] if own else []
            else:
                place.append(self.position(part, env, operand.shape[len(place)]))
        entry = operand.at(tuple(place))
        return cast(entry, self.work) if is_float(operand.ctype) and is_float(self.work) else entry

    def position(self, node: ast.expr, env: dict[str, Any], size: int) -> Entry:
        """Return where an operand is read: a label, or what an array of indices says."""
        return wrapped(self.value(node, env), size)

    def reduce(
        self, kind: str, node: ast.Call, env: dict[str, Any], less: Entry | None = None
    ) -> Entry:
        """Return `sum[j](...)`: over a small label, or over the axes that an argument names.

        Args:
            kind: sum, mean, prod, max or min.
            node: the reduction.
            env: what each label stands for.
            less: what is collected is exp(... - less).
        """
        inner, over = self.ranges(node, env)
        self.free += [v for v in over if v.op == "var"]
        body = self.value(node.args[0], inner)
        if less is not None:
            body = call("exp", apply("sub", body, less))
        found = self.collect(kind, self.summand(body), over)
        self.free = [v for v in self.free if v not in over]
        return found

    def ranges(self, node: ast.Call, env: dict[str, Any]) -> tuple[dict[str, Any], list[Entry]]:
        """Return what labels stand for inside a reduction, and what it is collected over."""
        assert isinstance(node.func, ast.Subscript)
        over: list[Entry] = []
        inner = dict(env)
        for label in labels(node.func):
            if label == "dim" or label in self.bound:
                wide = next(
                    r[0] for m in self.equation.reads.values() for r in m if r and r[0][0].isupper()
                )
                sizes = self.sizes(wide)
                at = list(env[wide])
                for place in axes(self.bound.get(label), len(sizes)):
                    at[place] = self.fresh(sizes[place], over)
                inner[wide] = at
            else:
                inner[label] = self.fresh(self.sizes(label)[0], over)
        return inner, over

    def fresh(self, size: int, over: list[Entry]) -> Entry:
        """Return a new variable to collect over."""
        self.count += 1
        variable = var(f"q{self.count}", size)
        over.append(variable)
        return variable

    def summand(self, body: Entry) -> Entry:
        """Return what is collected in the type that it is collected in."""
        if is_float(self.work) and not is_float(body.ctype):
            return cast(body, self.work)
        return body if is_float(body.ctype) else cast(body, INT)

    def collect(self, kind: str, body: Entry, over: list[Entry]) -> Entry:
        """Return a reduction of an entry over variables, some of which may have one value."""
        count = math.prod(v.args[1] if v.op == "var" else 1 for v in over)
        real = [v for v in over if v.op == "var"]
        if body.op == "const" and kind in ("sum", "mean"):
            return const(body.args[0] * (count if kind == "sum" else 1), body.ctype)
        free = [v for v in self.free if v not in real]
        how = "sum" if kind == "mean" else kind
        total = self.graph.reduce(how, body, free, real) if real else body
        return apply("div", total, const(count, body.ctype)) if kind == "mean" else total

    def function(self, node: ast.Call, env: dict[str, Any]) -> Entry:
        """Return a function of entries."""
        name = ast.unparse(node.func)
        shifted = self.shifted(name, node, env)
        if shifted is not None:
            return shifted
        operands = [self.value(part, env) for part in node.args]
        if name == "where":
            return select(*operands)
        if name in ("min", "max"):
            return apply(name, *operands)
        if name in ("float", "int", "bool"):
            return (
                cast(operands[0], self.ctype)
                if name != "bool"
                else apply("ne", operands[0], const(0, BOOL))
            )
        if name == "round":
            return call("rint", self.real(operands[0])) if is_float(self.work) else operands[0]
        if name not in FUNCTIONS:
            raise BadInput(f"no native code for the function {name}")
        if name in TESTS:
            return make(name, (self.real(operands[0]),), BOOL)
        if name in ("abs", "sign") and not is_float(operands[0].ctype):
            return call(f"whole_{name}", cast(operands[0], INT))
        return call(name, self.real(operands[0]))

    def real(self, entry: Entry) -> Entry:
        """Return an entry in a floating-point type."""
        return (
            entry
            if is_float(entry.ctype)
            else cast(entry, self.work if is_float(self.work) else "float")
        )

    def shifted(self, name: str, node: ast.Call, env: dict[str, Any]) -> Entry | None:
        """Return a function written so that it does not overflow where its value does not.

        log(sum[d](exp(z))) = m + log(sum[d](exp(z - m))) with m = max[d](z), and
        log1p(exp(z)) = max(z, 0) + log1p(exp(-abs(z))).
        """
        if name == "log" and (inner := exponential_sum(node.args[0])) is not None:
            over_node, z = inner
            assert isinstance(over_node.func, ast.Subscript)
            most = self.reduce("max", ast.Call(over_node.func, [z], []), env)
            kept = select(make("isinf", (most,), BOOL), const(0, most.ctype), most)
            total = self.reduce("sum", ast.Call(over_node.func, [z], []), env, kept)
            return apply("add", kept, call("log", total))
        if name == "log1p" and (of := exponential(node.args[0])) is not None:
            z = self.real(self.value(of, env))
            small = call("log1p", call("exp", apply("neg", call("abs", z))))
            return apply("add", apply("max", z, const(0, z.ctype)), small)
        return None

    def share(self, node: ast.Call, z: ast.expr, env: dict[str, Any]) -> Entry:
        """Return exp(z) / sum[d](exp(z)), shifted by the greatest z; each exp is made once."""
        most = self.reduce("max", ast.Call(node.func, [z], []), env)
        top = call("exp", apply("sub", self.value(z, env), most))
        inner, over = self.ranges(node, env)
        given = {
            old: new
            for label in env
            if isinstance(env[label], list)
            for old, new in zip(env[label], inner[label], strict=True)
            if old is not new
        }
        full = axes_of(self.shape)
        if len(given) < len(over) or not given.keys() <= set(full) or not is_float(self.ctype):
            total = self.reduce("sum", ast.Call(node.func, [z], []), env, most)
            return apply("div", top, total)
        made = self.graph.map(self.shape, self.ctype, lambda _: top)
        real = [v for v in over if v.op == "var"]
        self.free += real
        total = self.collect("sum", made.at(tuple(given.get(i, i) for i in full)), over)
        self.free = [v for v in self.free if v not in real]
        return apply("div", made.at(full), total)

    def binary(self, node: ast.BinOp, env: dict[str, Any]) -> Entry:
        """Return an operator applied to two entries."""
        if isinstance(node.op, ast.Div) and (z := exponential(node.left)) is not None:
            inner = exponential_sum(
                node.right
            )  # exp(z) / sum[d](exp(z)), shifted by the greatest z
            if inner is not None and ast.dump(inner[1]) == ast.dump(z):
                return self.share(inner[0], z, env)
        left, right = self.value(node.left, env), self.value(node.right, env)
        if isinstance(node.op, ast.Div):
            return apply("div", self.real(left), self.real(right))
        if isinstance(node.op, ast.Pow):
            return power(left, right)
        if isinstance(node.op, ast.Mod):
            return remainder(left, right)
        return apply(BINARY[type(node.op)], left, right)


def exponential(node: ast.expr) -> ast.expr | None:
    """Return z where a node is exp(z)."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "exp":
        return node.args[0]
    return None


def exponential_sum(node: ast.expr) -> tuple[ast.Call, ast.expr] | None:
    """Return the reduction and z where a node is sum[d](exp(z))."""
    if reduction(node) == "sum" and isinstance(node, ast.Call):
        z = exponential(node.args[0])
        return None if z is None else (node, z)
    return None


def wrapped(entry: Entry, size: int) -> Entry:
    """Return a position; what an array says may count from the end."""
    entry = cast(entry, INT)
    if not any(node.op == "read" for node in walk(entry)):
        return entry
    low, high = bounds(entry)
    return entry if low >= 0 and high < size else make("wrap", (entry, size), INT)
