"""Rows that work entry by entry: arithmetic, powers, exponentials, angles."""

from typing import Any

import torch

from handgrad.ir import Call
from handgrad.ops.declare import at_kink, call, exactly, mask, op, positive, single, unit
from handgrad.ops.numbers import PI
from handgrad.ops.term import Term
from handgrad.ops.words import floating, is_exactly, scalar

PAIRS = [call((3, 4), (3, 4)), call((3, 4), (4,)), call((3, 1), (1, 4)), call((), (2, 3))]
ONE = [call((3, 5)), call((2, 1, 3)), call(())]
POSITIVE = [call(positive(3, 5)), call(positive(2, 1, 3)), call(positive())]
INSIDE = [call(unit(3, 5)), call(unit(2, 1, 3)), call(unit())]
LN2, LN10 = 0.6931471805599453, 2.302585092994046


def plus(a: Any, b: Any) -> Any:
    """Drop a term that is zero and stretches nothing; add a turned sign by subtracting."""
    for x, y in ((a, b), (b, a)):
        if zeros(x) and hasattr(y, "shape") and x.dtype == y.dtype:
            return y if torch.broadcast_shapes(x.shape, y.shape) == y.shape else None
    made = getattr(b, "expr", None)
    if isinstance(made, Call) and made.op.name == "neg" and hasattr(a, "expr"):
        return a - Term(made.args["x"])  # pyright: ignore[reportArgumentType]
    return None


def zeros(x: Any) -> bool:
    """Tell whether a term is zeros, as the gradient of a jump is."""
    made = getattr(x, "expr", None)
    return isinstance(made, Call) and made.op.name == "zeros_like"


def times(a: Any, b: Any) -> Any:
    """Drop a factor of one; write a factor of minus one as a sign."""
    for x, y in ((a, b), (b, a)):
        if is_exactly(x, 1):
            return y
        if is_exactly(x, -1):
            return -y
    return None


ARITHMETIC = [
    op(
        "a + b, torch.add(a, b), a.add(b)",
        index="y[I] = a[I] + b[I]",
        additive=True,
        da=lambda dy: dy,
        db=lambda dy: dy,
        fold=plus,
        why={
            "a": "a sum passes its gradient on to each term",
            "b": "a sum passes its gradient on to each term",
        },
        examples=[*PAIRS, call((3, 4), 2.5), call((3, 4), single(4)), call(mask(3, 4), (4,))],
    ),
    op(
        "a - b, torch.sub(a, b), a.sub(b), torch.subtract(a, b)",
        index="y[I] = a[I] - b[I]",
        additive=True,
        da=lambda dy: dy,
        db=lambda dy: -dy,
        why={
            "a": "a difference passes its gradient on to what is subtracted from",
            "b": "what is subtracted gets the gradient with the sign turned",
        },
        examples=[*PAIRS, call((3, 4), 2.5), call(2.5, (3, 4))],
    ),
    op(
        "a * b, torch.mul(a, b), a.mul(b), torch.multiply(a, b)",
        index="y[I] = a[I] * b[I]",
        da=lambda dy, b: dy * b,
        db=lambda dy, a: dy * a,
        fold=times,
        why={
            "a": "a product passes to each factor the other factor",
            "b": "a product passes to each factor the other factor",
        },
        examples=[
            *PAIRS,
            call((3, 4), 2.5),
            call((3, 4), single(4)),
            call(mask(3, 4), (3, 4)),
            call((3, 4), mask(4)),
        ],
    ),
    op(
        "a / b, torch.div(a, b), a.div(b), torch.true_divide(a, b)",
        index="y[I] = a[I] / b[I]",
        when=lambda a: not scalar(a),
        da=lambda dy, b: dy / b,
        db=lambda dy, a, b: -dy * ((a / b) / b),
        fold=lambda a, b: a if is_exactly(b, 1) else None,
        why={
            "a": "a quotient is its numerator times one over the denominator",
            "b": "one over b falls as b grows, with slope minus one over b**2",
        },
        examples=[
            call((3, 4), positive(3, 4)),
            call((3, 4), positive(4)),
            call((3, 1), positive(1, 4)),
            call((2, 3), 3.0),
        ],
    ),
    op(
        "a / b, torch.div(a, b), torch.true_divide(a, b)",
        name="number_over",
        index="y[I] = a / b[I]",
        when=lambda a: scalar(a),
        db=lambda dy, y, a, b: -dy * y**2 if is_exactly(a, 1) else -a * dy * (1 / b) ** 2,
        why={"b": "the slope of one over b is minus the square of one over b"},
        examples=[call(1, positive(3, 4)), call(2.5, positive(2, 1)), call(-1.0, positive())],
    ),
    op(
        "torch.reciprocal(x), x.reciprocal()",
        index="y[I] = 1 / x[I]",
        dx=lambda dy, y: -dy * y**2,
        why={"x": "the slope of one over x is minus the square of one over x"},
        examples=POSITIVE,
    ),
    op(
        "-x, torch.neg(x), x.neg(), torch.negative(x)",
        index="y[I] = -x[I]",
        additive=True,
        dx=lambda dy: -dy,
        why={"x": "turning the sign turns the gradient's sign"},
        examples=ONE,
    ),
    op(
        "x % b, torch.remainder(x, b), x.remainder(b)",
        name="remainder_number",
        when=lambda b: scalar(b),
        index="y[I] = x[I] % b",
        dx=lambda dy: dy,
        why={"x": "between its jumps a remainder grows as its dividend does"},
        examples=[call((3, 4), 0.5), call((), 2)],
    ),
    op(
        "torch.lerp(start, end, weight), start.lerp(end, weight)",
        index="y[I] = start[I] + weight[I] * (end[I] - start[I])",
        dstart=lambda dy, weight: dy * (1 - weight),
        dend=lambda dy, weight: dy * weight,
        dweight=lambda dy, start, end: dy * (end - start),
        why={
            "start": "the start has the share that the weight leaves",
            "end": "the end has the weight as its share",
            "weight": "the weight moves the result from start to end",
        },
        examples=[call((3, 4), (3, 4), 0.3), call((3, 4), (4,), (3, 1)), call((), (), 0.75)],
    ),
]

