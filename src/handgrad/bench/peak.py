"""The most that one core does: independent chains of vector multiply-adds."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from handgrad.native import cpu
from handgrad.native.build import build

SOURCE = """\
#include <stdint.h>
typedef float v __attribute__((vector_size({bytes})));

/* {chains} independent chains of multiply-adds: each waits only for itself. */
float hg_peak(int64_t turns) {{
  v m = (v){{0}} + 0.999f, c = (v){{0}} + 0.001f;
  v {declared};
  for (int64_t k = 0; k < turns; k++) {{
    {body}
  }}
  v all = {total};
  return all[0];
}}
"""


def source() -> str:
    """Return the C code for this CPU's vectors."""
    wide, chains = cpu.vectors(), chains_of()
    names = [f"a{k}" for k in range(chains)]
    return SOURCE.format(
        bytes=wide.bytes,
        chains=chains,
        declared=", ".join(f"{name} = m * {k}" for k, name in enumerate(names)),
        body="\n    ".join(f"{name} = {name} * m + c;" for name in names),
        total=" + ".join(names),
    )


def chains_of() -> int:
    """Return how many chains there are: enough to hide the delay, few enough for the registers."""
    return 24 if cpu.vectors().count == 32 else 12


def peak() -> tuple[Callable[[int], None], float]:
    """Return what does turns of the loop, and the floating-point operations of a turn.

    Raises:
        CannotBuild: there is no C compiler.
    """
    call = build(source()).handle.hg_peak
    call.argtypes, call.restype = [ctypes.c_int64], ctypes.c_float

    def turns(count: int) -> None:
        call(count)

    return turns, 2.0 * chains_of() * cpu.vectors().bytes / 4
