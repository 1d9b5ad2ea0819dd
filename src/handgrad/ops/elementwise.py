"""Rows that work entry by entry: arithmetic, powers, exponentials."""

from handgrad.ops.declare import call, op, positive
from handgrad.ops.words import is_exactly, scalar

PAIRS = [call((3, 4), (3, 4)), call((3, 4), (4,)), call((3, 1), (1, 4)), call((), (2, 3))]
ONE = [call((3, 5)), call((2, 1, 3)), call(())]
POSITIVE = [call(positive(3, 5)), call(positive(2, 1, 3)), call(positive())]


def times(a, b):
    """Drop a factor of one; write a factor of minus one as a sign."""
    for x, y in ((a, b), (b, a)):
        if is_exactly(x, 1):
            return y
        if is_exactly(x, -1):
            return -y
    return None


ROWS = [
    op(
        "a + b, torch.add(a, b), a.add(b)",
        index="y[I] = a[I] + b[I]",
        da=lambda dy: dy,
        db=lambda dy: dy,
        examples=[*PAIRS, call((3, 4), 2.5)],
    ),
    op(
        "a - b, torch.sub(a, b), a.sub(b), torch.subtract(a, b)",
        index="y[I] = a[I] - b[I]",
        da=lambda dy: dy,
        db=lambda dy: -dy,
        examples=[*PAIRS, call((3, 4), 2.5), call(2.5, (3, 4))],
    ),
    op(
        "a * b, torch.mul(a, b), a.mul(b), torch.multiply(a, b)",
        index="y[I] = a[I] * b[I]",
        da=lambda dy, b: dy * b,
        db=lambda dy, a: dy * a,
        fold=times,
        why={"a": "a product passes to each factor the other factor", "b": "a product passes to each factor the other factor"},
        examples=[*PAIRS, call((3, 4), 2.5)],
    ),
    op(
        "a / b, torch.div(a, b), a.div(b), torch.true_divide(a, b)",
        index="y[I] = a[I] / b[I]",
        da=lambda dy, b: dy / b,
        db=lambda dy, a, b: -dy * ((a / b) / b),
        fold=lambda a, b: a if is_exactly(b, 1) else None,
        examples=[
            call((3, 4), positive(3, 4)),
            call((3, 4), positive(4)),
            call((3, 1), positive(1, 4)),
            call(2.0, positive(2, 3)),
            call((2, 3), 3.0),
        ],
    ),
    op(
        "-x, torch.neg(x), x.neg(), torch.negative(x)",
        index="y[I] = -x[I]",
        dx=lambda dy: -dy,
        examples=ONE,
    ),
    op(
        "x ** p, torch.pow(x, p), x.pow(p)",
        name="pow_number",
        when=lambda p: scalar(p),
        index="y[I] = x[I] ** p",
        dx=lambda dy, x, p: p * x ** (p - 1) * dy,
        fold=lambda x, p: x if is_exactly(p, 1) else None,
        why={"x": "the power rule: the exponent comes down, then one less"},
        examples=[call((3, 4), 2), call(positive(3, 4), -0.5), call(positive(), -1)],
    ),
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
        "torch.tanh(x), x.tanh(), F.tanh(x)",
        index="y[I] = tanh(x[I])",
        dx=lambda dy, y: dy * (1 - y**2),
        why={"x": "the derivative of tanh is 1 - tanh**2, read off its output"},
        examples=ONE,
    ),
]