POWERS = [
    op(
        "x ** exponent, torch.pow(x, exponent), x.pow(exponent)",
        name="pow_number",
        when=lambda x, exponent: not scalar(x) and scalar(exponent) and exponent not in (0, 1),
        index="y[I] = x[I] ** exponent",
        dx=lambda dy, x, exponent: exponent * x ** (exponent - 1) * dy,
        why={"x": "the power rule: the exponent comes down, then one less"},
        examples=[
            call((3, 4), 2),
            call((2, 1, 3), 3),
            call(positive(3, 4), -0.5),
            call(positive(5), 0.5),
            call(positive(), -1),
        ],
    ),
    op(
        "x ** exponent, torch.pow(x, exponent), x.pow(exponent)",
        name="pow_one",
        when=lambda x, exponent: not scalar(x) and scalar(exponent) and exponent == 1,
        index="y[I] = x[I] ** exponent",
        dx=lambda dy: dy,
        fold=lambda x, exponent: x if is_exactly(exponent, 1) else None,
        why={"x": "the first power is the tensor itself"},
        examples=[call((3, 4), 1), call((), 1.0)],
    ),
    op(
        "x ** exponent, torch.pow(x, exponent), x.pow(exponent)",
        name="pow_zero",
        when=lambda x, exponent: not scalar(x) and scalar(exponent) and exponent == 0,
        index="y[I] = x[I] ** exponent",
        dx=lambda x: torch.zeros_like(x),
        why={"x": "the power of zero is one whatever x is"},
        examples=[call((3, 4), 0), call(exactly(0.0, 2.0), 0.0)],
    ),
    op(
        "x ** exponent, torch.pow(x, exponent), x.pow(exponent)",
        name="pow_tensor",
        when=lambda x, exponent: not scalar(x) and not scalar(exponent),
        index="y[I] = x[I] ** exponent[I]",
        dx=lambda dy, x, exponent: torch.where(
            exponent == 0, 0, dy * (exponent * x ** (exponent - 1))
        ),
        dexponent=lambda dy, y, x, exponent: (
            dy * torch.where((x == 0) & (exponent >= 0), 0, y * torch.log(floating(x, dy)))
        ),
        why={
            "x": "the power rule: the exponent comes down, then one less; x**0 is constant",
            "exponent": "the derivative of x**p by p is x**p * log(x), and 0 where x is 0",
        },
        examples=[
            call(positive(3, 4), (3, 4)),
            call(positive(3, 1), (4,)),
            call(positive(), exactly(0.0, 1.0, 2.0)),
            at_kink(exactly(0.0, 0.0, 2.0), exactly(0.0, 2.0, 0.0)),
            call(positive(2), exactly([[2, 0], [1, 3]], dtype=torch.long)),
            call(exactly([[2, 5], [1, 3]], dtype=torch.long), (2, 2)),
        ],
    ),
    op(
        "x ** exponent, torch.pow(x, exponent)",
        name="pow_base",
        when=lambda x, exponent: scalar(x) and x > 0 and not scalar(exponent),
        index="y[I] = x ** exponent[I]",
        dexponent=lambda dy, y, x: dy * torch.xlogy(y, x),
        why={"exponent": "the derivative of x**p by p is x**p * log(x), which is xlogy(x**p, x)"},
        examples=[call(2, (3, 4)), call(0.5, (2, 1)), call(10.0, ())],
    ),
    op(
        "torch.square(x), x.square()",
        index="y[I] = x[I] ** 2",
        dx=lambda dy, x: 2 * x * dy,
        why={"x": "the derivative of x**2 is 2 * x"},
        examples=ONE,
    ),
    op(
        "torch.sqrt(x), x.sqrt()",
        index="y[I] = sqrt(x[I])",
        dx=lambda dy, y: dy / (2 * y),
        why={"x": "the derivative of a square root is one over twice the root"},
        examples=POSITIVE,
    ),
    op(
        "torch.rsqrt(x), x.rsqrt()",
        index="y[I] = 1 / sqrt(x[I])",
        dx=lambda dy, y: -0.5 * dy * y**3,
        why={"x": "the derivative of x**-0.5 is -0.5 * x**-1.5, the output cubed"},
        examples=POSITIVE,
    ),
]

