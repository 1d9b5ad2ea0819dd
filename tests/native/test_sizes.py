"""Axes of no entry and of one, in every kind of loop."""

import pytest
import torch
import torch.nn.functional as F

from native.against import trains_as_torch

pytestmark = pytest.mark.native
# A text, and the shapes of its parameters.
EMPTY = {
    "no rows": ("(a @ b).sum() + b.sum()", {"a": (0, 3), "b": (3, 2)}),
    "no columns": ("(a @ b).sum() + a.sum()", {"a": (3, 2), "b": (2, 0)}),
    "nothing to contract": ("((a @ b) * c).exp().sum()", {"a": (3, 0), "b": (0, 2), "c": (3, 2)}),
    "nothing to contract, in batches": (
        "((a @ b) * c).exp().sum()",
        {"a": (2, 3, 0), "b": (0, 3), "c": (2, 3, 3)},
    ),
    "an empty part of picked rows": ("(a**2).sum() + a[[2, 2], :, 1:].sum()", {"a": (3, 2, 1)}),
    "no rows picked": ("(a**2).sum() + (a[j] * a[j]).sum()", {"a": (3, 2)}),
    "an empty slice": ("(a**2).sum() + (a[2:2] * 3).sum()", {"a": (4, 3)}),
    "an empty embedding": ("F.embedding(j, a).pow(2).sum() + a.sum()", {"a": (3, 2)}),
    "empty parts joined": ("torch.cat([a[:0], b, a]).pow(2).sum()", {"a": (2, 3), "b": (1, 3)}),
    "an empty scatter": ("a.scatter_add(0, k, b[:0]).pow(2).sum()", {"a": (3, 2), "b": (3, 2)}),
    "an empty index_add": ("a.index_add(0, j, b[:0]).pow(2).sum()", {"a": (3, 2), "b": (3, 2)}),
    "an empty index of another rank": (
        "torch.maximum(a.gather(-1, j[..., None]), a).sum() + (a * a).sum()",
        {"a": (3,)},
    ),
    "nothing by an op without native code": (
        "a[:0].median(1).values.sum() + (a * a).sum()",
        {"a": (3, 2)},
    ),
    "products of nothing": ("a[:, :0].prod(1).sum() + a.sum()", {"a": (3, 2)}),
    "running sums of nothing": ("a[:, :0].cumsum(1).sum() + a.sum()", {"a": (3, 2)}),
    "padding of nothing": ("F.pad(a[:0], (0, 0, 1, 2)).sum() + (a * a).sum()", {"a": (3, 2)}),
    "a softmax of no rows": ("a[:0].softmax(1).sum() + (a * a).sum()", {"a": (3, 2)}),
}
ONE = {
    "one row": ("F.linear(a, b, c).tanh().sum()", {"a": (1, 3), "b": (2, 3), "c": (2,)}),
    "one column": ("F.linear(a, b, c).tanh().sum()", {"a": (4, 3), "b": (1, 3), "c": (1,)}),
    "one entry a row": ("(a @ b).tanh().sum()", {"a": (4, 1), "b": (1, 3)}),
    "a softmax of one": ("(a.softmax(1) * a).sum()", {"a": (3, 1)}),
    "one window": ("F.conv1d(a, b).tanh().sum()", {"a": (1, 1, 3), "b": (1, 1, 3)}),
    "the greatest of one": ("a.max(1).values.pow(2).sum() + a.amax(0).sum()", {"a": (3, 1)}),
    "rows added where one stands": (
        "a.index_add(0, i, b.expand(2, 3)).pow(2).sum()",
        {"a": (3, 3), "b": (1, 3)},
    ),
    "one place written by all": (
        "a[:, :3].scatter_add(0, k5, b).pow(2).sum()",
        {"a": (3, 4), "b": (2, 3)},
    ),
    "a stretched index": ("a[k5].sum() + (a**2).sum()", {"a": (3, 4)}),
    "parts of unequal size": (
        "sum(k * x.pow(2).sum() for k, x in enumerate(torch.split(a, 2), 1))",
        {"a": (5, 3)},
    ),
    "parts of unequal size joined": (
        "torch.cat([x.reshape(-1) for x in torch.split(a, 2)]).pow(2).sum()",
        {"a": (5, 3)},
    ),
    "chunks of unequal size": (
        "torch.stack([(x * x).sum() for x in a.chunk(3)]).prod()",
        {"a": (7,)},
    ),
}


@pytest.mark.parametrize("case", [*EMPTY, *ONE])
def test_odd_sizes_are_trained_as_by_torch(case):
    text, shapes = (EMPTY | ONE)[case]
    scope = {
        "torch": torch,
        "F": F,
        "i": torch.tensor([1, 1]),
        "j": torch.zeros(0, dtype=torch.int64),
        "k": torch.zeros(0, 2, dtype=torch.int64),
        "k5": torch.tensor([[1], [1]]).expand(2, 3),
    }
    exec(f"def forward({', '.join(shapes)}):\n    loss = {text}\n    return loss", scope)
    g = torch.Generator().manual_seed(1)
    args = {n: torch.randn(s, generator=g, dtype=torch.float64) for n, s in shapes.items()}
    trains_as_torch(scope["forward"], args, list(args))
