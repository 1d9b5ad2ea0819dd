"""Files that survive a crash: written, forced to the disk, and put in place by one rename."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from handgrad.errors import BadInput

FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL
# What not every system has: no following of links, no line ends changed.
CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
TEMPORARY = ".tmp-"
"""How the names of unfinished files and folders begin."""


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, and force it to the disk."""
    descriptor = os.open(path, FRESH | CAREFUL, 0o666)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it: one call may write less."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to the disk, where the system has that."""
    directory = getattr(os, "O_DIRECTORY", None)
    if directory is None:
        return
    descriptor = os.open(folder, os.O_RDONLY | directory | CAREFUL)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in the place of another, or of none: a crash leaves the one or the other."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    remove(temporary)
    try:
        write_new(temporary, data)
        os.replace(temporary, path)  # noqa: PTH105 - all in this module goes through os
    except OSError:
        with suppress(OSError):
            remove(temporary)
        raise
    sync_folder(path.parent)


def read_bounded(path: Path, limit: int) -> bytes:
    """Return what a plain file holds; never a link's target, never more than the limit.

    Raises:
        OSError: it is not there, not a plain file, a link, or too large.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | CAREFUL)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{path.name} is not a plain file")
        if found.st_size > limit:
            raise OSError(f"{path.name} has {found.st_size:,} bytes, more than {limit:,}")
        return file.read(limit + 1)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there; of a link, the link."""
    if path.is_symlink() or not path.is_dir():
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108
        return
    for each in list(path.iterdir()):
        remove(each)
    os.rmdir(path)  # noqa: PTH106


def refuse_link(path: Path) -> None:
    """Refuse to write where a symbolic link stands.

    Raises:
        BadInput: one does.
    """
    if path.is_symlink():
        raise BadInput(
            f"{path} is a symbolic link",
            why=f"it points to {os.readlink(path)}; a run is written to no other place than named",  # noqa: PTH115
            hint="name the folder itself with --out",
        )


def unwritable(path: Path, error: OSError, kept: str = "") -> BadInput:
    """Say that a run's folder cannot be written to, and why.

    Args:
        path: the folder or file.
        error: what the system said.
        kept: what is there still.
    """
    why = error.strerror or str(error)
    return BadInput(
        f"{path} cannot be written to",
        why="\n".join(filter(None, [why, kept])),
        hint="make room or change the permissions, then go on with --resume",
    )
