"""Rows that pick the greatest, the smallest, the middle, and put entries in order."""

from typing import Any

import torch
import torch.nn.functional as F

from handgrad.ir import Name, Op
from handgrad.ops.declare import call, exactly, op
from handgrad.ops.words import align, axes, restore

TIES = exactly([[1.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, 3.0], [-1.0, -1.0, 0.0, 0.0]])
PICKS = [
    call((3, 5), 1, keepdim=True),
    call((2, 3, 5), -2),
    call((2, 3, 5), -1),
    call((3, 4), 0, keepdim=True),
    call((3, 1), 1),
    call((5,), 0),
    call((), 0),
]
PICKED = "only the entry that was picked reaches the result"
SHARED = "the entries that equal the result share its gradient evenly"
WORDS = {"max": "greatest", "min": "smallest"}


def put_back(dvalues: Any, x: Any, indices: Any, dim: Any, keepdim: bool = True) -> Any:
    """Return zeros like `x` with gradients at the places that the values came from."""
    return torch.zeros_like(x).scatter(
        dim, restore(indices, x, dim, keepdim), restore(dvalues, x, dim, keepdim)
    )


def picked(dvalues: Any, x: Any, indices: Any, dim: Any, keepdim: bool, pick: Any) -> Any:
    """Return the gradient of one extreme per row, along the last axis by a one-hot code."""
    if x.ndim == 0 or axes(dim, x.ndim)[0] != x.ndim - 1:
        return put_back(dvalues, x, indices, dim, keepdim)
    if keepdim:  # the user's own indices if they have a name, else picked again without the axis
        named = isinstance(indices.expr, Name)
        indices = indices.squeeze(dim) if named else pick(x, dim)[1]
    return F.one_hot(indices, num_classes=x.shape[-1]) * align(dvalues, x, dim, keepdim)


def share(dy: Any, x: Any, y: Any) -> Any:
    """Return the gradient of the one value that `y` is, shared by all entries equal to it."""
    return (x == y) * (dy / (x == y).sum())


def share_along(dy: Any, x: Any, y: Any, dim: Any) -> Any:
    """Return the gradient of values along axes, shared by the entries equal to them."""
    total = (x == y).sum() if dim == () else (x == y).sum(dim=dim, keepdim=True)
    return dy * (x == y) / total


def extreme(name: str, pick: Any) -> Op:
    """Declare the greatest or smallest along an axis."""
    return op(
        f"values, indices = x.{name}(dim, keepdim=False), torch.{name}(x, dim, keepdim=False)",
        name=f"{name}_dim",
        index=None,
        when=lambda dim: isinstance(dim, int),
        dx=lambda dvalues, x, indices, dim, keepdim: picked(
            dvalues, x, indices, dim, keepdim, pick
        ),
        why={"x": PICKED},
        examples=[*PICKS, call(TIES, 1), call(TIES, 0)],
    )


FULL = [
    *(
        op(
            f"x.{name}(), torch.{name}(x)",
            name=name,
            index=f"y[I-dim] = {name}[dim] x[I]",
            dx=lambda dy, x, y: share(dy, x, y),
            why={"x": SHARED},
            examples=[call((3, 5)), call(TIES), call((1, 3)), call(())],
        )
        for name in ("max", "min")
    ),
    op(
        "x.median(), torch.median(x)",
        index=None,
        heavy=True,
        dx=lambda dy, x, y: share(dy, x, y),
        why={"x": SHARED},
        examples=[call((3, 5)), call(TIES), call((2, 3)), call(())],
    ),
    *(
        op(
            f"x.a{name}(dim=(), keepdim=False), torch.a{name}(x, dim=(), keepdim=False)",
            index=f"y[I-dim] = {name}[dim] x[I]",
            dx=lambda dy, x, y, dim, keepdim: share_along(
                align(dy, x, dim, keepdim), x, align(y, x, dim, keepdim), dim
            ),
            why={"x": SHARED},
            examples=[
                call((3, 4)),
                call((3, 4), dim=1),
                call((2, 3, 5), dim=-2, keepdim=True),
                call((2, 3, 5), dim=(0, 2)),
                call(TIES, dim=1),
                call(TIES, dim=(0, 1), keepdim=True),
                call((), dim=0),
            ],
        )
        for name in ("max", "min")
    ),
]

ALONG = [
    extreme("max", torch.max),
    extreme("min", torch.min),
    op(
        "values, indices = x.median(dim, keepdim=False), torch.median(x, dim, keepdim=False)",
        name="median_dim",
        index=None,
        heavy=True,
        when=lambda dim: isinstance(dim, int),
        dx=lambda dvalues, x, indices, dim, keepdim: put_back(dvalues, x, indices, dim, keepdim),
        why={"x": PICKED},
        examples=PICKS,
    ),
    op(
        "values, indices = x.kthvalue(k, dim=-1, keepdim=False), "
        "torch.kthvalue(x, k, dim=-1, keepdim=False)",
        index=None,
        heavy=True,
        dx=lambda dvalues, x, indices, dim, keepdim: put_back(dvalues, x, indices, dim, keepdim),
        why={"x": PICKED},
        examples=[call((3, 5), 2), call((4, 3), 1, dim=0, keepdim=True), call((), 1)],
    ),
    *(
        op(
            f"values, indices = x.cum{name}(dim), torch.cum{name}(x, dim)",
            index=None,
            dx=lambda dvalues, x, indices, dim: torch.zeros_like(x).scatter_add(
                dim, indices, dvalues
            ),
            why={"x": f"the {WORDS[name]} entry so far gets every gradient until a better one"},
            examples=[call((3, 5), 1), call((2, 4, 3), -2), call(TIES, 0), call((1,), 0)],
        )
        for name in ("max", "min")
    ),
]

ORDER = [
    op(
        "values, indices = x.sort(dim=-1, descending=False, stable=False), "
        "torch.sort(x, dim=-1, descending=False, stable=False)",
        index=None,
        heavy=True,
        dx=lambda dvalues, x, indices, dim: put_back(dvalues, x, indices, dim),
        why={"x": "sorting only moves entries, so each gradient moves back"},
        examples=[
            call((3, 5)),
            call((2, 3, 5), dim=1, descending=True),
            call(TIES, dim=0, stable=True),
            call((3, 1), dim=-1),
            call(()),
        ],
    ),
    op(
        "values, indices = x.topk(k, dim=-1, largest=True, sorted=True), "
        "torch.topk(x, k, dim=-1, largest=True, sorted=True)",
        index=None,
        heavy=True,
        dx=lambda dvalues, x, indices, dim: put_back(dvalues, x, indices, dim),
        why={"x": "only the entries that were picked reach the result"},
        examples=[
            call((3, 5), 2),
            call((5, 3), 3, dim=0, largest=False),
            call((2, 4), 1, sorted=False),
            call((3, 4), 0),
        ],
    ),
    *(
        op(
            f"x.{name}(dim=None, keepdim=False), torch.{name}(x, dim=None, keepdim=False)",
            index=None,
            examples=[call((3, 4)), call((3, 4), dim=1, keepdim=True), call(TIES, dim=0)],
        )
        for name in ("argmax", "argmin")
    ),
    op(
        "x.argsort(dim=-1, descending=False, stable=False), "
        "torch.argsort(x, dim=-1, descending=False, stable=False)",
        index=None,
        heavy=True,
        examples=[call((3, 4)), call((3, 4), dim=0, descending=True), call(TIES, stable=True)],
    ),
]

ROWS = [*FULL, *ALONG, *ORDER]
