"""Backpropagation by hand, and provably right."""
