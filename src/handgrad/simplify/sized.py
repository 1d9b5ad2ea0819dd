"""The lines of a program on other numbers and at other sizes, to try equations there.

Every axis belongs to a class of axes that have one size. A class gets a new size when an input or
a scalar that belongs to it is read first; where a line makes an axis of a class that has none yet,
as a reshape does, the class has that size from there on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from handgrad.derive import Backward
from handgrad.derive.backward import names_in_text
from handgrad.ir import Call, walk
from handgrad.threads import threads_for

if TYPE_CHECKING:
    from handgrad.simplify.program import Reading

SMALL = (5, 3, 7, 4, 11, 6, 13, 8, 17, 9, 19, 10, 23, 12, 29)
LEAST = min(SMALL)
TOLERANCE = 1e-8
LARGEST = 30_000_000  # entries; a program with more is not run once more
HARMLESS = {"detach", "data"}  # they pass on what they are given
FAILURES = (RuntimeError, IndexError, NameError, AttributeError, TypeError, ValueError)


class Unfit(Exception):
    """The lines do not run at these sizes."""


class Place:
    """The values of a program at one point: numbers of its own, sizes of its own.

    Attributes:
        scope: every name's value.
        reach: the largest magnitude among the gradients.
        eps: how far equal values may be apart, beside what they are made of.
    """

    def __init__(self, scope: dict[str, Any], reach: float, eps: float) -> None:
        self.scope, self.reach, self.eps = scope, reach, eps

    def value(self, text: str) -> Any:
        """Return what an expression is here; whole numbers divide in double precision too."""
        with in_double(), torch.no_grad():
            return eval(compile(text, "<step>", "eval"), self.scope)

    def is_tensor(self, text: str) -> bool:
        """Tell whether an expression runs here and is a tensor."""
        try:
            return isinstance(self.value(text), torch.Tensor)
        except FAILURES:
            return False

    def run(self, source: str) -> None:
        """Run lines here; where they do not run, what they assign is not known."""
        with torch.no_grad(), suppress(RuntimeError, IndexError):
            exec(compile(source, "<lines>", "exec"), self.scope)

    def same(self, mine: Any, truth: Any) -> bool:
        """Tell whether two values differ by rounding at most; where the truth is NaN, all is."""
        truth = torch.as_tensor(truth, dtype=torch.float64)
        mine = torch.as_tensor(mine, dtype=torch.float64)
        try:
            mine, truth = torch.broadcast_tensors(mine, truth)
        except RuntimeError:
            return False
        known = truth.isfinite()
        if not bool(known.any()):
            return True
        mine, truth = mine[known], truth[known]
        scale = max(float(truth.abs().max()), 1e-3 * self.reach)
        return float((mine - truth).abs().max()) <= self.eps * scale


@contextmanager
def in_double() -> Iterator[None]:
    """Make real numbers in double precision where nothing else is said."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def own(reading: Reading) -> Place:
    """Return the program's own values, in double precision if it runs in it."""
    trace = reading.backward.trace
    try:
        return Run(reading, attempt=None).place()
    except Unfit:
        scope = {**base(reading), **trace.values, reading.start: trace.upstream}
        with torch.no_grad():
            exec(compile(reading.backward.source, "<backward>", "exec"), scope)
        eps = max(torch.finfo(g.dtype).eps for g in trace.grads.values())
        return Place(scope, reach(reading, scope), 4000 * eps)


def elsewhere(reading: Reading) -> Place | None:
    """Return the program on drawn numbers at other sizes; None if it has none or cannot run."""
    trace = reading.backward.trace
    if sum(v.numel() for v in trace.values.values()) > LARGEST or unknown_ops(reading.backward):
        return None
    for attempt in range(3):
        try:
            run = Run(reading, attempt)
            found = run.place()
        except Unfit:
            continue
        return found if run.moved else None
    return None


def unknown_ops(backward: Backward) -> list[str]:
    """Return the ops without a row that must not be run at sizes that nobody gave them.

    What they ask of their arguments is not known, and some write outside their memory.
    """
    lines = [*backward.trace.lines, *(each.line for each in backward.lines)]
    nodes = (node for line in lines for node in walk(line.expr))
    found = (n.op.name for n in nodes if isinstance(n, Call) and n.op.foreign)
    names = dict.fromkeys(name.removeprefix("autograd of ") for name in found)
    return [name for name in names if not HARMLESS.intersection(name.split("."))]


def reach(reading: Reading, scope: dict[str, Any]) -> float:
    """Return the largest magnitude among the gradients."""
    values = (scope[each.name] for each in reading.backward.lines if each.primal)
    found = (v[v.isfinite()].abs() for v in values)
    return max((float(v.max()) for v in found if v.numel()), default=0.0)


def base(reading: Reading) -> dict[str, Any]:
    """Return what every line may read beside tensors."""
    return {"torch": torch, "F": F, **reading.backward.trace.program.scalars}


