"""What the code is fitted to: the width of the CPU's vectors, and how many it has."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from handgrad.errors import BadInput

VARIABLE = "HANDGRAD_VECTORS"
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Vectors:
    """A kind of vector registers.

    Attributes:
        name: as HANDGRAD_VECTORS names it.
        bytes: how wide one is.
        count: how many there are.
        needs: the words of the CPU's description without which it cannot run such code.
        flags: what tells a compiler to use them, where its own choice would be narrower.
    """

    name: str
    bytes: int
    count: int
    needs: frozenset[str] = frozenset()
    flags: tuple[str, ...] = ()


# those that every processor of a family has need no flags: other families' compilers make do
KINDS = {
    each.name: each
    for each in (
        Vectors("sse2", 16, 16),
        Vectors("neon", 16, 32),
        Vectors("avx2", 32, 16, frozenset({"avx2", "fma"}), ("-mavx2", "-mfma")),
        Vectors("avx512", 64, 32, frozenset({"avx512f", "fma"}), ("-mavx512f", "-mfma")),
    )
}


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


def vectors() -> Vectors:
    """Return what code is written for: what HANDGRAD_VECTORS names, else this CPU's widest.

    Raises:
        BadInput: the variable names none that there is.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in KINDS:
        raise BadInput(
            f"{VARIABLE} is {asked!r}, which is no kind of vectors",
            hint=f"set it to one of {', '.join(KINDS)}, or to nothing for this processor's own",
        )
    return KINDS[asked] if asked else widest()


@cache
def widest() -> Vectors:
    """Return the vector registers of this CPU: AVX-512, AVX2 or those that every one has."""
    for name in ("avx512", "avx2"):
        if runs(KINDS[name]):
            return KINDS[name]
    return KINDS["neon" if platform.machine() in ("arm64", "aarch64") else "sse2"]


def runs(kind: Vectors) -> bool:
    """Tell whether this CPU runs code that is built for a kind of vectors."""
    return kind.needs <= set(facts().split())


def target() -> tuple[str, ...]:
    """Return the compiler's flags that say what to build for."""
    return vectors().flags if os.environ.get(VARIABLE) else ("-march=native",)


def by_width(function: Callable[P, R]) -> Callable[P, R]:
    """Keep a function's results, for each kind of vectors its own."""

    @cache
    def kept(_: Vectors, *args: P.args, **named: P.kwargs) -> R:
        return function(*args, **named)

    @wraps(function)
    def found(*args: P.args, **named: P.kwargs) -> R:
        return kept(vectors(), *args, **named)

    return found
