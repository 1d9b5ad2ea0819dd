"""Write several files of one folder together, and never over what a person wrote."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from handgrad.cli.save import mode_of, written_by_handgrad
from handgrad.errors import BadInput

ELSEWHERE = "name another folder with --output"


def refuse_folder(folder: Path, names: Iterable[str]) -> None:
    """Refuse, before any work is done, a folder that the files could not be written to.

    Raises:
        BadInput: it is a file, may not be written, or has such a file of somebody else's.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise BadInput(f"{there} is a file, not a folder", hint=ELSEWHERE)
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise unwritable(there, error) from error
    for path in (folder / name for name in names):
        if path.exists() and not written_by_handgrad(path):
            raise BadInput(
                f"{path} is there already, and handgrad did not write it", hint=ELSEWHERE
            )


def save_all(folder: Path, files: Mapping[str, bytes]) -> tuple[Path, ...]:
    """Write files into a folder, made if missing: all beside their places first, then each there.

    Raises:
        BadInput: they cannot be written.
    """
    waiting: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            place = folder / name
            descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            waiting[Path(temporary)] = place
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(temporary).chmod(mode_of(place))
        for temporary, place in waiting.items():
            temporary.replace(place)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        for temporary in waiting:
            temporary.unlink(missing_ok=True)
    return tuple(waiting.values())


def unwritable(folder: Path, error: OSError) -> BadInput:
    """Say that a folder cannot be written to, and why."""
    why = error.strerror or str(error)
    return BadInput(f"{folder} cannot be written to", why=why, hint=ELSEWHERE)
