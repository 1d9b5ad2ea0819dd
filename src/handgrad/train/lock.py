"""One run at a time in a folder: a lock that the system lets go when its holder dies."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from handgrad.errors import BadInput
from handgrad.train.durable import CAREFUL, read_bounded, write_all

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "lock"
LIMIT = 4096


@dataclass(frozen=True)
class Holder:
    """Who holds or held a lock.

    Attributes:
        pid: the process.
        host: the machine.
        since: in seconds since 1970.
    """

    pid: int
    host: str
    since: float

    def describe(self) -> str:
        """Return process, machine and age in words."""
        minutes, seconds = divmod(max(0, int(time.time() - self.since)), 60)
        hours, minutes = divmod(minutes, 60)
        age = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
        return f"process {self.pid} on {self.host}, started {age} ago"


@contextmanager
def locked(folder: Path) -> Iterator[Holder | None]:
    """Hold a folder's lock; yield who left it behind without letting go, if somebody did.

    Raises:
        BadInput: another run holds it.
        OSError: the file cannot be written.
    """
    path = folder / NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | CAREFUL, 0o666)
    try:
        left = holder(path)
        if taken(descriptor, left):
            raise BadInput(
                f"another run is at work in {folder}",
                why=left.describe() if left else "it holds the lock",
                hint="wait for it, end it, or name another folder with --out",
            )
        mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        rewrite(descriptor, json.dumps(mine).encode())
        try:
            yield left
        finally:
            with suppress(OSError):
                rewrite(descriptor, b"")
    finally:
        os.close(descriptor)  # and with it the lock


def taken(descriptor: int, left: Holder | None) -> bool:
    """Try to take the lock; tell whether somebody has it."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return True
        else:
            return False
    # a file system without locks: all there is to go by is whether the process lives
    return left is not None and left.host == socket.gethostname() and alive(left.pid)


def alive(pid: int) -> bool:
    """Tell whether another process of this number runs."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def holder(path: Path) -> Holder | None:
    """Return who wrote the lock file last, unless that one let go."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(read_bounded(path, LIMIT))
        return Holder(int(found["pid"]), str(found["host"]), float(found["since"]))
    return None


def rewrite(descriptor: int, data: bytes) -> None:
    """Change what the lock file says."""
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write_all(descriptor, data)
