"""Textbook gradients, each with several spellings of its forward pass."""

from simplify.cases import (
    activations,
    batch_norm,
    cross_entropy,
    losses,
    moments,
    norms,
    softmax,
)
from simplify.cases.declare import Case, Spelling

CASES: tuple[Case, ...] = (
    *softmax.CASES,
    *cross_entropy.CASES,
    *losses.CASES,
    *activations.CASES,
    *norms.CASES,
    *batch_norm.CASES,
    *moments.CASES,
)

PAIRS: tuple[tuple[Case, Spelling], ...] = tuple((c, s) for c in CASES for s in c.spellings)
