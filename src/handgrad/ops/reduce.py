"""Rows that take axes together: sums, means, spreads, products, running sums."""

from typing import Any

import torch

from handgrad.ops.declare import call, exactly, mask, op
from handgrad.ops.numbers import plain
from handgrad.ops.words import align, count, is_exactly, last_to, to_last

DIMS = [
    call((3, 4)),
    call((3, 4), dim=1),
    call((2, 3, 5), dim=-2, keepdim=True),
    call((2, 3, 5), dim=(0, 2)),
    call((2, 3, 5), dim=(-1, 1), keepdim=True),
    call((2, 3, 5), dim=(1, 2)),
    call((3, 1), dim=0),
    call((5,), dim=0),
    call(()),
]
FLAT = exactly([[2.0, 2.0, 2.0], [1.0, 3.0, 5.0]])
SPREADS = [
    call(FLAT, dim=1),
    call((3, 4)),
    call((5, 3), dim=0, keepdim=True),
    call((5, 3), dim=0),
    call((2, 3, 5), dim=(0, -1)),
    call((4, 1), dim=0),
    call((5, 3), dim=1),
]
CORRECTED = [
    *SPREADS,
    call((5, 3), dim=1, correction=0, keepdim=True),
    call((5, 3), correction=2),
    call((5, 3), dim=(0, 1), correction=0),
]
BIASED = [
    *(call(*example.args, unbiased=False, **example.kwargs) for example in SPREADS),
    call((5, 3), dim=1, unbiased=True),
    call((5, 3), unbiased=True),
]
ZEROS = exactly([[0.0, 2.0, 3.0], [0.0, 0.0, 3.0], [4.0, 5.0, 6.0]])
ALONG = [call((3, 4), 1), call((2, 3, 5), -2), call((3, 1), 1), call((5,), 0), call(ZEROS, -1)]
SQUARES = "y[I-dim] = sum[dim]((x[I] - mean[dim](x[I])) ** 2) / (sum[dim](1) - {less})"


