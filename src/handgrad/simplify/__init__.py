"""Simplify: from many small backward lines to few short ones, with the derivation."""

from handgrad.simplify.result import Simplified, Step, simplify

__all__ = ["Simplified", "Step", "simplify"]
