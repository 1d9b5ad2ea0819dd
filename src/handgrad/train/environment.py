"""What besides settings and data settles every bit of a run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from handgrad.train.backends import Backend

CPUS = Path("/proc/cpuinfo")


def environment(backend: Backend) -> dict[str, str]:
    """Return what a run is done with, here and now."""
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "cpu": f"{cpu()}, {torch.backends.cpu.get_cpu_capability()}",
        "backend": backend.name,
        "lines of the step": backend.digest,
    }


def cpu() -> str:
    """Return what the processor calls itself."""
    with suppress(OSError):
        for line in CPUS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def differences(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what is not as it was recorded."""
    return [
        f"{name}: {recorded.get(name, 'unknown')} then, {value} now"
        for name, value in now.items()
        if recorded.get(name) != value
    ]