def through_variance(dy: Any, x: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    """Return the gradient of a variance that divides by n - correction."""
    n = count(x, dim)
    free = n if is_exactly(correction, 0) else n - correction
    dy = align(dy, x, dim, keepdim)
    off = x - (x.mean() if dim is None else x.mean(dim=dim, keepdim=True))
    return 2 / free * dy * off if plain(free) > 0 else 2 * dy * off / free


def through_deviation(dy: Any, y: Any, x: Any, dim: Any, correction: Any, keepdim: bool) -> Any:
    """Return the gradient of a standard deviation, 0 where it is 0."""
    dvar = (dy / (2 * y)).masked_fill(y == 0, 0)
    return through_variance(dvar, x, dim, correction, keepdim)


def apart(x: Any) -> Any:
    """Return a row for each entry of the last axis of `x`, with 1 in that entry's place."""
    return x.unsqueeze(-2).masked_fill(torch.ones_like(x).diag_embed() == 1, 1)


ROWS = [
    op(
        "x.sum(dim=None, keepdim=False), torch.sum(x, dim=None, keepdim=False)",
        index="y[I-dim] = sum[dim] x[I]",
        additive=True,
        dx=lambda dy, x, dim, keepdim: align(dy, x, dim, keepdim).expand_as(x),
        why={"x": "each entry went into the sum once, so each gets the sum's gradient"},
        examples=[*DIMS, call((0, 3), dim=0)],
    ),
    op(
        "x.mean(dim=None, keepdim=False), torch.mean(x, dim=None, keepdim=False)",
        index="y[I-dim] = mean[dim] x[I]",
        dx=lambda dy, x, dim, keepdim: (align(dy, x, dim, keepdim) / count(x, dim)).expand_as(x),
        why={"x": "a mean gives each of its n entries 1/n of its gradient"},
        examples=DIMS,
    ),
    op(
        "x.var(dim=None, correction=1, keepdim=False), "
        "torch.var(x, dim=None, correction=1, keepdim=False)",
        index=SQUARES.format(less="correction"),
        when=lambda dim, correction: not isinstance(dim, bool) and correction is not None,
        dx=lambda dy, x, dim, correction, keepdim: through_variance(
            dy, x, dim, correction, keepdim
        ),
        why={"x": "the mean moves along, so of the squares only 2 * (x - mean) remains"},
        examples=CORRECTED,
    ),
    op(
        "x.var(dim=None, unbiased=True, keepdim=False), x.var(unbiased), "
        "torch.var(x, dim=None, unbiased=True, keepdim=False), torch.var(x, unbiased)",
        name="var_unbiased",
        index=SQUARES.format(less="unbiased"),
        when=lambda dim: not isinstance(dim, bool),
        dx=lambda dy, x, dim, unbiased, keepdim: through_variance(
            dy, x, dim, int(unbiased), keepdim
        ),
        why={"x": "the mean moves along, so of the squares only 2 * (x - mean) remains"},
        examples=BIASED,
    ),
    op(
        "x.std(dim=None, correction=1, keepdim=False), "
        "torch.std(x, dim=None, correction=1, keepdim=False)",
        index=f"y[I-dim] = sqrt({SQUARES.format(less='correction').split(' = ')[1]})",
        when=lambda dim, correction: not isinstance(dim, bool) and correction is not None,
        dx=lambda dy, y, x, dim, correction, keepdim: through_deviation(
            dy, y, x, dim, correction, keepdim
        ),
        why={"x": "the root halves the variance's gradient and divides by the root; 0 stays 0"},
        examples=CORRECTED,
    ),
    op(
        "x.std(dim=None, unbiased=True, keepdim=False), x.std(unbiased), "
        "torch.std(x, dim=None, unbiased=True, keepdim=False), torch.std(x, unbiased)",
        name="std_unbiased",
        index=f"y[I-dim] = sqrt({SQUARES.format(less='unbiased').split(' = ')[1]})",
        when=lambda dim: not isinstance(dim, bool),
        dx=lambda dy, y, x, dim, unbiased, keepdim: through_deviation(
            dy, y, x, dim, int(unbiased), keepdim
        ),
        why={"x": "the root halves the variance's gradient and divides by the root; 0 stays 0"},
        examples=BIASED,
    ),
    op(
        "var, mean = torch.var_mean(x, dim=None, correction=1, keepdim=False)",
        index=None,
        when=lambda dim, correction: not isinstance(dim, bool) and correction is not None,
        dx=lambda dvar, dmean, x, dim, correction, keepdim: (
            through_variance(dvar, x, dim, correction, keepdim)
            + align(dmean, x, dim, keepdim) / count(x, dim)
        ),
        why={"x": "the variance gives 2 * (x - mean) over n - correction, the mean 1/n"},
        examples=CORRECTED,
    ),
    op(
        "var, mean = torch.var_mean(x, dim=None, unbiased=True, keepdim=False)",
        name="var_mean_unbiased",
        index=None,
        when=lambda dim: not isinstance(dim, bool),
        dx=lambda dvar, dmean, x, dim, unbiased, keepdim: (
            through_variance(dvar, x, dim, int(unbiased), keepdim)
            + align(dmean, x, dim, keepdim) / count(x, dim)
        ),
        why={"x": "the variance gives 2 * (x - mean) over n or n - 1, the mean 1/n"},
        examples=BIASED,
    ),
    op(
        "torch.logsumexp(x, dim, keepdim=False), x.logsumexp(dim, keepdim=False)",
        index="y[I-dim] = log(sum[dim] exp(x[I]))",
        dx=lambda dy, y, x, dim, keepdim: (
            align(dy, x, dim, keepdim) * (x - align(y, x, dim, keepdim)).exp()
        ),
        why={"x": "the derivative of logsumexp is softmax, which is exp(x - y)"},
        examples=[
            call((3, 4), 1),
            call((2, 3, 5), -2, keepdim=True),
            call((2, 3, 5), (0, 2)),
            call((3, 1), 0),
            call((), 0),
        ],
    ),
    op(
        "x.prod(), torch.prod(x)",
        index="y[I-dim] = prod[dim] x[I]",
        dx=lambda dy, x: dy * last_to(apart(to_last(x, None)).prod(dim=-1), x, None),
        why={"x": "each factor's gradient is the product of the others, zeros among them or not"},
        examples=[call((3, 4)), call((5,)), call(ZEROS), call(exactly(0.0, 2.0, 3.0)), call((1,))],
    ),
    op(
        "x.prod(dim, keepdim=False), torch.prod(x, dim, keepdim=False)",
        name="prod_dim",
        index="y[I-dim] = prod[dim] x[I]",
        when=lambda dim, x: isinstance(dim, int) and x.ndim > 0,
        dx=lambda dy, x, dim, keepdim: (
            align(dy, x, dim, keepdim) * last_to(apart(to_last(x, dim)).prod(dim=-1), x, dim)
        ),
        why={"x": "each factor's gradient is the product of the others, zeros among them or not"},
        examples=[*ALONG, call((3, 4), 0, keepdim=True)],
    ),
    op(
        "x.cumsum(dim), torch.cumsum(x, dim)",
        index=None,
        dx=lambda dy, dim: dy.flip(dim).cumsum(dim).flip(dim),
        why={"x": "an entry went into every sum from its place on, so theirs are summed backwards"},
        examples=[*ALONG, call((), 0)],
    ),
    op(
        "x.cumprod(dim), torch.cumprod(x, dim)",
        index=None,
        when=lambda x: x.ndim > 0,
        dx=lambda dy, x, dim: last_to(
            (to_last(dy, dim).unsqueeze(-2) * apart(to_last(x, dim)).cumprod(-1))
            .triu()
            .sum(dim=-1),
            x,
            dim,
        ),
        why={"x": "a factor is in every product from its place on, each time beside the others"},
        examples=ALONG,
    ),
    op(
        "x.any(dim=None, keepdim=False), torch.any(x, dim=None, keepdim=False)",
        index=None,
        examples=[call(mask(3, 4)), call(mask(3, 4), dim=1, keepdim=True), call(mask(), dim=0)],
    ),
    op(
        "x.all(dim=None, keepdim=False), torch.all(x, dim=None, keepdim=False)",
        index=None,
        examples=[call(mask(3, 4)), call(mask(3, 4), dim=1, keepdim=True), call(mask(), dim=0)],
    ),
    op(
        "x.count_nonzero(dim=None), torch.count_nonzero(x, dim=None)",
        index=None,
        examples=[call(mask(3, 4)), call(mask(3, 4), dim=1), call((2, 3), dim=(0, 1))],
    ),
]
