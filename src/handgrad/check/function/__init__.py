"""Check a custom `torch.autograd.Function`: its own backward, called directly."""

from handgrad.check.function.check import check_function

__all__ = ["check_function"]