EXPONENTIALS = [
    op(
        "torch.exp(x), x.exp()",
        index="y[I] = exp(x[I])",
        dx=lambda dy, y: dy * y,
        why={"x": "exp is its own derivative, so its output multiplies"},
        examples=ONE,
    ),
    op(
        "torch.log(x), x.log()",
        index="y[I] = log(x[I])",
        dx=lambda dy, x: dy / x,
        why={"x": "the derivative of log is one over its input"},
        examples=POSITIVE,
    ),
    op(
        "torch.expm1(x), x.expm1()",
        index="y[I] = expm1(x[I])",
        dx=lambda dy, y: dy * (y + 1),
        why={"x": "the derivative of exp(x) - 1 is exp(x), the output plus one"},
        examples=ONE,
    ),
    op(
        "torch.log1p(x), x.log1p()",
        index="y[I] = log1p(x[I])",
        dx=lambda dy, x: dy / (x + 1),
        why={"x": "the derivative of log(1 + x) is one over 1 + x"},
        examples=POSITIVE,
    ),
    op(
        "torch.exp2(x), x.exp2()",
        index="y[I] = 2 ** x[I]",
        dx=lambda dy, y: dy * y * LN2,
        why={"x": "the derivative of 2**x is 2**x * log(2), and log(2) is 0.693..."},
        examples=ONE,
    ),
    op(
        "torch.log2(x), x.log2()",
        index="y[I] = log2(x[I])",
        dx=lambda dy, x: dy / (x * LN2),
        why={"x": "log2 is log over log(2), and log(2) is 0.693..."},
        examples=POSITIVE,
    ),
    op(
        "torch.log10(x), x.log10()",
        index="y[I] = log10(x[I])",
        dx=lambda dy, x: dy / (x * LN10),
        why={"x": "log10 is log over log(10), and log(10) is 2.302..."},
        examples=POSITIVE,
    ),
    op(
        "torch.xlogy(a, b), a.xlogy(b)",
        index="y[I] = a[I] * log(b[I])",
        when=lambda b: not scalar(b),
        da=lambda dy, a, b: torch.where((a == 0) & (b <= 0), 0, torch.xlogy(dy, b)),
        db=lambda dy, a, b: dy * a / b,
        why={
            "a": "a multiplies the logarithm, and 0 * log(0) counts as 0",
            "b": "the derivative of log is one over its input",
        },
        examples=[call((3, 4), positive(3, 4)), call((3, 1), positive(4)), call((), positive())],
    ),
    op(
        "torch.xlogy(a, b), a.xlogy(b)",
        name="xlogy_number",
        index="y[I] = a[I] * log(b)",
        when=lambda b: scalar(b) and b > 0,
        da=lambda dy, b: torch.xlogy(dy, b),
        why={"a": "the logarithm is a constant factor"},
        examples=[call((3, 4), 2), call((), 0.5)],
    ),
    op(
        "torch.tanh(x), x.tanh(), F.tanh(x)",
        index="y[I] = tanh(x[I])",
        dx=lambda dy, y: dy * (1 - y**2),
        why={"x": "the derivative of tanh is 1 - tanh**2, read off its output"},
        examples=ONE,
    ),
    op(
        "torch.sigmoid(x), x.sigmoid(), F.sigmoid(x), torch.special.expit(x)",
        index="y[I] = sigmoid(x[I])",
        dx=lambda dy, y: dy * (1 - y) * y,
        why={"x": "the derivative of sigmoid is y * (1 - y), read off its output"},
        examples=ONE,
    ),
    op(
        "torch.logit(x, eps=None), x.logit(eps=None)",
        index="y[I] = log(x[I] / (1 - x[I]))",
        when=lambda eps: eps is None,
        dx=lambda dy, x: dy / (x * (1 - x)),
        why={"x": "the derivative of log(x) - log(1 - x) is one over x * (1 - x)"},
        examples=INSIDE,
    ),
    op(
        "torch.erf(x), x.erf(), torch.special.erf(x)",
        index="y[I] = erf(x[I])",
        dx=lambda dy, x: 2 / PI**0.5 * torch.exp(-(x**2)) * dy,
        why={"x": "erf is the integral of 2 / sqrt(pi) * exp(-x**2)"},
        examples=ONE,
    ),
]

