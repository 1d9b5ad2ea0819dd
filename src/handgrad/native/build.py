"""Compile C to a library, and keep it in the user's cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from handgrad.native import cpu
from handgrad.native.compilers import FLAGS, CannotBuild, Compiler, find_compiler, run_compiler

FORMAT = "1"  # changes when what is stored does


@dataclass(frozen=True)
class Library:
    """A compiled file, loaded.

    Attributes:
        handle: the loaded library.
        path: where it lies; it may be gone if it was built in a temporary folder.
        cached: it was found in the cache.
        note: what a person should know, such as that nothing could be cached; empty if nothing.
    """

    handle: ctypes.CDLL
    path: Path
    cached: bool
    note: str = ""


def build(source: str, *, flags: tuple[str, ...] = FLAGS) -> Library:
    """Return the library of a C source, from the cache if it has it.

    The variable HANDGRAD_CFLAGS adds flags of the user's.

    Raises:
        CannotBuild: there is no compiler, it failed, or this processor cannot run what it would
            make.
    """
    refuse_vectors()
    compiler = find_compiler()
    flags = (*flags, *cpu.target(), *os.environ.get("HANDGRAD_CFLAGS", "").split())
    key = key_of(source, flags, compiler)
    try:
        folder = cache_folder()
    except OSError as error:
        return build_aside(source, flags, compiler, f"nothing is cached: {error}")
    found = cached(folder, key)
    if found is not None:
        return Library(found[0], found[1], cached=True)
    try:
        return store(source, flags, compiler, folder, key)
    except OSError as error:
        return build_aside(source, flags, compiler, f"nothing is cached in {folder}: {error}")


def refuse_vectors() -> None:
    """Refuse to load code that this processor does not run.

    Raises:
        CannotBuild: HANDGRAD_VECTORS names vectors that it does not have.
    """
    if not cpu.runs(cpu.vectors()):
        raise CannotBuild(
            f"this processor has no {cpu.vectors().name}, which {cpu.VARIABLE} asks for",
            hint=f"set {cpu.VARIABLE} to nothing",
        )


def key_of(source: str, flags: tuple[str, ...], compiler: Compiler) -> str:
    """Return the name that a library is kept under."""
    facts = (
        FORMAT,
        source,
        "\n".join(flags),
        compiler.identity,
        " ".join(compiler.command),
        cpu.facts(),
    )
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]


def cache_folder() -> Path:
    """Return the folder of libraries, which only the user may read or write.

    Raises:
        OSError: it cannot be made, or belongs to another user.
    """
    from platformdirs import user_cache_path

    folder = user_cache_path("handgrad") / "native"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.stat()
    if hasattr(os, "getuid") and facts.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder


def cached(folder: Path, key: str) -> tuple[ctypes.CDLL, Path] | None:
    """Load a library from the cache; one that is damaged is removed.

    The name of each has the checksum of its bytes.
    """
    for path in sorted(folder.glob(f"{key}-*.so")):
        try:
            if path.stem.partition("-")[2] == checksum(path):
                return ctypes.CDLL(str(path)), path
            path.unlink(missing_ok=True)
        except OSError:
            continue
    return None


def checksum(path: Path) -> str:
    """Return the checksum of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def store(
    source: str, flags: tuple[str, ...], compiler: Compiler, folder: Path, key: str
) -> Library:
    """Compile into the cache: a temporary name first, so that others see it whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as fresh:
        made = compiled(source, flags, compiler, Path(fresh))
        path = folder / f"{key}-{checksum(made)}.so"
        made.replace(path)
        text = Path(fresh) / "step.c"
        text.replace(folder / f"{key}.c")
    return Library(ctypes.CDLL(str(path)), path, cached=False)


def compiled(source: str, flags: tuple[str, ...], compiler: Compiler, folder: Path) -> Path:
    """Compile in a folder; return the library."""
    text, made = folder / "step.c", folder / "step.so"
    text.write_text(source, encoding="utf-8")
    run_compiler(compiler, flags, text, made)
    return made


def build_aside(source: str, flags: tuple[str, ...], compiler: Compiler, note: str) -> Library:
    """Compile in a temporary folder, which goes as soon as the library is loaded.

    Raises:
        CannotBuild: there is no room for it either, or the compiler failed.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="handgrad-"))
    except OSError as error:
        raise CannotBuild(f"no folder to compile in: {error}") from error
    try:
        made = compiled(source, flags, compiler, folder)
        return Library(ctypes.CDLL(str(made)), made, cached=False, note=note)
    except OSError as error:
        raise CannotBuild(f"no folder to compile in: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
