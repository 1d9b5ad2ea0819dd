"""Rows of softmax and log-softmax."""

from handgrad.ops.declare import call, op

EXAMPLES = [
    call((3, 4), 1),
    call((3, 4), -1),
    call((2, 3, 5), 1),
    call((3, 1), 0),
    call((5, 1), -1),
    call((), 0),
]

ROWS = [
    op(
        "x.softmax(dim), torch.softmax(x, dim), F.softmax(x, dim)",
        when=lambda dim: dim is not None,  # torch chooses one by the number of axes
        index="y[I] = exp(x[I]) / sum[dim](exp(x[I]))",
        same_as="x.exp() / x.exp().sum(dim=dim, keepdim=True)",
        dx=lambda dy, y, dim: y * (dy - (dy * y).sum(dim=dim, keepdim=True)),
        why={"x": "raising one logit lowers all the others, so their mean gradient comes off"},
        examples=EXAMPLES,
    ),
    op(
        "x.log_softmax(dim), torch.log_softmax(x, dim), F.log_softmax(x, dim)",
        when=lambda dim: dim is not None,  # torch chooses one by the number of axes
        index="y[I] = x[I] - log(sum[dim](exp(x[I])))",
        same_as="x - x.exp().sum(dim=dim, keepdim=True).log()",
        dx=lambda dy, y, dim: dy - y.exp() * dy.sum(dim=dim, keepdim=True),
        why={"x": "every logit is also in the normaliser, which takes its share of all gradients"},
        examples=EXAMPLES,
    ),
]
