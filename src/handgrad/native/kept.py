"""Facts kept in the cache folder, each in a file with its checksum: there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from handgrad.native import cpu
from handgrad.native.build import cache_folder

# what decides how a program is traced and lowered
PARTS = ("ops", "trace", "derive", "simplify", "native", "nn")
FILES = ("ir.py", "index.py", "spell.py")


def hashed(text: str) -> str:
    """Return a checksum."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def machine() -> str:
    """Return what tells this CPU's instructions, and the vectors in use, from another's."""
    return f"{cpu.facts()}\n{cpu.vectors().name}"


@cache
def version() -> str:
    """Return what changes when torch, or the program that makes plans, does."""
    folder = Path(__file__).parents[1]
    found = [fact(entry) for entry in os.scandir(folder) if entry.name in FILES]
    for part in PARTS:
        found += [f"{part} {each}" for each in facts_in(folder / part)]
    return hashed("\n".join([torch.__version__, *sorted(found)]))


def facts_in(folder: str | Path) -> Iterator[str]:
    """Yield what changes when a source file below a folder does."""
    for entry in os.scandir(folder):
        if entry.name.endswith((".py", ".h")):
            yield fact(entry)
        elif entry.is_dir() and entry.name != "__pycache__":
            yield from (f"{entry.name} {each}" for each in facts_in(entry.path))


def fact(entry: os.DirEntry[str]) -> str:
    """Return what changes when a file does."""
    facts = entry.stat()
    return f"{entry.name} {facts.st_size} {facts.st_mtime_ns}"


def load(name: str) -> Any:
    """Return what is kept under a name, None if nothing is or it is damaged."""
    try:
        text = (cache_folder() / name).read_text(encoding="utf-8")
        checksum, _, body = text.partition("\n")
        return json.loads(body) if checksum == hashed(body) else None
    except (OSError, ValueError):
        return None


def keep(name: str, data: Any) -> None:
    """Keep plain data; where that cannot be, the next start makes it again."""
    body = json.dumps(data)
    fresh = ""
    try:
        folder = cache_folder()
        handle, fresh = tempfile.mkstemp(dir=folder, prefix="new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{hashed(body)}\n{body}")
        Path(fresh).replace(folder / name)
    except OSError:
        if fresh:
            Path(fresh).unlink(missing_ok=True)
