"""Right backward passes to check: in every dtype and size, at ties and kinks, rewritten."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import handgrad as hg
from handgrad.check.assess import assess
from handgrad.check.judge import Judge
from handgrad.check.report import Row, Verdict
from handgrad.check.statements import statements
from handgrad.errors import BadInput, HandgradError
from handgrad.trace import Trace
from mutation.freeform import free_form, target
from mutation.operators import is_op, replace_in
from mutation.programs import Program, programs, scope_of
from strategies import random_forward

DTYPES = (torch.float64, torch.float32, torch.bfloat16)
SCALES = (1e-8, 1e-4, 1e-2, 1.0, 1.0, 1.0, 1e2, 1e4, 1e8)
ALARMS = (Verdict.WRONG, Verdict.SHAPE)


@dataclass(frozen=True, eq=False)
class Right:
    """A right backward pass of a forward pass.

    Attributes:
        name: what it is and how its values were made.
        trace: the forward pass.
        source: the backward pass.
    """

    name: str
    trace: Trace
    source: str

    def alarms(self) -> list[Row]:
        """Return the rows that the checker calls wrong."""
        report = assess(Judge(self.trace, statements(self.source)))
        return [row for row in report.rows if row.verdict in ALARMS or row.inherits]


def rights(count: int, seed: int) -> Iterator[Right]:
    """Yield right backward passes of random programs and of the examples."""
    rng, made = random.Random(seed), 0
    while made < count:
        one = of_example(rng) if rng.random() < 0.4 else of_random(rng)
        if one is not None:
            made += 1
            yield one


def of_example(rng: random.Random) -> Right | None:
    """Return an example's backward pass, its leaves in another dtype, size or pattern."""
    known = [p for p in programs() if len(p.lines) < 45]
    program = rng.choice(known)
    dtype, scale, pattern = rng.choice(DTYPES), rng.choice(SCALES), rng.choice(PATTERNS)
    leaves = program.trace.leaves
    given = {n.name: program.trace.values[n.name] for n in program.trace.program.inputs}
    made = {n: v if n not in leaves else pattern(v * scale) for n, v in given.items()}
    made = {n: v.to(dtype) if v.is_floating_point() else v for n, v in made.items()}
    trace = traced(program, made)
    name = f"{program.name} {dtype} {scale:g} {pattern.__name__}"
    return None if trace is None else right(name, trace, rng)


def traced(program: Program, given: Mapping[str, torch.Tensor]) -> Trace | None:
    """Trace a program's text with other inputs, None where it does not run on them."""
    text = "\n".join("    " + line.text for line in program.trace.lines)
    head = f"def forward({', '.join([*given, *program.trace.program.scalars])}):"
    scope: dict[str, Any] = {"torch": torch, "F": torch.nn.functional}
    return from_text(f"{head}\n{text}\n    return {program.trace.output}\n", scope, {
        **given, **program.trace.program.scalars
    })  # fmt: skip


def from_text(source: str, scope: dict[str, Any], given: Mapping[str, Any]) -> Trace | None:
    """Trace a function `forward` given as text."""
    import linecache

    file = f"<right {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), scope)
    try:
        return hg.trace(scope["forward"], **given)
    except (HandgradError, RuntimeError):
        return None


def of_random(rng: random.Random) -> Right | None:
    """Return a random program's backward pass, its leaves in another dtype, size or pattern."""
    number = rng.randrange(1_000_000)
    forward, arguments, _ = random_forward(number)
    dtype, scale, pattern = rng.choice(DTYPES), rng.choice(SCALES), rng.choice(PATTERNS)
    given = {
        n: pattern(v * scale).to(dtype) if v.is_floating_point() else v
        for n, v in arguments.items()
    }
    try:
        trace = hg.trace(forward, **given)
    except (HandgradError, RuntimeError):
        return None
    return right(f"random {number} {dtype} {scale:g} {pattern.__name__}", trace, rng)


def right(name: str, trace: Trace, rng: random.Random) -> Right | None:
    """Return a backward pass of a forward pass, as derived or rewritten; None if not finite."""
    if not all(bool(g.isfinite().all()) for g in trace.grads.values()):
        return None
    try:
        hg.derive(again(trace))  # in float32 a rule may pass that float64 shows to be wrong there
        program = Program(name, trace, tuple(hg.derive(trace).source.splitlines()))
    except HandgradError:
        return None
    lines = free_form(program, rng) if rng.random() < 0.4 else program.lines
    rewritten = [equally(line, rng) for line in lines]
    if not same_result(trace, rewritten, lines):
        rewritten = [*lines]
    return Right(name, trace, "\n".join(rewritten) + "\n")


def again(trace: Trace) -> Trace:
    """Return a forward pass traced in float64."""
    given = {n.name: trace.values[n.name] for n in trace.program.inputs}
    wide = {n: v.double() if v.is_floating_point() else v for n, v in given.items()}
    made = traced(Program("", trace, ()), wide)
    if made is None:
        raise BadInput("it does not run in float64")
    return made


