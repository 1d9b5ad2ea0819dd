"""The op table: one declaration for each op, every field executed by a test."""

from handgrad.ops import (
    activations,
    attention,
    choice,
    conv,
    cross_entropy,
    einsum,
    elementwise,
    indexing,
    layout,
    losses,
    matmul,
    norms,
    pooling,
    reduce,
    softmax,
)
from handgrad.ops.table import Table

MODULES = (
    elementwise,
    choice,
    activations,
    reduce,
    matmul,
    einsum,
    layout,
    indexing,
    softmax,
    cross_entropy,
    losses,
    norms,
    attention,
    conv,
    pooling,
)
TABLE = Table(row for rows in MODULES for row in rows.ROWS)
