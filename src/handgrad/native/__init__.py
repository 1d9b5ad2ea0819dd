"""Native code: a traced step as C over static buffers, compiled, cached, run on the tensors."""

from typing import TYPE_CHECKING

from handgrad.lazy import public

if TYPE_CHECKING:
    from handgrad.native.compiled import Compiled, compile
    from handgrad.native.loop import Run

__all__ = ["Compiled", "Run", "compile"]
HOMES = {
    "Compiled": "handgrad.native.compiled",
    "Run": "handgrad.native.loop",
    "compile": "handgrad.native.compiled",
}

public(__name__, HOMES)
