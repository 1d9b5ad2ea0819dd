"""The keeper: starts the two processes of a check, reads what they say, ends them whole."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handgrad.check.frame import LARGEST, loads
from handgrad.check.worker import DUMPABLE, PROCESSES, evaluate, judge, load, prctl

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
KEPT = 64 * 2**10  # bytes of output kept at the start, and as many at the end
PRINTED = 100 * 2**20  # bytes of output after which the file's process is killed
GRACE = 0.3  # seconds after the limit in which the file's process says where it stands
LAST = 0.5  # seconds in which the judge may still speak when the file's process is gone
TICK = 0.05


@dataclass
class Output:
    """The first and the last bytes of what was printed, and how many there were."""

    head: bytes = b""
    tail: bytes = b""
    count: int = 0

    def add(self, data: bytes) -> None:
        """Take up more bytes."""
        self.count += len(data)
        room = KEPT - len(self.head)
        self.head, data = self.head + data[:room], data[room:]
        self.tail = (self.tail + data)[-KEPT:]

    def text(self) -> str:
        """Return what was kept, with a word on what was not."""
        left_out = self.count - len(self.head) - len(self.tail)
        gap = f"\n... {left_out:,} bytes left out ...\n" if left_out else ""
        shown = (part.decode("utf-8", "backslashreplace") for part in (self.head, self.tail))
        return gap.join(shown)


@dataclass
class Heard:
    """What the processes of one check said so far.

    Attributes:
        nonce: what the judge's frames have in them, which nobody else knows.
        output: the file's stdout and stderr.
        places: faulthandler's words on where the file stood.
        waiting: a frame that is not complete.
        frame: the result.
    """

    nonce: str
    output: Output = field(default_factory=Output)
    places: bytes = b""
    waiting: bytes = b""
    frame: dict[str, Any] | None = None

    def add_frames(self, data: bytes) -> None:
        """Take up bytes of frames; lines without the nonce are none."""
        *lines, self.waiting = (self.waiting + data).split(b"\n")
        self.waiting = self.waiting[-LARGEST:]
        for line in lines:
            found = loads(line)
            if found is None or found.pop("nonce", None) != self.nonce:
                continue
            if self.frame is None:
                self.frame = found


def main() -> None:
    """Serve requests until the control socket closes."""
    control = socket.socket(fileno=int(sys.argv[1]))
    folder = Path(sys.argv[2])
    prctl(SUBREAPER, 1)
    prctl(DUMPABLE, 0)
    os.umask(0o077)
    try:
        if "--warm" in sys.argv:
            warm_up()
        serve(control, folder)
    finally:
        end_all()
        shutil.rmtree(folder, ignore_errors=True)


def warm_up() -> None:
    """Import torch and check a small file, so that every fork finds it done."""
    load()
    from handgrad.check.ways import file_judge, reported

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warm.py"
        path.write_text(WARM, encoding="utf-8")
        reported(file_judge(str(path)))


WARM = """\
import torch
import torch.nn.functional as F
x = torch.ones(2, 3)
W = torch.ones(3, 2).requires_grad_()
h = torch.tanh(x @ W)
p = h.exp() / h.exp().sum(1, keepdim=True)
loss = -p.log()[range(2), [0, 1]].mean()
dh = torch.zeros_like(h)
dW = x.T @ ((1 - h**2) * dh)
"""


def serve(control: socket.socket, folder: Path) -> None:
    """Answer requests one after the other."""
    control.sendall(b'{"ready": true}\n')
    waiting = b""
    while True:
        data = control.recv(65536)
        if not data:
            return
        waiting += data
        while b"\n" in waiting:
            line, _, waiting = waiting.partition(b"\n")
            request = json.loads(line)
            if "target" in request:
                control.sendall(json.dumps(answer(control, folder, request)).encode() + b"\n")


def answer(control: socket.socket, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Check one file, from the start of its processes to the end of all that they started."""
    load()
    gc.freeze()  # what both processes share is not looked through, and so not copied
    own = tempfile.mkdtemp(dir=folder)
    heard = Heard("")
    request = {**request, "folder": own}
    frames, places, output = os.pipe(), os.pipe(), os.pipe()
    pipes = {frames[0]: heard.add_frames, output[0]: heard.output.add}
    pipes[places[0]] = lambda data: setattr(heard, "places", (heard.places + data)[:KEPT])
    try:
        both = start(request, heard, frames[1], places[1], output[1])
        ending = listen(control, both, heard, pipes, request)
        status = end_all().get(both[0])
        drain(pipes)
    finally:
        for pipe in pipes:
            os.close(pipe)
        shutil.rmtree(own, ignore_errors=True)
    return {
        "id": request["id"],
        "ending": ending,
        "status": status,
        "frame": heard.frame,
        "places": heard.places.decode("utf-8", "replace"),
        "output": heard.output.text(),
        "printed": heard.output.count,
    }