class Run:
    """One run of the forward and the backward lines.

    Attributes:
        attempt: None for the program's own numbers; 0 for new sizes all around, 1 with those kept
            that a number in the text may mean, 2 for the other ones doubled.
        moved: some axis has another size than in the program.
    """

    def __init__(self, reading: Reading, attempt: int | None) -> None:
        self.reading, self.attempt = reading, attempt
        self.trace = reading.backward.trace
        self.sizes = reading.sizes
        self.inputs = {n.name: n for n in self.trace.program.inputs}
        self.fixed: dict[str, int] = {}
        self.free = iter(SMALL)
        self.written = set(literals(reading)) if attempt else set[int]()
        self.generator = torch.Generator().manual_seed(20)
        self.moved = False
        self.scope: dict[str, Any] = {"torch": torch, "F": F}

    def place(self) -> Place:
        """Run the lines.

        Raises:
            Unfit: they do not run, or an axis gets two sizes.
        """
        with in_double(), torch.no_grad(), threads_for(self.trace.values.values()):
            for line in self.trace.lines:
                self.run(line.text)
                for target in line.targets:
                    self.learn(target)
            output = self.scope[self.trace.output]
            self.scope[self.reading.start] = self.upstream(output)
            for each in self.reading.backward.lines:
                self.run(each.line.text)
        return Place(self.scope, reach(self.reading, self.scope), TOLERANCE)

    def run(self, text: str) -> None:
        """Run a line, the names that it reads bound first."""
        for name in names_in_text(text):
            self.bind(name)
        try:
            exec(compile(text, "<line>", "exec"), self.scope)
        except Exception as error:  # whatever a user's line may raise at sizes it was not made for
            raise Unfit from error

    def bind(self, name: str) -> None:
        """Give a name that a line reads its value, if it has none."""
        if name in self.scope:
            return
        if name in self.inputs:
            self.scope[name] = self.drawn(name)
        elif name in self.trace.program.scalars:
            value = self.trace.program.scalars[name]
            tied = self.sizes.tied.get(name)
            self.scope[name] = self.size(self.sizes.find(tied)) if tied else value

    def size(self, axis: str) -> int:
        """Return the size of a class of axes."""
        if axis not in self.fixed:
            now = self.sizes.numbers[axis]
            if self.attempt is None or now < 2 or now in self.written:
                self.fixed[axis] = now
            elif self.attempt == 2:
                self.fixed[axis] = 2 * now
            else:
                fresh = (k for k in self.free if k != now)
                self.fixed[axis] = next(fresh, now)
            self.moved |= self.fixed[axis] != now
        return self.fixed[axis]

    def learn(self, name: str) -> None:
        """Take a class's size from a line's result, or see that it has it.

        Raises:
            Unfit: it has another.
        """
        value = self.scope[name]
        if not isinstance(value, torch.Tensor) or value.ndim != self.trace.values[name].ndim:
            raise Unfit
        for axis, size in zip(self.reading.axes(name), value.shape, strict=True):
            if self.fixed.setdefault(axis, size) != size if axis else size != 1:
                raise Unfit
            self.moved |= bool(axis) and size != self.sizes.numbers[axis]

    def drawn(self, name: str) -> torch.Tensor:
        """Return an input: the one that was there, or one drawn from its range."""
        old = self.trace.values[name]
        if self.attempt is None:
            return old.double() if old.is_floating_point() else old
        shape = [self.size(axis) if axis else 1 for axis in self.reading.axes(name)]
        if not old.numel() or 0 in shape:
            return old.new_zeros(shape)
        if old.is_floating_point():
            return self.real(old.double(), shape)
        picked = self.sample(old, shape)
        if old.dtype is torch.bool:
            return picked
        top = int(old.max()) if self.attempt == 2 else min(int(old.max()), LEAST - 1)
        fresh = torch.randint(max(top, 0) + 1, shape, generator=self.generator)
        fresh.view(-1)[0] = max(top, 0)
        return torch.where(picked < 0, picked, fresh.to(old.dtype))

    def sample(self, old: torch.Tensor, shape: list[int]) -> torch.Tensor:
        """Return entries of a tensor, drawn."""
        return old.flatten()[torch.randint(old.numel(), shape, generator=self.generator)]

    def real(self, old: torch.Tensor, shape: list[int]) -> torch.Tensor:
        """Return numbers between those that were there; around the one, if all are the same."""
        noise = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        low, high = float(old.min()), float(old.max())
        if low == high:
            return low + 0.1 * noise * (abs(low) or 1.0)
        mixed = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return mixed * self.sample(old, shape) + (1 - mixed) * self.sample(old, shape)

    def upstream(self, output: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the output: the one that was given, or drawn for other sizes."""
        given = self.trace.upstream.to(output.dtype)
        if self.attempt is None or not output.ndim:
            return given
        return torch.randn(output.shape, generator=self.generator, dtype=torch.float64).to(given)


def literals(reading: Reading) -> Iterator[int]:
    """Yield the whole numbers in the lines, and the scalars that no axis is tied to."""
    backward = reading.backward
    texts = [line.text for line in backward.trace.lines]
    for text in [*texts, *(each.line.text for each in backward.lines)]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and type(node.value) is int:
                yield node.value
    for name, value in backward.trace.program.scalars.items():
        if type(value) is int and name not in reading.sizes.tied:
            yield value
