"""Rows of activation functions."""

from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ops.declare import at_kink, call, exactly, op
from handgrad.ops.numbers import PI, ROOT_2

ONE = [call((3, 5)), call((2, 1, 3)), call(())]
EDGES = exactly(-4.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, 7.0)
KINK = [*ONE, call(EDGES)]
BEND = [*ONE, at_kink(EDGES)]
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def gelu_slope(x: Any) -> Any:
    """Return the derivative of the tanh approximation of gelu."""
    root = (2 / PI) ** 0.5
    t = torch.tanh(root * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * (root * (1 + 3 * 0.044715 * x**2))


def mish_slope(x: Any) -> Any:
    """Return the derivative of mish."""
    t = torch.tanh(F.softplus(x))
    return t + x * torch.sigmoid(x) * (1 - t**2)


ROWS = [
    op(
        "F.relu(x), torch.relu(x), x.relu()",
        index="y[I] = max(x[I], 0)",
        dx=lambda dy, x: dy * (x > 0),
        why={"x": "only entries above 0 pass, with slope 1"},
        examples=KINK,
    ),
    op(
        "F.leaky_relu(x, negative_slope=0.01)",
        index="y[I] = where(x[I] > 0, x[I], negative_slope * x[I])",
        dx=lambda dy, x, negative_slope: torch.where(x > 0, dy, negative_slope * dy),
        why={"x": "the slope is 1 above 0 and negative_slope elsewhere"},
        examples=[*KINK, call((3, 5), negative_slope=0.2), call((4,), 0)],
    ),
    op(
        "F.elu(x, alpha=1.0)",
        index="y[I] = where(x[I] > 0, x[I], alpha * expm1(x[I]))",
        dx=lambda dy, x, alpha: torch.where(x > 0, dy, alpha * dy * torch.exp(x)),
        why={"x": "the slope is 1 above 0 and alpha * exp(x) elsewhere"},
        examples=[*BEND, call((3, 5), alpha=0.7), at_kink(EDGES, alpha=0.7)],
    ),
    op(
        "F.celu(x, alpha=1.0), torch.celu(x, alpha=1.0)",
        index="y[I] = where(x[I] > 0, x[I], alpha * expm1(x[I] / alpha))",
        dx=lambda dy, x, alpha: torch.where(x > 0, dy, dy * torch.exp(x / alpha)),
        why={"x": "the slope is 1 above 0 and exp(x / alpha) elsewhere"},
        examples=[*BEND, call((3, 5), alpha=0.75), at_kink(EDGES, alpha=0.75)],
    ),
    op(
        "F.selu(x), torch.selu(x)",
        index=f"y[I] = {SELU_SCALE} * where(x[I] > 0, x[I], {SELU_ALPHA} * expm1(x[I]))",
        dx=lambda dy, x: torch.where(
            x > 0, SELU_SCALE * dy, SELU_SCALE * SELU_ALPHA * dy * torch.exp(x)
        ),
        why={"x": "the slope is the scale above 0 and scale * alpha * exp(x) elsewhere"},
        examples=BEND,
    ),
    op(
        "F.gelu(x, approximate='none')",
        index="y[I] = 0.5 * x[I] * (1 + erf(x[I] / 2 ** 0.5))",
        when=lambda approximate: approximate == "none",
        dx=lambda dy, x: (
            dy
            * (0.5 * (1 + torch.erf(x / ROOT_2)) + x * (torch.exp(-0.5 * x**2) / (2 * PI) ** 0.5))
        ),
        why={"x": "gelu is x times the normal distribution, whose derivative is its density"},
        examples=ONE,
    ),
    op(
        "F.gelu(x, approximate='none')",
        name="gelu_tanh",
        index="y[I] = 0.5 * x[I] * (1 + tanh((2 / pi) ** 0.5 * (x[I] + 0.044715 * x[I] ** 3)))",
        when=lambda approximate: approximate == "tanh",
        dx=lambda dy, x: dy * gelu_slope(x),
        why={"x": "the product rule over x / 2 and 1 + tanh, whose derivative is 1 - tanh**2"},
        examples=[call((3, 5), approximate="tanh"), call((), approximate="tanh")],
    ),
    op(
        "F.silu(x)",
        index="y[I] = x[I] * sigmoid(x[I])",
        dx=lambda dy, x: dy * torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))),
        why={"x": "the product rule over x and sigmoid(x), whose derivative is s * (1 - s)"},
        examples=ONE,
    ),
    op(
        "F.mish(x)",
        index="y[I] = x[I] * tanh(log1p(exp(x[I])))",
        dx=lambda dy, x: dy * mish_slope(x),
        why={"x": "the product rule over x and tanh(softplus(x))"},
        examples=ONE,
    ),
    op(
        "F.softplus(x, beta=1, threshold=20)",
        index="y[I] = where(beta * x[I] > threshold, x[I], log1p(exp(beta * x[I])) / beta)",
        dx=lambda dy, x, beta, threshold: torch.where(
            beta * x > threshold, dy, dy * torch.sigmoid(beta * x)
        ),
        why={"x": "the derivative of log(1 + exp(x)) is sigmoid(x); past the threshold it is 1"},
        examples=[
            *ONE,
            at_kink(exactly(-30.0, 0.0, 19.0, 20.0, 21.0)),
            call(exactly(-30.0, 0.0, 21.0)),
            call((3, 5), beta=2, threshold=1),
            call((4,), beta=0.5),
        ],
    ),
    op(
        "F.logsigmoid(x)",
        index="y[I] = -log1p(exp(-x[I]))",
        dx=lambda dy, x: dy * torch.sigmoid(-x),
        why={"x": "the derivative of log(sigmoid(x)) is 1 - sigmoid(x), which is sigmoid(-x)"},
        examples=[*ONE, call(exactly(-30.0, 0.0, 30.0))],
    ),
    op(
        "F.softsign(x)",
        index="y[I] = x[I] / (1 + abs(x[I]))",
        dx=lambda dy, x: dy / (1 + torch.abs(x)) ** 2,
        why={"x": "the quotient rule; what is left is one over the denominator squared"},
        examples=ONE,
    ),
    op(
        "F.hardtanh(x, min_val=-1.0, max_val=1.0)",
        index="y[I] = min(max(x[I], min_val), max_val)",
        dx=lambda dy, x, min_val, max_val: dy * ((x > min_val) & (x < max_val)),
        why={"x": "only entries strictly between the limits pass, with slope 1"},
        examples=[*KINK, call((3, 5), min_val=-0.5, max_val=0.2)],
    ),
    op(
        "F.relu6(x)",
        index="y[I] = min(max(x[I], 0), 6)",
        dx=lambda dy, x: dy * ((x > 0) & (x < 6)),
        why={"x": "only entries strictly between 0 and 6 pass, with slope 1"},
        examples=KINK,
    ),
    op(
        "F.hardswish(x)",
        index="y[I] = x[I] * min(max(x[I] + 3, 0), 6) / 6",
        dx=lambda dy, x: dy * torch.where(x < 3, (x / 3 + 0.5) * (x > -3), 1),
        why={"x": "the slope is 0 up to -3, x / 3 + 1 / 2 up to 3, and 1 from there on"},
        examples=KINK,
    ),
]
