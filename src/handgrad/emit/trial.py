"""An emitted Function beside the forward pass at other sizes and dtypes: what it must refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from handgrad.emit import guards
from handgrad.emit.guards import WRITTEN_FOR, Guard
from handgrad.emit.parameters import Signature
from handgrad.emit.resize import LARGEST, NUMBER, Axis, Setting, Settings, resized
from handgrad.emit.vary import Pair, bound
from handgrad.trace import Trace

STUCK = "no other size was found that the forward pass takes"
FIXED = "a module's own tensors have the sizes that it was made with"


@dataclass(frozen=True)
class Trial:
    """A Function and a forward pass, to be compared.

    Attributes:
        pair: them, with the traced arguments.
        signature: how the Function is called.
        settings: arguments of other sizes.
        trace: the forward pass at the traced sizes.
        retrace: traces it for other arguments; None where that fails.
        unknown: the line of a branch on a size that cannot be written; empty if there is none.
    """

    pair: Pair
    signature: Signature
    settings: Settings
    trace: Trace
    retrace: Callable[[Setting], Trace | None]
    unknown: str = ""

    def result(self) -> Signature:
        """Return the signature with what the Function must refuse, and what was proved."""
        given = self.pair.values
        parameters = self.signature.parameters
        must = [
            replace(p, must=bound(p, v, self.pair))
            for p, v in zip(parameters, given.values(), strict=False)
        ]
        own = parameters[len(given) :]
        shapes = {p.name: tuple(self.trace.values[p.name].shape) for p in own}
        sized, proved = self.of_sizes()
        if self.unknown:
            why = f"the forward pass branches on a size (line {self.unknown})"
            sized, proved = guards.of_axes(self.now(self.every), why), False
        found = (
            *guards.of_ranks({self.names[w]: v.ndim for w, v in given.items() if is_tensor(v)}),
            *sized,
            *self.signature.guards,
            *self.of_dtypes(),
            *guards.of_shapes(shapes, FIXED),
        )
        return replace(self.signature, parameters=(*must, *own), guards=found, proved=proved)

    @property
    def names(self) -> dict[str, str]:
        """Return the parameters' names in the Function, by those in the forward pass."""
        return dict(zip(self.pair.values, self.signature.names, strict=False))

    def of_sizes(self) -> tuple[tuple[Guard, ...], bool]:
        """Return the guards of sizes, and whether the Function was proved at other sizes."""
        free: list[Setting] = []
        found: list[Guard] = []
        for setting in self.settings.alone:
            now = self.now(setting.sizes)
            wrong = {size for size, given in self.extremes(setting) if not self.pair.agree(given)}
            if self.pair.agree(setting.given) and wrong <= {1}:
                free.append(setting)
                found += guards.of_one(now) if wrong else ()
            elif (step := self.step(setting)) is not None:
                free.append(step[1])
                found += guards.of_multiples(now, step[0])
            else:
                found += guards.of_axes(now, guards.reason(self.trace, self.retrace(setting)))
        stuck = dict.fromkeys(self.settings.stuck, 0)
        found += guards.of_axes(self.now(stuck), STUCK)
        whole = guards.joined(setting.sizes for setting in free)
        if len(free) > 1 and not self.pair.agree(resized(self.pair.values, whole)):
            return guards.of_axes(self.now(self.every), "not proved at other sizes together"), False
        return tuple(found), bool(free)

    @property
    def every(self) -> dict[Axis, int]:
        """Return all axes of the arguments."""
        return {
            (word, axis): 0
            for word, value in self.pair.values.items()
            if is_tensor(value)
            for axis in range(value.ndim)
        }

    def now(self, axes: Mapping[Axis, int]) -> dict[Axis, int]:
        """Return axes, by the Function's names, with their traced sizes."""
        given = self.pair.values
        return {(self.names[word], k): given[word].shape[k] for word, k in axes if k != NUMBER}

    def extremes(self, setting: Setting) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield arguments with few and with many entries on the axes of a setting, where taken."""
        values = self.pair.values
        now = {axis: at(values, axis) for axis in setting.sizes}
        most = max(now.values())
        total = sum(v.numel() for v in self.trace.values.values())
        for size in dict.fromkeys((1, 2, most + 1, 4 * most + 1)):
            few = len(set(now.values())) == 1 and size not in now.values()
            if few and total * max(1, size // max(1, most)) < LARGEST // 10:
                given = resized(values, dict.fromkeys(now, size))
                if self.runs(given):
                    yield size, given

    def step(self, setting: Setting) -> tuple[int, Setting] | None:
        """Return the least number whose multiples are right as sizes, and one of them.

        `x[:, : d // 2] * x[:, d // 2 :]` runs for `d == 3` too, but there it stretches one half.
        """
        sizes = {at(self.pair.values, axis) for axis in setting.sizes}
        now = sizes.pop()
        for step in range(2, now + 1) if not sizes else ():
            if now % step == 0:
                tries = [dict.fromkeys(setting.sizes, step * k) for k in (1, 2, 3, 5)]
                made = [Setting(resized(self.pair.values, each), each) for each in tries]
                taken = [each for each in made if self.runs(each.given)]
                if len(taken) > 2 and all(self.pair.agree(each.given) for each in taken):
                    return step, taken[-1]
        return None

    def runs(self, given: Mapping[str, Any]) -> bool:
        """Tell whether the forward pass takes some arguments."""
        try:
            self.pair.takes(given)
        except Exception:  # whatever the user's code raises
            return False
        return True

    def of_dtypes(self) -> Iterator[Guard]:
        """Yield the guard of the dtype, if the lines are not right at another one."""
        floats = {
            w: v for w, v in self.pair.values.items() if is_tensor(v) and v.is_floating_point()
        }
        dtypes = {v.dtype for v in floats.values()}
        if len(dtypes) != 1:
            return
        (now,) = dtypes
        for dtype in {torch.float64, torch.float32, torch.bfloat16, torch.float16} - dtypes:
            given = {**self.pair.values, **{w: v.to(dtype) for w, v in floats.items()}}
            wide = dtype in (torch.float64, torch.float32)  # gradients may cancel to rounding
            if self.runs(given) and not self.pair.equal(given, 1e-2, grads=wide):
                test = " or ".join(f"{self.names[w]}.dtype != {now}" for w in floats)
                told = f"{WRITTEN_FOR} {now}: its lines are for that dtype"
                yield Guard(test, told)
                return


def at(given: Mapping[str, Any], axis: Axis) -> int:
    """Return the size of an axis, or a number."""
    value = given[axis[0]]
    return int(value) if axis[1] == NUMBER else int(value.shape[axis[1]])


def is_tensor(value: Any) -> bool:
    """Tell whether an argument is a tensor."""
    return isinstance(value, torch.Tensor)
