"""Native code: a traced step as C over static buffers, compiled, cached, run on the tensors."""

from handgrad.native.compiled import Compiled, compile
from handgrad.native.loop import Run

__all__ = ["Compiled", "Run", "compile"]
