"""The C compiler of the machine, and what the code it makes depends on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from handgrad.errors import BadInput
from handgrad.native.lower.budget import left

FLAGS = (
    "-std=gnu11",
    "-O3",
    "-fopenmp-simd",  # the loops say themselves which may run several turns at once
    "-ffp-contract=fast",  # a * b + c is rounded once
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-w",
)
SECONDS = 300


class CannotBuild(BadInput):
    """There is no C compiler, or it failed."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler.

    Attributes:
        command: how it is called.
        identity: what tells it from another, or from another version of itself.
    """

    command: tuple[str, ...]
    identity: str


def find_compiler() -> Compiler:
    """Return the compiler that `CC` names, else cc, gcc, clang, else that of the ziglang wheel.

    Raises:
        CannotBuild: there is none.
    """
    named = os.environ.get("CC", "").split()
    for command in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        path = shutil.which(command[0])
        if path is not None:
            return Compiler((path, *command[1:]), identity(path))
    if not named and find_spec("ziglang") is not None:
        from importlib.metadata import version

        return Compiler((sys.executable, "-m", "ziglang", "cc"), f"ziglang {version('ziglang')}")
    raise CannotBuild(
        f"no C compiler: {' '.join(named)} is not to be found" if named else "no C compiler",
        hint="install gcc or clang, or `pip install 'handgrad[zig]'`",
    )


def identity(path: str) -> str:
    """Return what changes when a program is installed anew, without running it."""
    real = Path(path).resolve()
    facts = real.stat()
    return f"{real} {facts.st_size} {facts.st_mtime_ns}"


def run_compiler(compiler: Compiler, flags: tuple[str, ...], source: Path, target: Path) -> None:
    """Compile a file to a shared library.

    Raises:
        CannotBuild: the compiler failed; the message has its first lines.
    """
    command = [*compiler.command, *flags, str(source), "-o", str(target), "-lm"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=max(min(SECONDS, left()), 0.1),
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"the C compiler was not done in {error.timeout:.0f} s") from error
    except OSError as error:
        raise CannotBuild(f"the C compiler did not run: {error}") from error
    if done.returncode or not target.exists():
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[:8])
        raise CannotBuild(
            f"the C compiler failed ({Path(compiler.command[0]).name}, exit {done.returncode})",
            why=said,
            hint="set CC to another compiler",
        )
