"""PyTorch's own sample inputs of every differentiable op, each as a forward pass that is judged."""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten, tree_unflatten

import handgrad as hg
from fuzzing.judge import INVALID, RIGHT, Off, Verdict, by_primal, told
from fuzzing.pool import answers

torch.set_num_threads(1)
MARKED = "marked"  # right, autograd asked for that op alone
PLAIN = (bool, int, float, str, type(None), torch.dtype, Ellipsis.__class__)
CLOSE = 1e-7
SEED = 5
SHARD = 60  # samples of one job


def differentiable() -> dict[str, Any]:
    """Return every op that has a gradient in double precision, by name and variant."""
    found = {}
    for op in op_db:
        if op.supports_autograd and torch.float64 in op.supported_dtypes("cpu"):
            found[f"{op.name}.{op.variant_test_name}".rstrip(".")] = op
    return found


@dataclass(frozen=True)
class Case:
    """One sample as a forward pass.

    Attributes:
        source: its text.
        scope: what the text reads besides its arguments.
        arguments: its tensors by name.
        leaves: which of them gradients are wanted for.
    """

    source: str
    scope: Mapping[str, Any]
    arguments: Mapping[str, Tensor]
    leaves: tuple[str, ...]

    def function(self) -> Any:
        """Return the forward pass as a function."""
        file = "<sample>"
        lines = self.source.splitlines(keepends=True)
        linecache.cache[file] = (len(self.source), None, lines, file)
        scope = {"torch": torch, **self.scope}
        exec(compile(self.source, file, "exec", dont_inherit=True), scope)
        return scope["forward"]

    def fresh(self) -> dict[str, Tensor]:
        """Return copies of the arguments, the leaves requiring a gradient."""
        return {
            name: t.detach().clone().requires_grad_(name in self.leaves)
            for name, t in self.arguments.items()
        }


def samples(op: Any) -> Iterator[Any]:
    """Yield the sample inputs of an op, the same ones each time."""
    torch.manual_seed(SEED)
    yield from op.sample_inputs("cpu", torch.float64, requires_grad=True)


def case_of(op: Any, sample: Any) -> Case | None:
    """Return a sample as a forward pass; None if it has no gradient."""
    flat, shape = tree_flatten(((sample.input, *sample.args), sample.kwargs))
    arguments: dict[str, Tensor] = {}
    scope: dict[str, Any] = {"op": op.op, "post": sample.output_process_fn_grad}
    names: dict[int, str] = {}
    texts = []
    for value in flat:
        if isinstance(value, Tensor):
            name = names.setdefault(id(value), f"x{len(names)}")
            arguments[name] = value
        elif isinstance(value, PLAIN) and value == value and abs(number(value)) != float("inf"):
            name = "..." if value is Ellipsis else repr(value)
        else:
            name = f"given{len(scope)}"
            scope[name] = value
        texts.append(Text(name))
    args, kwargs = tree_unflatten(texts, shape)
    words = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    leaves = tuple(n for n, t in arguments.items() if t.requires_grad)
    line = f"op({', '.join(words)})"
    try:
        torch.manual_seed(SEED)
        result = sample.output_process_fn_grad(op.op(sample.input, *sample.args, **sample.kwargs))
    except Exception:
        return None
    return with_loss(line, result, Case("", scope, arguments, leaves))


