"""The op table: one declaration for each op, every field executed by a test."""

from handgrad.ops import (
    activations,
    conv,
    elementwise,
    indexing,
    layout,
    losses,
    matmul,
    norms,
    reduce,
    softmax,
)
from handgrad.ops.table import Table

TABLE = Table(
    row
    for rows in (elementwise, activations, reduce, matmul, layout, indexing, softmax, losses, norms, conv)
    for row in rows.ROWS
)
