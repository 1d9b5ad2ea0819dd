"""Which numbers of a call may be others: tried, never assumed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from handgrad.derive.verify import TOLERANCE
from handgrad.emit.parameters import Parameter
from handgrad.errors import BadInput
from handgrad.spell import literal

Outcome = tuple[torch.Tensor, ...] | None
Gradients = tuple[torch.Tensor | None, ...]


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

    def agree(self, name: str, value: Any) -> bool:
        """Tell whether both give the same, or both refuse, with another value of an argument."""
        given = {**self.values, name: value}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            truth = self.outcome(lambda own: self.forward(**own), given)
            mine = self.outcome(lambda own: self.apply(*own.values()), given)
        if truth is None or mine is None:
            return truth is None and mine is None
        return len(truth) == len(mine) and all(map(close, mine, truth))

    def outcome(self, call: Callable[[dict[str, Any]], Any], given: Mapping[str, Any]) -> Outcome:
        """Return the output and its gradients; None if the call raises."""
        own = {
            n: v.detach().clone().requires_grad_(n in self.leaves)
            if isinstance(v, torch.Tensor)
            else v
            for n, v in given.items()
        }
        generator = torch.Generator().manual_seed(1)
        try:
            with torch.enable_grad():
                output = call(own)
                up = torch.randn(output.shape, generator=generator, dtype=torch.float64)
                total = (output * up.to(output.device, output.dtype)).sum()
                leaves = [own[n] for n in self.leaves]
                found = torch.autograd.grad(total, leaves, allow_unused=True)
        except Exception:  # the user's own code, with a number that it may not take
            return None
        grads = cast(Gradients, found)
        kept = (
            g if g is not None else torch.zeros_like(v) for g, v in zip(grads, leaves, strict=True)
        )
        return (output.detach(), *kept)


def close(mine: torch.Tensor, truth: torch.Tensor) -> bool:
    """Tell whether two tensors are the same up to rounding, NaN where the other is NaN."""
    if mine.shape != truth.shape:
        return False
    if not truth.numel():
        return True
    eps = torch.finfo(truth.dtype).eps
    size = float(truth.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return torch.allclose(mine, truth, rtol=0, atol=TOLERANCE * eps * size, equal_nan=True)


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
    others = (value + 1, value - 1) if isinstance(value, int) else (1.5 * value + 1e-3,)
    return "" if all(pair.agree(parameter.name, other) for other in others) else text
