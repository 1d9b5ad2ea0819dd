"""Many steps: batches drawn as PyTorch draws them, losses recorded, and nothing lost at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.errors import BadInput
from handgrad.interrupt import interruptible
from handgrad.native.forms import DTYPES, Form
from handgrad.native.labels import refuse_outside

if TYPE_CHECKING:
    from handgrad.trace import Trace

SECONDS = 0.02  # how long a block takes: Ctrl-C waits for its end
MOST = 4096


class Steps(Protocol):
    """What is run: a compiled step."""

    inputs: Mapping[str, Form]
    leaves: tuple[str, ...]
    tensors: dict[str, Tensor]
    limits: dict[str, int]
    done: int
    states: tuple[str, ...]
    engine: Any

    @property
    def trace(self) -> Trace:
        """Return the forward pass."""
        ...

    def numbers(self, step: int, lr: float | None) -> Mapping[str, float]:
        """Return the optimiser's numbers of a step."""
        ...

    def named(self, batch: Iterable[Tensor], named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of a batch by name."""
        ...


@dataclass(frozen=True)
class Run:
    """What a run did.

    Attributes:
        losses: of each step's batch, before its update [steps].
        steps: how many were done.
        seconds: how long they took.
        stopped: why it ended before the last step; empty if it did not.
        bad_line: the first line whose value is no finite number, where that is why it ended.
    """

    losses: Tensor
    steps: int
    seconds: float
    stopped: str = ""
    bad_line: str = ""


@dataclass
class Block:
    """Steps that are done together, and what was there before them."""

    rows: Tensor
    numbers: list[Mapping[str, float]]
    before: dict[str, Tensor]
    drawn: Tensor | None


@dataclass
class Training:
    """A run.

    Attributes:
        data: the whole data in the order of the batch's names; rows are drawn from it.
        generator: draws the rows, as `torch.randint(0, len(X), (batch_size,), generator=g)` does.
        batch_size: how many rows a step takes, that of the compiled batch.
        lr: the learning rate, or a function of the step counted from 0.
        every: how many steps from one call of `on_step` to the next.
        on_step: called with the steps done and the last loss.
    """

    compiled: Steps
    steps: int
    data: Sequence[Tensor] | Mapping[str, Tensor] = ()
    generator: torch.Generator | None = None
    batch_size: int | None = None
    lr: float | Callable[[int], float] | None = None
    every: int = 0
    on_step: Callable[[int, float], Any] | None = None
    losses: list[Tensor] = field(default_factory=list[Tensor])

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BadInput(f"cannot run {self.steps} steps", hint="ask for at least 1 step")
        named = self.data if isinstance(self.data, Mapping) else {}
        listed = () if isinstance(self.data, Mapping) else self.data
        self.rows_of = self.compiled.named(listed, named)
        self.size = self.checked()

    def checked(self) -> int:
        """Check the data before the first step; return how many rows it has.

        Raises:
            BadInput: a tensor does not fit, or an index is out of range.
        """
        sizes = {name: len(tensor) for name, tensor in self.rows_of.items()}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise BadInput(f"the data has different numbers of rows: {told}")
        for name, tensor in self.rows_of.items():
            check_data(name, tensor, self.compiled.inputs[name], self.batch_size)
            if name in self.compiled.limits:
                refuse_outside(name, tensor, self.compiled.limits[name], "the data")
        return next(iter(sizes.values()), 0)

    @property
    def batch(self) -> int:
        """Return how many rows a step takes."""
        name = next(iter(self.rows_of), None)
        return self.compiled.inputs[name].shape[0] if name else 0

    def run(self) -> Run:
        """Do the steps."""
        begun, done, stopped, bad = perf_counter(), 0, "", ""
        last: Block | None = None
        with interruptible() as pressed:
            while done < self.steps and not stopped:
                left = self.every - done % self.every if self.every else self.steps
                pace = self.compiled.engine.pace
                block = self.block(done, min(pace, self.steps - done, left))
                start = perf_counter()
                finite = self.do(block)
                rate = len(block.numbers) / max(perf_counter() - start, 1e-6)
                self.compiled.engine.pace = paced(pace, rate)
                done += finite
                self.compiled.done += finite
                if finite < len(block.numbers):
                    bad = self.diagnosed(block, finite)
                    stopped = f"the loss is no finite number at step {done + 1}"
                    self.put_back(block, finite, last)
                last = block
                self.tell(done)
                if pressed() and done < self.steps:
                    stopped = stopped or "interrupted"
        losses = torch.cat(self.losses)[:done] if self.losses else torch.zeros(0)
        return Run(losses, done, perf_counter() - begun, stopped, bad)

    def tell(self, done: int) -> None:
        """Call the caller's function, if it is time."""
        if self.on_step and self.every and done and done % self.every == 0:
            self.on_step(done, float(self.losses[-1][-1]))

    def block(self, done: int, count: int) -> Block:
        """Return the next steps, with their rows and numbers."""
        drawn = None
        rows = torch.zeros(count, 0, dtype=torch.int64)
        if self.size:
            drawn = (self.generator or torch.default_generator).get_state()
            rows = self.draw(count)
        numbers = [
            self.compiled.numbers(self.compiled.done + k + 1, self.rate(done + k))
            for k in range(count)
        ]
        return Block(rows, numbers, self.kept(), drawn)

    def draw(self, count: int) -> Tensor:
        """Draw the rows of some steps: the same numbers whether step by step or all at once."""
        flat = torch.randint(0, self.size, (count * self.batch,), generator=self.generator)
        return flat.view(count, self.batch)

    def rate(self, step: int) -> float | None:
        """Return the learning rate of a step, None for the optimiser's."""
        return self.lr(step) if callable(self.lr) else self.lr

    def kept(self) -> dict[str, Tensor]:
        """Return copies of all that a step changes."""
        names = [
            *self.compiled.leaves,
            *self.compiled.states,
            *(n for n in self.compiled.tensors if "." in n),
        ]
        return {name: self.compiled.tensors[name].detach().clone() for name in names}

    def do(self, block: Block) -> int:
        """Do a block's steps; return how many had a finite loss."""
        losses = torch.zeros(len(block.numbers), dtype=torch.float64)
        done = self.compiled.engine.run(self.rows_of, block.rows, block.numbers, losses)
        self.losses.append(losses[:done])
        return done

    def diagnosed(self, block: Block, place: int) -> str:
        """Return the first line whose value is no finite number in a step."""
        batch = {name: whole[block.rows[place]] for name, whole in self.rows_of.items()}
        return first_bad(self.compiled.trace, {**self.compiled.tensors, **batch})

    def put_back(self, block: Block, finite: int, last: Block | None) -> None:
        """Put back what the last finite loss was computed with, and the generator after it."""
        if finite == 0 and last is not None:
            block, finite = last, len(last.numbers)
        with torch.no_grad():
            for name, value in block.before.items():
                self.compiled.tensors[name].copy_(value)
        again = max(finite - 1, 0)
        if again:
            losses = torch.zeros(again, dtype=torch.float64)
            engine = self.compiled.engine
            engine.run(self.rows_of, block.rows[:again], block.numbers[:again], losses)
        if block.drawn is not None:
            (self.generator or torch.default_generator).set_state(block.drawn)
            self.draw(finite)


def check_data(name: str, tensor: Tensor, batch: Form, size: int | None) -> None:
    """Refuse data whose rows are not what a step takes.

    Raises:
        BadInput: the shape of a row, the dtype or the layout differs, or the batch's size does.
    """
    dtype = DTYPES[batch.ctype]
    if tensor.dtype != dtype or tensor.shape[1:] != batch.shape[1:]:
        short = str(dtype).removeprefix("torch.")
        raise BadInput(
            f"{name} has rows {list(tensor.shape[1:])} of "
            f"{str(tensor.dtype).removeprefix('torch.')}, and the step was compiled for "
            f"{list(batch.shape[1:])} of {short}"
        )
    if not tensor.is_contiguous():
        raise BadInput(
            f"{name} is not contiguous (strides {list(tensor.stride())})",
            hint=f"pass {name}.contiguous()",
        )
    if size is not None and size != batch.shape[0]:
        raise BadInput(
            f"batch_size is {size}, and the step was compiled for {batch.shape[0]}",
            hint="compile it with a batch of that size",
        )


def paced(pace: int, rate: float) -> int:
    """Return how many steps the next block has, at a rate of steps a second."""
    return max(1, min(MOST, 2 * pace, int(rate * SECONDS)))


def first_bad(trace: Trace, tensors: Mapping[str, Tensor]) -> str:
    """Return the first forward line whose value is no finite number, with its place."""
    scope: dict[str, Any] = {"torch": torch, "F": F, **trace.program.scalars}
    scope |= {name: tensor.detach() for name, tensor in tensors.items() if "." not in name}
    for name in trace.program.inputs:
        value = scope[name.name]
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return f"{name.name} has entries that are no finite numbers"
    with torch.no_grad():
        for line in trace.lines:
            exec(compile(line.text, "<forward>", "exec"), scope)
            values = [scope[target] for target in line.targets]
            if any(v.is_floating_point() and not bool(v.isfinite().all()) for v in values):
                return f"{line.span}: {line.text}" if line.span else line.text
    return ""
