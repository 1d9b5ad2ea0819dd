"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from handgrad.errors import BadInput
from handgrad.native.compilers import find_compiler
from handgrad.train.environment import cpu


def machine() -> dict[str, Any]:
    """Return processor, compiler and versions by name."""
    found: dict[str, Any] = {
        "processor": cpu(),
        "cores": os.cpu_count() or 1,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "compiler": compiler(),
        "python": platform.python_version(),
    }
    for name in ("torch", "jax"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    with suppress(OSError, AttributeError):
        found["load"] = round(os.getloadavg()[0], 1)
    return found


def compiler() -> str:
    """Return what the C compiler calls itself; `none` without one."""
    try:
        command = find_compiler().command
        said = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=False, timeout=20
        )
    except (BadInput, OSError, subprocess.TimeoutExpired):
        return "none"
    return said.stdout.partition("\n")[0].strip() or command[0]
