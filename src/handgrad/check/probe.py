"""Measure what a file that is checked could do: a process that is contained as it tries it."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handgrad.check.contain import Contained, contain

NETWORK = ("tcp", "udp")
FILES = ("write", "change", "delete")


@dataclass(frozen=True)
class Measured:
    """What a contained process could do.

    Attributes:
        means: by what it was kept in.
        could: for each thing that was tried, whether it could be done.
    """

    means: Contained
    could: Mapping[str, bool]

    def none_of(self, names: tuple[str, ...]) -> bool:
        """Tell whether none of these could be done."""
        return not any(self.could[name] for name in names)

    @property
    def level(self) -> str:
        """Name what is contained: `network and files`, one of the two, or `limits alone`."""
        found = [
            word for word, names in (("network", NETWORK), ("files", FILES)) if self.none_of(names)
        ]
        return " and ".join(found) or "limits alone"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"level": self.level, "means": asdict(self.means), "could": dict(self.could)}


def measured() -> Measured:
    """Contain a process of its own, let it try, and return what it could do."""
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
        own, outside = map(Path, folders)
        for name in ("read", "change", "delete"):
            (outside / name).write_text(name)
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        letters = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        letters.bind(("127.0.0.1", 0))
        tries = attempts(own, outside, listener.getsockname(), letters.getsockname())
        if not hasattr(os, "fork"):
            return Measured(Contained(), {name: name != "own" for name in tries})
        return in_a_child(own, tries)


def attempts(
    own: Path, outside: Path, tcp: tuple[str, int], udp: tuple[str, int]
) -> dict[str, Callable[[], object]]:
    """Return what is tried: each raises where it cannot be done."""
    parent = os.getpid()

    def connect() -> None:
        with socket.create_connection(tcp, 2):
            pass

    def send() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as made:
            made.sendto(b"x", udp)

    return {
        "tcp": connect,
        "udp": send,
        "write": lambda: (outside / "made").write_text("x"),
        "change": lambda: (outside / "change").write_text("x"),
        "delete": lambda: (outside / "delete").unlink(),
        "signal": lambda: os.kill(parent, 0),
        "read": lambda: (outside / "read").read_text(),
        "own": lambda: (own / "made").write_text("x"),
    }


def in_a_child(own: Path, tries: Mapping[str, Callable[[], object]]) -> Measured:
    """Return what a contained process could do; all of it where it says nothing."""
    answer, telling = os.pipe()
    child = os.fork()
    if not child:
        try:
            means = asdict(contain(str(own)))
            could = {name: done(attempt) for name, attempt in tries.items()}
            os.write(telling, json.dumps([means, could]).encode())
        finally:
            os._exit(0)
    os.close(telling)
    with os.fdopen(answer, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    if not data:
        return Measured(Contained(), dict.fromkeys(tries, True))
    means, could = json.loads(data)
    return Measured(Contained(**means), could)


def done(attempt: Callable[[], object]) -> bool:
    """Tell whether something can be done."""
    try:
        attempt()
    except OSError:
        return False
    return True
