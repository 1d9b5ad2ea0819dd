"""Random draws, found by running: a generator that moved. Each becomes a constant of the trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from handgrad.trace.calls import Again, Called, Tape
from handgrad.trace.values import outputs_of

ALPHA = 1.7580993408473766  # where a SELU ends: Klambauer et al. 2017, section 2


class Generators:
    """The states of the generators that a call may draw from."""

    def __init__(self, kwargs: Mapping[str, Any]) -> None:
        own = kwargs.get("generator")
        self.every = [torch.default_generator, *([own] if own is not None else [])]
        self.before = [each.get_state() for each in self.every]
        self.after: list[torch.Tensor] | None = None

    def moved(self) -> bool:
        """Tell whether one was drawn from."""
        if self.after is None:
            self.after = [each.get_state() for each in self.every]
        # as bytes: an operation of torch's on them would count as one of the forward pass
        pairs = zip(self.before, self.after, strict=True)
        return any(one.numpy().tobytes() != other.numpy().tobytes() for one, other in pairs)

    def rewind(self) -> None:
        """Let the same numbers come again."""
        for each, state in zip(self.every, self.before, strict=True):
            each.set_state(state)

    def forward(self) -> None:
        """Go where the call left them."""
        for each, state in zip(self.every, self.after or self.before, strict=True):
            each.set_state(state)


def draw_apart(tape: Tape, called: Called, generators: Generators, result: Any) -> None:
    """Record a call that draws and passes gradients on as two: the draw, and what is made with it.

    Raises:
        BadInput: nobody knows how the call makes its result from its draw.
    """
    made = outputs_of(result)
    if len(made) == 1:
        for form in (FORMS.get(called.name), multiplied):
            if form is None:
                continue
            generators.rewind()
            start = len(tape.values)
            try:
                with Again(tape, apart=True):
                    again = form(called, *called.args, **called.kwargs)
            except (TypeError, RuntimeError, ValueError):
                again = None
            if again is not None and equal(again, made[0]):
                generators.forward()
                tape.adopt(again, made[0])
                return
            del tape.values[start:]
        generators.forward()
    layers = called.name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
    raise called.refused(
        f"the forward pass is random: {called.name} draws numbers that it does not show",
        hint="set its dropout to 0, or make one layer each with F.dropout between them"
        if layers
        else "draw on a line of your own: `mask = torch.rand_like(x) > p`, "
        "then `x = x * mask / (1 - p)`; or call model.eval()",
    )


def equal(mine: torch.Tensor, result: torch.Tensor) -> bool:
    """Tell whether two tensors are the same up to the last bits."""
    if mine.shape != result.shape or mine.dtype != result.dtype:
        return False
    eps = torch.finfo(result.dtype).eps
    mine, result = mine.detach(), result.detach()
    return torch.allclose(mine, result, rtol=16 * eps, atol=16 * eps, equal_nan=True)


def multiplied(called: Called, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Return what a call makes that multiplies by its draw: what it makes of ones is the draw."""
    kwargs = {**kwargs, "inplace": False} if "inplace" in kwargs else kwargs
    mask = called.func(torch.ones_like(x), *args, **kwargs)
    return x * mask


def detached(called: Called, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Return a draw from probabilities: its gradient is zero."""
    rest = [arg.detach() if isinstance(arg, torch.Tensor) else arg for arg in args]
    return called.func(x.detach(), *rest, **kwargs)


def alpha_dropout(
    called: Called, x: torch.Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> torch.Tensor:
    """Return alpha dropout in steps (Klambauer et al. 2017, section 3)."""
    featurewise = called.name == "feature_alpha_dropout"
    shape = [*x.shape[:2], *[1] * (x.ndim - 2)] if featurewise else list(x.shape)
    kept = torch.empty(shape, dtype=x.dtype).bernoulli_(1 - p)
    scale = 1 / math.sqrt((ALPHA**2 * p + 1) * (1 - p))
    shift = (kept - 1) * (ALPHA * scale) + ALPHA * scale * p
    return x * (kept * scale) + shift


def rrelu(
    called: Called, x: torch.Tensor, *args: Any, inplace: bool = False, **kwargs: Any
) -> torch.Tensor:
    """Return a leaky ReLU with drawn slopes (Xu et al. 2015, 2.4), which it draws at 0 too."""
    away = x.detach().masked_fill(x.detach() == 0, -1.0)
    return x * (called.func(away, *args, **kwargs) / away)


def attention(
    called: Called,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Return attention with dropout on its weights, in steps."""
    scores = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        seen = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
        scores = scores.masked_fill(~seen, float("-inf"))
    elif attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return F.dropout(scores.softmax(-1), dropout_p) @ value


FORMS: dict[str, Callable[..., torch.Tensor]] = {
    **dict.fromkeys(("bernoulli", "normal", "poisson", "binomial"), detached),
    "alpha_dropout": alpha_dropout,
    "feature_alpha_dropout": alpha_dropout,
    "rrelu": rrelu,
    "scaled_dot_product_attention": attention,
}
