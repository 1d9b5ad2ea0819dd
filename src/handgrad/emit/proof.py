"""A written forward and backward pass beside the user's function, at a second set of sizes."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import Any, cast

import torch

from handgrad.derive import Backward
from handgrad.emit import guards
from handgrad.emit.branches import of_branches
from handgrad.emit.guards import Guard
from handgrad.emit.parameters import Parameter, Signature, Sources, called
from handgrad.emit.resize import Setting, other_settings
from handgrad.emit.trial import Trial
from handgrad.emit.vary import Pair
from handgrad.spell import literal
from handgrad.threads import threads_for
from handgrad.trace import Trace, trace
from handgrad.trace.rerun import Rerun

ALONE = "a file's top level runs at its own sizes alone"


@dataclass(frozen=True)
class Proof:
    """What a written file is right for.

    Attributes:
        guards: what its forward pass refuses.
        fixed: what its lines take for granted, as `depth=2`.
        proved: whether it was compared with the user's function at other sizes.
    """

    guards: tuple[Guard, ...]
    fixed: tuple[str, ...] = ()
    proved: bool = False


def prove(backward: Backward, source: str) -> Proof:
    """Compare a file's text with the user's function, and return what it must refuse.

    Args:
        backward: what the file is written from.
        source: its text: `forward` and `backward`.
    """
    own = backward.trace
    shapes = {name.name: name.shape for name in own.program.inputs}
    if own.rerun is None:
        return Proof(guards.of_shapes(shapes, ALONE))
    with threads_for(own.values.values()):
        return Comparison(backward, own.rerun, source).proof()


class Comparison:
    """A file's text and the user's function, called with the same arguments."""

    def __init__(self, backward: Backward, rerun: Rerun, source: str) -> None:
        self.backward, self.trace, self.rerun = backward, backward.trace, rerun
        scope: dict[str, Any] = {}
        exec(compile(source, "<written>", "exec"), scope)
        self.written = scope
        inputs = {name.name for name in self.trace.program.inputs}
        self.words = {word: name for name, word in self.trace.origins.items() if name in inputs}
        self.given = {
            word: value
            for word, value in rerun.given.items()
            if (isinstance(value, torch.Tensor) and word in self.words) or is_plain(value)
        }
        self.numbers = cache(self.numbers_at)

    def proof(self) -> Proof:
        """Return what was found."""
        leaves = tuple(w for w in self.given if self.words.get(w) in self.trace.leaves)
        pair = Pair(self.forward, self.apply, self.given, leaves)
        settings = other_settings(pair.takes, self.given, self.trace)
        names = {w: self.words.get(w, w) for w in self.given}
        signature = self.signature(names)
        unknown = ""
        if signature.sources is not None:
            given = {names[w]: v for w, v in self.given.items()}
            signature, unknown = of_branches(signature, given, called(self.rerun.forward))
        trial = Trial(pair, signature, settings, self.trace, self.retrace, unknown)
        result = trial.result()
        known = [n.name for n in self.trace.program.inputs] + list(self.trace.program.scalars)
        fixed = [
            f"{p.name}={literal(v)}"
            for p, v in zip(result.parameters, self.given.values(), strict=True)
            if not p.tensor and p.must
        ]
        kept = tuple(guard for guard in result.guards if reads(guard) <= set(known))
        return Proof((*kept, *self.of_the_rest()), tuple(fixed), result.proved)

    def signature(self, names: Mapping[str, str]) -> Signature:
        """Return how the file's forward pass is called, the arguments alone."""
        found = tuple(
            Parameter(names[w], tensor=isinstance(v, torch.Tensor)) for w, v in self.given.items()
        )
        given = {names[w]: v for w, v in self.given.items()}
        sources = Sources(self.trace, called(self.rerun.forward), given)
        return Signature("forward", found, sources=sources)

    def of_the_rest(self) -> tuple[Guard, ...]:
        """Return the guard of the tensors that are no arguments: parameters, what is drawn."""
        own = set(self.words.values()) & {self.words[w] for w in self.given if w in self.words}
        shapes = {n.name: n.shape for n in self.trace.program.inputs if n.name not in own}
        return guards.of_shapes(shapes, "they are no arguments of the forward pass")

    def forward(self, **given: Any) -> Any:
        """Call the user's function."""
        output = self.rerun.forward(**{**self.rerun.given, **given})
        if isinstance(output, torch.Tensor):
            return output
        raise TypeError("no tensor")

    def apply(self, *own: Any) -> torch.Tensor:
        """Call the file's forward pass, with its backward pass behind it."""
        given = dict(zip(self.given, own, strict=True))
        tensors = {self.words[w]: v for w, v in given.items() if w in self.words}
        program = self.trace.program
        values = [tensors.get(n.name, self.trace.values[n.name]) for n in program.inputs]
        numbers = {**program.scalars, **self.numbers(key_of(given), Held(given))}
        return cast(Any, Written).apply(
            self.written, self.trace, [numbers[n] for n in program.scalars], *values
        )

    def numbers_at(self, key: Any, held: Held) -> Mapping[str, Any]:
        """Return the numbers that the file is given beside some arguments."""
        plain = {n: v for n, v in held.given.items() if n in self.trace.program.scalars}
        if set(plain) >= set(self.trace.program.scalars):
            return plain
        again = self.retraced(held.given)
        return plain if again is None else {**again.program.scalars, **plain}

    def retrace(self, setting: Setting) -> Trace | None:
        """Trace the user's function for other arguments; None if it cannot be."""
        return self.retraced(setting.given)

    def retraced(self, given: Mapping[str, Any]) -> Trace | None:
        """Trace the user's function for other arguments; None if it cannot be."""
        whole = {**self.rerun.given, **given}
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            try:
                with torch.no_grad():
                    upstream = torch.ones_like(self.rerun.forward(**whole))
                return trace(self.rerun.forward, wrt=self.rerun.wrt, upstream=upstream, **whole)
            except Exception:  # the user's own code, at a size that it may not take
                return None


@dataclass(frozen=True, eq=False)
class Held:
    """Arguments that go with a key of their own."""

    given: Mapping[str, Any]

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held)


def key_of(given: Mapping[str, Any]) -> Any:
    """Return what tells arguments apart by their sizes and numbers."""
    return tuple(
        (n, tuple(v.shape), v.dtype) if isinstance(v, torch.Tensor) else (n, repr(v))
        for n, v in given.items()
    )


def is_plain(value: Any) -> bool:
    """Tell whether an argument is a number or has a text of its own."""
    try:
        literal(value)
    except ValueError:
        return False
    return not isinstance(value, torch.Tensor)


def reads(guard: Guard) -> set[str]:
    """Return the names that a guard's test reads."""
    names = [n for n in ast.walk(ast.parse(guard.test)) if isinstance(n, ast.Name)]
    own = {n.id for n in names if isinstance(n.ctx, ast.Store)}
    return {n.id for n in names} - own - {"torch", "len", "min", "max", "int", "float", "abs"}


class Written(torch.autograd.Function):
    """A file's forward and backward pass as one Function."""

    @staticmethod
    def forward(ctx: Any, scope: Any, trace: Trace, numbers: Any, *values: Any) -> torch.Tensor:
        """Run the file's forward pass."""
        output, saved = scope["forward"](*values, *numbers)
        ctx.scope, ctx.saved, ctx.trace = scope, saved, trace
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *up: Any) -> Any:
        """Run the file's backward pass."""
        found = ctx.scope["backward"](up[0], ctx.saved)
        names = [name.name for name in ctx.trace.program.inputs]
        return (None, None, None, *(found.get(f"d{name}") for name in names))
