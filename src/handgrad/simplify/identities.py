"""Other ways to say the same sum: definitions used from either side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from handgrad.simplify.normal import Poly

if TYPE_CHECKING:
    from handgrad.simplify.program import Reading


def alternatives(reading: Reading, poly: Poly) -> Iterator[Poly]:
    """Yield a sum, and equal sums that may be shorter."""
    yield poly
