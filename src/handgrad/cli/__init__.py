"""The command `handgrad`."""

from handgrad.cli.main import main

__all__ = ["main"]
