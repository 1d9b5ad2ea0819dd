"""What the code is fitted to: the width of the CPU's vectors, and how many it has."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Vectors:
    """A CPU's vector registers.

    Attributes:
        bytes: how wide one is.
        count: how many there are.
    """

    bytes: int
    count: int


@cache
def facts() -> str:
    """Return what tells this CPU's instructions from another's."""
    found = [platform.machine(), platform.system()]
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        found.append(platform.processor())  # starts a process
    else:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
        for key in ("model name", "flags", "Features", "CPU part"):
            found += [next((line for line in lines if line.startswith(key)), "")]
    return "\n".join(found)


@cache
def vectors() -> Vectors:
    """Return the vector registers of this CPU: AVX-512, AVX2 or those that every one has."""
    words = set(facts().split())
    if "avx512f" in words:
        return Vectors(64, 32)
    if "avx2" in words and "fma" in words:
        return Vectors(32, 16)
    return Vectors(16, 32 if platform.machine() in ("arm64", "aarch64") else 16)
