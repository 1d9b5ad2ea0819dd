"""Whether an emitted Function gives what the forward pass gives: at other sizes, other numbers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any, cast

import torch

from handgrad.derive.verify import TOLERANCE
from handgrad.emit.guards import WRITTEN_FOR
from handgrad.emit.parameters import Parameter
from handgrad.errors import BadInput
from handgrad.spell import literal

Outcome = tuple[torch.Tensor, ...] | None
Gradients = tuple[torch.Tensor | None, ...]
COARSE = 0.05  # of the largest entry: how far apart two ways may be in half precision


class Refused(Exception):
    """The Function says that it is not written for these arguments."""


@dataclass(frozen=True)
class Pair:
    """A user's forward pass and the Function written for it, called with the same arguments.

    Attributes:
        forward: it, its arguments by name.
        apply: the Function's, its arguments in order.
        values: the arguments by name.
        leaves: the names of those that have gradients.
    """

    forward: Callable[..., Any]
    apply: Callable[..., Any]
    values: Mapping[str, Any]
    leaves: tuple[str, ...]

    def takes(self, given: Mapping[str, Any]) -> Any:
        """Call the forward pass alone, on copies, without a word from it."""
        state = torch.get_rng_state()
        own = {
            n: v.detach().clone() if isinstance(v, torch.Tensor) else v for n, v in given.items()
        }
        call = copy.deepcopy(self.forward) if has_buffers(self.forward) else self.forward
        try:
            with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():
                warnings.simplefilter("ignore")
                return call(**own)
        finally:
            torch.set_rng_state(state)

    def agree(self, others: Mapping[str, Any]) -> bool:
        """Tell whether both give the same, or both refuse, with other values of some arguments."""
        given = {**self.values, **others}
        return self.equal(doubled(given), 1.0) or self.equal(given, 1e-2)

    def equal(self, given: Mapping[str, Any], floor: float, grads: bool = True) -> bool:
        """Tell whether both give the same.

        Args:
            given: the arguments.
            floor: the part of the largest entry of all that rounding is at least of.
            grads: whether the gradients are compared, or the output alone.
        """
        call = copy.deepcopy(self.forward) if has_buffers(self.forward) else self.forward
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            truth = self.outcome(lambda own: call(**own), given)
            try:
                mine = self.outcome(lambda own: self.apply(*own.values()), given)
            except Refused:
                return True
        if truth is None or mine is None:
            return truth is None and mine is None and floor < 1
        if not grads:
            truth, mine = truth[:1], mine[:1]
        least = floor * max(map(largest, truth))
        return len(truth) == len(mine) and all(map(partial(close, least=least), mine, truth))

    def outcome(self, call: Callable[[dict[str, Any]], Any], given: Mapping[str, Any]) -> Outcome:
        """Return the output and its gradients; None if the call raises."""
        own = {
            n: v.detach().clone().requires_grad_(n in self.leaves)
            if isinstance(v, torch.Tensor)
            else v
            for n, v in given.items()
        }
        generator = torch.Generator().manual_seed(1)
        state = torch.get_rng_state()
        try:
            with torch.enable_grad():
                output = call(own)
                up = torch.randn(output.shape, generator=generator, dtype=torch.float64)
                total = (output * up.to(output.device, output.dtype)).sum()
                leaves = [own[n] for n in self.leaves]
                found = torch.autograd.grad(total, leaves, allow_unused=True)
        except Exception as error:  # the user's own code, with arguments that it may not take
            if str(error).startswith(WRITTEN_FOR):
                raise Refused from error
            return None
        finally:
            torch.set_rng_state(state)
        grads = cast(Gradients, found)
        kept = (
            g if g is not None else torch.zeros_like(v) for g, v in zip(grads, leaves, strict=True)
        )
        return (output.detach(), *kept)


def has_buffers(forward: Any) -> bool:
    """Tell whether a forward pass has state that a call may change."""
    return isinstance(forward, torch.nn.Module) and any(True for _ in forward.buffers())


def doubled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments in double precision."""
    return {
        n: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for n, v in given.items()
    }


def largest(value: torch.Tensor) -> float:
    """Return the largest magnitude among the finite entries."""
    return float(value.abs().nan_to_num(0.0, 0.0, 0.0).max()) if value.numel() else 0.0


def close(mine: torch.Tensor, truth: torch.Tensor, least: float) -> bool:
    """Tell whether two tensors are the same up to rounding, NaN where the other is NaN."""
    if mine.shape != truth.shape or mine.dtype != truth.dtype:
        return False
    if not truth.numel():
        return True
    if not truth.is_floating_point():
        return bool(torch.equal(mine, truth))
    far = min(TOLERANCE * torch.finfo(truth.dtype).eps, COARSE) * max(largest(truth), least)
    return torch.allclose(mine.double(), truth.double(), rtol=0, atol=far, equal_nan=True)


def bound(parameter: Parameter, value: Any, pair: Pair) -> str:
    """Return the text of the only value of an argument that a Function is right for.

    It is empty if other numbers were tried and gave autograd's gradients too.

    Raises:
        BadInput: the value cannot be compared with others.
    """
    if parameter.tensor:
        return ""
    try:
        text = literal(value)
    except ValueError:
        raise BadInput(
            f"{parameter.name} is a {type(value).__name__}, and a Function takes tensors and plain "
            "numbers",
            where="function",
            hint=f"write what {parameter.name} does into the forward pass itself",
        ) from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text
    others = (
        (value + 1, value - 1, 8 * value + 1)
        if type(value) is int
        else (1.5 * value + 1e-3, -value)
    )
    return "" if all(pair.agree({parameter.name: other}) for other in others) else text
