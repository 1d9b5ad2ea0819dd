"""Emit: backward passes as PyTorch source."""

from handgrad.emit.pytorch import listing, module

__all__ = ["listing", "module"]
