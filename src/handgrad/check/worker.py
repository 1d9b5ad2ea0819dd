"""The two processes of a check: one runs the person's file within limits, the other judges it."""

from __future__ import annotations

import ctypes
import faulthandler
import fcntl
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from socket import socket
from typing import Any, TextIO

from handgrad.check.contain import contain
from handgrad.check.frame import LARGEST, dumps

PARENT_DEATH = 1  # PR_SET_PDEATHSIG
DUMPABLE = 4  # PR_SET_DUMPABLE
FAR = 200  # the least number of the descriptor on which the judge is answered
FILE_SIZE = 256 * 2**20  # bytes that one file may get
PROCESSES = 64  # more than there are already


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where the system has it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def evaluate(request: Mapping[str, Any], line: socket, places: int, output: int) -> None:
    """Be the process that runs the person's file: answer what the judge asks, decide nothing."""
    try:
        # out of the way of a file that closes descriptors, or writes to them, by their numbers
        line = socket(fileno=fcntl.fcntl(line.detach(), fcntl.F_DUPFD_CLOEXEC, FAR))
        leave(request["folder"], {line.fileno(), places, output})
        settle(request, output)
        contain(request["folder"])  # while there is one thread
        from handgrad.check.evaluator import Evaluator
        from handgrad.check.talk import Talk

        limit(request)
        faulthandler.enable(places)
        faulthandler.dump_traceback_later(request["time"], file=places)
        Evaluator(request, Talk(line, request["memory"])).serve()
    finally:
        os._exit(0)  # threads, exit handlers and finalizers of the file's are left behind


def judge(request: Mapping[str, Any], line: socket, frames: int, nonce: str) -> None:
    """Be the process that judges: it never runs the person's code, and sends one frame."""
    try:
        leave(request["folder"], {line.fileno(), frames})
        prctl(DUMPABLE, 0)  # nobody looks into it, or writes into its descriptors
        lower(resource.RLIMIT_AS, request["memory"])
        from handgrad.check.judging import verdict
        from handgrad.check.talk import Ended, Talk

        with suppress(Ended):  # the file's process is gone: the keeper tells how
            send(frames, {**verdict(request, Talk(line, request["memory"])), "nonce": nonce})
    finally:
        os._exit(0)


def leave(folder: str, kept: set[int]) -> None:
    """Become a process of its own: own group, own folder, no descriptors but its own."""
    os.setsid()
    prctl(PARENT_DEATH, signal.SIGKILL)
    prctl(DUMPABLE, 1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    close_others({0, 1, 2, *kept})
    os.chdir(folder)


def send(frames: int, data: Mapping[str, Any]) -> None:
    """Write one frame."""
    whole = dumps(data)
    if len(whole) > LARGEST:
        whole = dumps({"kind": "large", "nonce": data["nonce"]})
    while whole:
        whole = whole[os.write(frames, whole) :]


def settle(request: Mapping[str, Any], output: int) -> None:
    """Give the person's code its own output, home and names, and nothing to read."""
    for number in (1, 2):
        os.dup2(output, number)
    bring_fonts(Path(request["folder"]) / ".matplotlib")
    os.environ.update(HOME=request["folder"], TMPDIR=request["folder"])
    tempfile.tempdir = request["folder"]
    sys.argv = [request["target"]]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = opened(1), opened(2)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.addaudithook(lambda event, args: fetch(request, event, args))


def bring_fonts(folder: Path) -> None:
    """Let Matplotlib draw without a window, its folder this one, with the person's list of fonts.

    Without that list it looks through every font of the system at each check.
    """
    own = os.environ.get("MPLCONFIGDIR")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    lists = Path(own or f"{cache}/matplotlib").glob("fontlist-*.json")
    with suppress(OSError):
        folder.mkdir()
        for path in lists:
            shutil.copyfile(path, folder / path.name)
    os.environ.update(MPLCONFIGDIR=str(folder), MPLBACKEND="Agg")


def opened(descriptor: int) -> TextIO:
    """Return a text stream to a descriptor; it writes whatever text there is."""
    return open(
        descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )


def close_others(kept: set[int]) -> None:
    """Close every descriptor but these: the keeper's own are none of the file's business."""
    opened = [int(entry.name) for entry in Path("/proc/self/fd").glob("*")]
    for descriptor in set(opened) - kept:
        with suppress(OSError):
            os.close(descriptor)


def load() -> None:
    """Import what a check needs, on one thread: the next fork inherits no other."""
    import torch

    for name in ("evaluator", "judging"):
        import_module(f"handgrad.check.{name}")
    torch.set_num_threads(1)


def limit(request: Mapping[str, Any]) -> None:
    """Limit what this process may use from here on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + 4 * request["time"]) + 2
    lower(resource.RLIMIT_CPU, seconds)
    lower(resource.RLIMIT_AS, request["memory"])
    lower(resource.RLIMIT_FSIZE, FILE_SIZE)
    lower(resource.RLIMIT_CORE, 0)
    if os.getuid():  # it does nothing for root
        lower(resource.RLIMIT_NPROC, tasks() + PROCESSES)


def lower(which: int, value: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with suppress(OSError, ValueError):
        resource.setrlimit(which, (value, value))


def tasks() -> int:
    """Return how many threads this user has: what the limit on processes counts."""
    count = 0
    for process in Path("/proc").glob("[0-9]*/task"):
        with suppress(OSError):
            if process.stat().st_uid == os.getuid():
                count += sum(1 for _ in process.iterdir())
    return count


def fetch(request: Mapping[str, Any], event: str, args: tuple[Any, ...]) -> None:
    """Copy a file that is about to be read by a relative name into the worker's folder.

    The name is looked for where the command was called, then beside the person's file, so that
    `open("names.txt")` works as it does outside.
    """
    if event != "open" or not isinstance(args[0], str) or args[0].startswith("/"):
        return
    if not isinstance(args[1], str) or set(args[1]) & set("wax+") or os.path.lexists(args[0]):
        return
    folder = Path(request["folder"])
    place = Path(os.path.normpath(folder / args[0]))
    if Path.cwd() != folder or not place.is_relative_to(folder):
        return
    for beside in (request["called_from"], Path(request["target"]).parent):
        source = Path(beside) / args[0]
        if source.is_file() and source.stat().st_size <= FILE_SIZE:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(source.read_bytes())
            return