def same_result(trace: Trace, lines: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether two spellings agree in shape and dtype, and compute in no other than theirs.

    An integer to the power -1.0 is of the default dtype, float32, in the midst of float64.
    """
    one, two = left_by(trace, lines), left_by(trace, others)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        wide = left_by(trace, lines)
    finally:
        torch.set_default_dtype(before)
    return one.keys() == two.keys() and all(
        v.shape == two[n].shape
        and v.dtype == two[n].dtype
        and bool(v.isfinite().all())
        and (v.dtype != torch.float64 or torch.equal(v, wide[n]))
        for n, v in one.items()
    )


def left_by(trace: Trace, lines: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return what lines leave, nothing where one raises."""
    scope = scope_of(trace)
    try:
        with torch.no_grad():
            exec("\n".join(lines), scope)
    except RuntimeError:
        return {}
    return {target(line): scope[target(line)] for line in lines}


def equally(line: str, rng: random.Random) -> str:
    """Return a line that is equal in exact arithmetic, written otherwise in up to three places."""
    for _ in range(3):
        node = ast.parse(line).body[0]
        assert isinstance(node, ast.Assign | ast.AugAssign)
        for part in [*ast.walk(node.value)]:
            new = respelled(part, rng) if rng.random() < 0.3 else None
            if new is not None:
                line = ast.unparse(ast.fix_missing_locations(replace_in(node, part, new)))
                break
    return line


def respelled(node: ast.AST, rng: random.Random) -> ast.expr | None:
    """Return an expression that is equal in exact arithmetic, None where none is known."""
    if isinstance(node, ast.BinOp):
        made = [swapped(node), *map(expression, regrouped(node))]
        return rng.choice(made)
    match node:
        case ast.Call(ast.Attribute(inner, "mean"), [], [ast.keyword("dim", dim), *_]):
            if not isinstance(dim, ast.Constant | ast.UnaryOp):
                return None
            x, given = ast.unparse(inner), ", ".join(map(ast.unparse, node.keywords))
            return expression(f"({x}).sum({given}) / ({x}).shape[{ast.unparse(dim)}]")
    return None


def expression(text: str) -> ast.expr:
    """Return the tree of an expression."""
    return ast.parse(text, mode="eval").body


def regrouped(node: ast.BinOp) -> Iterator[str]:
    """Yield a difference with its sign outside, a square as a product, a product regrouped."""
    left, right = ast.unparse(node.left), ast.unparse(node.right)
    if isinstance(node.op, ast.Sub):
        yield f"-(({right}) - ({left}))"
    elif isinstance(node.op, ast.Pow) and right == "2":
        yield f"({left}) * ({left})"
    elif isinstance(node.op, ast.Mult):
        yield from products(node.left, right)
        yield from products(node.right, left)


def products(node: ast.expr, factor: str) -> Iterator[str]:
    """Yield a product of a sum or a product with a factor, multiplied out."""
    if isinstance(node, ast.BinOp):
        one, two = ast.unparse(node.left), ast.unparse(node.right)
        if isinstance(node.op, ast.Add | ast.Sub):
            sign = "+" if isinstance(node.op, ast.Add) else "-"
            yield f"({one}) * ({factor}) {sign} ({two}) * ({factor})"
        elif isinstance(node.op, ast.Mult):
            yield f"({one}) * (({two}) * ({factor}))"


def swapped(node: ast.BinOp) -> ast.expr | None:
    """Return `b * a` for `a * b`, `b + a` for `a + b`, `x * y**-1` for `x / y`."""
    if is_op(node, ast.Mult, ast.Add):
        return ast.BinOp(node.right, node.op, node.left)
    if is_op(node, ast.Div) and not isinstance(node.right, ast.Constant):
        power = ast.UnaryOp(ast.USub(), ast.Constant(1.0))
        return ast.BinOp(node.left, ast.Mult(), ast.BinOp(node.right, ast.Pow(), power))
    return None


def as_drawn(value: torch.Tensor) -> torch.Tensor:
    return value


def with_ties(value: torch.Tensor) -> torch.Tensor:
    """Round to few values, so that maxima tie."""
    size = float(value.abs().max()) if value.numel() else 0.0
    return (value / size * 2).round() * size / 2 if size else value


def with_kinks(value: torch.Tensor) -> torch.Tensor:
    """Put zeros where relu, abs and clamp have their kinks."""
    return (
        value.masked_fill(value.abs() < value.abs().mean() * 0.7, 0.0) if value.numel() else value
    )


def all_zero(value: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(value)


def all_equal(value: torch.Tensor) -> torch.Tensor:
    """Repeat one entry, so that what is left of it without its mean is rounding."""
    return value.flatten()[:1].expand(value.numel()).reshape(value.shape).clone()


def far_off(value: torch.Tensor) -> torch.Tensor:
    """Move the entries far from zero, beside how much they differ."""
    return value + 1e4 * value.abs().max() if value.numel() else value


PATTERNS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    as_drawn, as_drawn, as_drawn, with_ties, with_kinks, all_zero, all_equal, far_off,
)  # fmt: skip
