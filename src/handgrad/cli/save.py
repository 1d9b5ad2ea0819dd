"""Write an emitted file whole or not at all, and never over what a person wrote."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from handgrad.errors import BadInput
from handgrad.escape import escaped, escaped_source

SIGNATURE = b"Written by handgrad"
HEAD = 4096  # bytes; the signature stands in the docstring at the top


def save(text: str, path: Path, *, source: Path, force: bool) -> None:
    """Write a text to a file by way of a temporary file beside it.

    Args:
        text: what to write.
        path: the file; one that is there is replaced if handgrad wrote it, or by force.
        source: the file with the forward pass, never replaced.
        force: replace whatever file is there.

    Raises:
        BadInput: the path is a directory or the source, its folder is missing, the file is not
            handgrad's, or it cannot be written.
    """
    refuse(path, source, force)
    text = printable(text, path, source)
    place = path.resolve()  # what a link points to, not the link
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(temporary).chmod(mode_of(place))
        Path(temporary).replace(place)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise BadInput(
            f"{path} cannot be written",
            why=error.strerror or str(error),
            hint="name another file with --output",
        ) from error


def printable(text: str, path: Path, source: Path) -> str:
    """Return the text of a file with what is not printable escaped.

    Raises:
        BadInput: the text is Python and would mean something else so.
    """
    found = escaped_source(text) if path.suffix == ".py" else escaped(text)
    if found is None:
        raise BadInput(
            "a raw string holds control characters",
            where=str(source),
            hint="write them as escapes in a string that is not raw: `\\x1b`",
        )
    return found


def refuse(path: Path, source: Path, force: bool) -> None:
    """Refuse a path that must not be written.

    Raises:
        BadInput: it must not.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a directory", hint=f"--output {path / 'backward.py'}")
    if not path.resolve().parent.is_dir():
        raise BadInput(
            f"there is no folder {path.parent}", hint="make the folder, or name another file"
        )
    if not path.exists():
        return
    if path.samefile(source):
        raise BadInput(
            f"{path} is the forward pass itself", hint="--output backward.py, a file of its own"
        )
    if not force and not written_by_handgrad(path):
        raise BadInput(
            f"{path} is there already, and handgrad did not write it",
            hint="name another file, or replace it with --force",
        )


def written_by_handgrad(path: Path) -> bool:
    """Tell whether a file bears the signature of an emitted one."""
    try:
        with path.open("rb") as file:
            return path.is_file() and SIGNATURE in file.read(HEAD)
    except OSError:
        return False


def mode_of(path: Path) -> int:
    """Return the permissions for a file: those it has, or those that a new one gets."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