def start(
    request: Mapping[str, Any], heard: Heard, frames: int, places: int, output: int
) -> tuple[int, int]:
    """Fork the process that runs the file and the one that judges it."""
    sys.stdout.flush()
    asked, asking = socket.socketpair()
    file = os.fork()
    if not file:
        evaluate(request, asked, places, output)
    heard.nonce = secrets.token_hex(16)  # the file's process does not have it in its memory
    judging = os.fork()
    if not judging:
        judge(request, asking, frames, heard.nonce)
    for end in (frames, places, output):
        os.close(end)
    asked.close()
    asking.close()
    return file, judging


def listen(
    control: socket.socket,
    both: tuple[int, int],
    heard: Heard,
    pipes: Mapping[int, Any],
    request: Mapping[str, Any],
) -> str:
    """Read what is said until there is a result, or no hope of one; say which."""
    now = look = time.monotonic()
    deadline = now + request["time"] + GRACE
    last = float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        for pipe in pipes:
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(TICK):
                if key.fileobj is control:
                    return "cancelled"  # something came, or nobody listens any more
                if not take(key.fd, pipes[key.fd]):
                    selector.unregister(key.fd)
            now = time.monotonic()
            if heard.frame is not None:
                return "frame"
            if heard.output.count > PRINTED:
                return "output"
            if now > deadline:
                return "time"
            if now - look > 4 * TICK:
                look = now
                if len(descendants()) > PROCESSES:
                    return "processes"
            if gone(both[0]) or gone(both[1]):
                drain(pipes)
                last = min(last, now + LAST)
                if heard.frame is None and now > last:
                    return "gone" if gone(both[0]) else "judge"


def take(pipe: int, add: Any) -> bool:
    """Read what a pipe holds; tell whether there can be more."""
    try:
        data = os.read(pipe, 2**20)
    except BlockingIOError:
        return True
    add(data)
    return bool(data)


def drain(pipes: Mapping[int, Any]) -> None:
    """Read what is left in pipes whose writers are gone."""
    for pipe, add in pipes.items():
        os.set_blocking(pipe, False)
        for _ in range(64):
            with contextlib.suppress(BlockingIOError):
                data = os.read(pipe, 65536)
                add(data)
                if data:
                    continue
            break


def gone(worker: int) -> bool:
    """Tell whether a process ended; it is not reaped yet."""
    found = os.waitid(os.P_PID, worker, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None


def end_all() -> dict[int, int]:
    """Kill every process below this one, daemons too, and return how each ended."""
    ended: dict[int, int] = {}
    until = time.monotonic() + 10
    while time.monotonic() < until:
        below = descendants()
        for stop in (signal.SIGSTOP, signal.SIGKILL):  # held first: none forks meanwhile
            for process in below:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process, stop)
        if not reap(ended):
            return ended
        time.sleep(0.002)
    return ended


def reap(ended: dict[int, int]) -> bool:
    """Note how children ended; tell whether there are any left."""
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if not process:
            return True
        ended[process] = os.waitstatus_to_exitcode(status)


def descendants() -> list[int]:
    """Return every process below this one that has not ended."""
    parents: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            stat = (process / "stat").read_text(encoding="utf-8", errors="replace")
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents.setdefault(int(parent), []).append(int(process.name))
    found: list[int] = []
    todo = [os.getpid()]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found