class Text(str):
    """A text whose repr is itself, so that containers of it print as code."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def number(value: Any) -> float:
    """Return a number to compare with infinity; 0 for what is none."""
    return value if isinstance(value, int | float) else 0.0


def with_loss(line: str, result: Any, case: Case) -> Case | None:
    """Return the case with its text: each float result times a weight, summed."""
    several = isinstance(result, list | tuple)
    parts = list(result) if several else [result]
    terms, weights = [], {}
    generator = torch.Generator().manual_seed(SEED)
    for k, part in enumerate(parts):
        if isinstance(part, Tensor) and part.requires_grad:
            name = f"out[{k}]" if several else "out"
            if part.is_complex():
                name = f"torch.view_as_real({name}.resolve_conj())"
                part = torch.view_as_real(part.resolve_conj())
            if not part.is_floating_point():
                continue
            weight = torch.rand(part.shape, generator=generator, dtype=torch.float64) + 0.5
            weights[f"weight{k}"] = weight.to(part.dtype)
            terms.append(f"({name} * weight{k}).sum()")
    if not terms or not case.leaves:
        return None
    names = ", ".join(case.arguments)
    source = (
        f"def forward({names}):\n    out = post({line})\n    loss = {' + '.join(terms)}\n"
        "    return loss\n"
    )
    return Case(source, {**case.scope, **weights}, case.arguments, case.leaves)


def judge(case: Case, stages: list[str]) -> Verdict:
    """Trace, derive and run a sample; go on with the stages asked for."""
    with warnings.catch_warnings(action="ignore"):
        try:
            given = case.fresh()
            torch.manual_seed(SEED)
            loss = case.function()(**given)
            leaves = [given[n] for n in case.leaves]
            grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        except Exception as error:
            return Verdict(INVALID, text=repr(error))
        truth = dict(zip(case.leaves, grads, strict=True))
        at = "trace"
        try:
            torch.manual_seed(SEED)
            trace = hg.trace(case.function(), **case.fresh(), wrt=case.leaves)
            at = "derive"
            backward = hg.derive(trace)
            compare(truth, by_primal(backward))
            if "simplify" in stages:
                at = "simplify"
                compare(truth, by_primal(hg.simplify(backward)))
            if "compile" in stages:
                at = "compile"
                stepped(case, loss, truth, drawn=bool(trace.draws))
        except Exception as error:
            return told(error, at)
    return Verdict(MARKED if backward.opaque else RIGHT)


def compare(truth: Mapping[str, Tensor | None], found: Mapping[str, Tensor]) -> None:
    """Compare every gradient with autograd's, where autograd's is a number.

    Raises:
        Off: one is missing or differs.
    """
    for name, grad in truth.items():
        mine = found.get(name)
        if grad is None or not grad.numel() or not grad.any():
            if mine is not None and mine.numel() and bool((mine.abs() > 1e-9).any()):
                raise Off(f"d{name} is there, and autograd has none or zeros")
            continue
        if mine is None:
            raise Off(f"d{name} is missing")
        if mine.shape != grad.shape or mine.dtype != grad.dtype:
            raise Off(f"d{name} is {list(mine.shape)} {mine.dtype}, not {list(grad.shape)}")
        known = grad.isfinite()
        off = (mine - grad)[known].abs()
        if off.numel() and not bool(off.max() <= CLOSE * max(1e-6, float(grad[known].abs().max()))):
            raise Off(
                f"d{name} is off by {float(off.max()):.3g} of {float(grad[known].abs().max()):.3g}"
            )


def stepped(case: Case, loss: Tensor, truth: Mapping[str, Tensor | None], *, drawn: bool) -> None:
    """Compile a step and compare what it does to the leaves with autograd's gradients.

    The database sets a seed inside of each op that draws; a step draws anew, so that there is
    nothing to compare with.

    Raises:
        Off: the loss or a leaf differs after a step.
    """
    given = case.fresh()
    torch.manual_seed(SEED)
    step = hg.compile(case.function(), **given, wrt=case.leaves, optimizer=hg.nn.SGD(lr=1.0))
    torch.manual_seed(SEED)
    first = float(step.step())
    if drawn:
        return
    if abs(first - float(loss)) > 1e-7 * max(1.0, abs(float(loss))):
        raise Off(f"the loss is {first:.6g}, not {float(loss):.6g} ({step.backend})")
    moved = {n: case.arguments[n].detach() - given[n].detach() for n in case.leaves}
    finite = {n: g for n, g in truth.items() if g is None or bool(g.isfinite().all())}
    for name, grad in finite.items():
        scale = float(case.arguments[name].detach().abs().max()) if moved[name].numel() else 0.0
        due = torch.zeros_like(moved[name]) if grad is None else grad
        off = (moved[name] - due)[case.arguments[name].isfinite()].abs()
        reach = max(1.0, scale, float(due.abs().max()) if due.numel() else 0.0)
        if off.numel() and not bool(off.max() <= 1e-7 * reach):
            raise Off(f"{name} moves wrongly by {float(off.max()):.3g} ({step.backend})")


def judged(name: str, first: int, count: int, stages: list[str]) -> list[dict[str, Any]]:
    """Judge some samples of an op; those without a gradient are left out."""
    with warnings.catch_warnings(action="ignore"):
        op = differentiable()[name]
        found = []
        for place, sample in enumerate(islice(samples(op), first, first + count), first):
            case = case_of(op, sample)
            if case is not None:
                verdict = judge(case, stages)
                found.append({"place": place, "source": case.source, **asdict(verdict)})
        return found


def counts(part: int, parts: int) -> dict[str, int]:
    """Return how many samples each op of a part of the database has."""
    with warnings.catch_warnings(action="ignore"):
        ops = list(differentiable().items())[part::parts]
        return {name: sum(1 for _ in samples(op)) for name, op in ops}


def verdicts(
    sizes: Mapping[str, int], stages: list[str], most: int, workers: int, limit: float
) -> dict[str, list[dict[str, Any]]]:
    """Return what came of the first samples of each op.

    Where a process died or hung, its samples are judged again one by one.
    """
    due = {name: min(most, size) for name, size in sizes.items()}
    work = [
        (name, first, min(SHARD, size - first), stages)
        for name, size in due.items()
        for first in range(0, size, SHARD)
    ]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sizes}
    again = []
    for job, answer in answers(judged, work, workers, limit):
        if isinstance(answer, list):
            found[job[0]] += answer
        else:
            again += [(job[0], place, 1, stages) for place in range(job[1], job[1] + job[2])]
    for job, answer in answers(judged, again, workers, limit):
        died = {"place": job[1], "source": "", **answer} if isinstance(answer, dict) else None
        found[job[0]] += [died] if died else answer
    return found