ANGLES = [
    op(
        "torch.sin(x), x.sin()",
        index="y[I] = sin(x[I])",
        dx=lambda dy, x: dy * torch.cos(x),
        why={"x": "the derivative of sin is cos"},
        examples=ONE,
    ),
    op(
        "torch.cos(x), x.cos()",
        index="y[I] = cos(x[I])",
        dx=lambda dy, x: -dy * torch.sin(x),
        why={"x": "the derivative of cos is -sin"},
        examples=ONE,
    ),
    op(
        "torch.tan(x), x.tan()",
        index="y[I] = tan(x[I])",
        dx=lambda dy, y: dy * (1 + y**2),
        why={"x": "the derivative of tan is 1 + tan**2, read off its output"},
        examples=INSIDE,
    ),
    op(
        "torch.asin(x), x.asin(), torch.arcsin(x), x.arcsin()",
        index="y[I] = asin(x[I])",
        dx=lambda dy, x: dy * torch.rsqrt(1 - x * x),
        why={"x": "the derivative of arcsin is one over sqrt(1 - x**2)"},
        examples=INSIDE,
    ),
    op(
        "torch.acos(x), x.acos(), torch.arccos(x), x.arccos()",
        index="y[I] = acos(x[I])",
        dx=lambda dy, x: -dy * torch.rsqrt(1 - x * x),
        why={"x": "the derivative of arccos is minus one over sqrt(1 - x**2)"},
        examples=INSIDE,
    ),
    op(
        "torch.atan(x), x.atan(), torch.arctan(x), x.arctan()",
        index="y[I] = atan(x[I])",
        dx=lambda dy, x: dy / (x * x + 1),
        why={"x": "the derivative of arctan is one over x**2 + 1"},
        examples=ONE,
    ),
    op(
        "torch.sinh(x), x.sinh()",
        index="y[I] = sinh(x[I])",
        dx=lambda dy, x: dy * torch.cosh(x),
        why={"x": "the derivative of sinh is cosh"},
        examples=ONE,
    ),
    op(
        "torch.cosh(x), x.cosh()",
        index="y[I] = cosh(x[I])",
        dx=lambda dy, x: dy * torch.sinh(x),
        why={"x": "the derivative of cosh is sinh"},
        examples=ONE,
    ),
]

ROWS = [*ARITHMETIC, *POWERS, *EXPONENTIALS, *ANGLES]
