"""Rows of scaled dot-product attention."""

from typing import Any

import torch

from handgrad.ops.declare import call, exactly, mask, op

ATTENTION = (
    "F.scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, "
    "is_causal=False, scale=None, enable_gqa=False)"
)
INFINITY = float("inf")
BLIND = exactly([[True, False, True], [False, False, False]], dtype=torch.bool)


def factor(query: Any, scale: Any) -> Any:
    """Return what scores are multiplied with: one over the root of their length, if not given."""
    return query.shape[-1] ** -0.5 if scale is None else scale


def weights(query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: Any) -> Any:
    """Return the attention weights [..., L, S]."""
    scores = query @ key.mT * factor(query, scale)
    if is_causal:
        ahead = query.new_ones(query.shape[-2], key.shape[-2]).triu(1) == 1
        return scores.masked_fill(ahead, -INFINITY).softmax(-1)
    if attn_mask is None:
        return scores.softmax(-1)
    seen = attn_mask.dtype.is_floating_point
    scores = scores + attn_mask if seen else scores.masked_fill(~attn_mask, -INFINITY)
    return scores.softmax(-1).nan_to_num(0.0)  # a row that sees nothing gets nothing


def dscores(
    dy: Any, y: Any, query: Any, key: Any, value: Any, attn_mask: Any, is_causal: bool, scale: Any
) -> Any:
    """Return the gradient of the scores before softmax; (dy * y).sum is that of weights, summed."""
    p = weights(query, key, attn_mask, is_causal, scale)
    return p * (dy @ value.mT - (dy * y).sum(dim=-1, keepdim=True))


def dquery(
    dy: Any, y: Any, query: Any, key: Any, value: Any, attn_mask: Any, is_causal: bool, scale: Any
) -> Any:
    """Return the gradient of the queries."""
    ds = dscores(dy, y, query, key, value, attn_mask, is_causal, scale)
    return ds @ key * factor(query, scale)


def dkey(
    dy: Any, y: Any, query: Any, key: Any, value: Any, attn_mask: Any, is_causal: bool, scale: Any
) -> Any:
    """Return the gradient of the keys."""
    ds = dscores(dy, y, query, key, value, attn_mask, is_causal, scale)
    return ds.mT @ query * factor(query, scale)


ROWS = [
    op(
        ATTENTION,
        index=None,
        heavy=True,
        when=lambda query, key, dropout_p, enable_gqa: (
            dropout_p == 0 and not enable_gqa and query.ndim >= 2 and key.ndim >= 2
        ),
        dquery=dquery,
        dkey=dkey,
        dvalue=lambda dy, query, key, attn_mask, is_causal, scale: (
            weights(query, key, attn_mask, is_causal, scale).mT @ dy
        ),
        dattn_mask=dscores,
        why={
            "query": "a query acts through its scores, and each score brings back its key",
            "key": "a key acts through its scores, and each score brings back its query",
            "value": "the weights mixed the values, so they come back transposed",
            "attn_mask": "it was added to the scores",
        },
        examples=[
            call((2, 3, 4), (2, 5, 4), (2, 5, 7)),
            call((2, 1, 3, 4), (2, 1, 5, 4), (2, 1, 5, 4), scale=0.3),
            call((2, 3, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4), is_causal=True),
            call((2, 3, 4), (2, 5, 4), (2, 5, 4), is_causal=True),
            call((2, 3, 4), (2, 5, 4), (2, 5, 4), attn_mask=(3, 5)),
            call((2, 3, 4), (2, 5, 4), (2, 5, 4), attn_mask=mask(2, 3, 5)),
            call((2, 2, 4), (2, 3, 4), (2, 3, 4), attn_mask=BLIND),
            call((3, 4), (5, 4), (5, 4)),
        ],
    ),
]
