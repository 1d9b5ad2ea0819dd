"""Check a person's file from outside the process that runs it: start it, wait, make sense of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from handgrad.check.frame import LONGEST, BadFrame, Checked, checked
from handgrad.errors import BadInput, HandgradError, Undecided, UserCodeFailed

GIB = 2**30
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH", "LD_LIBRARY_PATH", "TZ")
LARGEST = 16 * 2**20  # bytes of one answer
SIGNALS = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "arithmetic error",
    signal.SIGILL: "illegal instruction",
    signal.SIGKILL: "killed, by itself or for want of memory",
    signal.SIGXCPU: "out of processor time",
}


@dataclass(frozen=True)
class Limits:
    """What a person's file may use.

    Attributes:
        seconds: of wall time, importing torch not counted.
        memory: bytes of address space.
    """

    seconds: float = 60.0
    memory: int = 4 * GIB


@dataclass(frozen=True)
class Target:
    """What is to be checked.

    Attributes:
        backward: the file with the backward pass, as the person named it.
        forward: the file or `FILE:FUNCTION` with the forward pass, where that is another.
    """

    backward: str
    forward: str | None = None

    def absolute(self) -> tuple[str, str | None]:
        """Return both, from the root."""
        forward = None if self.forward is None else from_root(self.forward)
        return from_root(self.backward), forward

    def named(self, text: str) -> str:
        """Return a text with the files called as the person called them."""
        for given in filter(None, (self.forward, self.backward)):
            text = text.replace(from_root(given), given)
        return text

    def contents(self) -> tuple[bytes | None, ...]:
        """Return what the files hold, None where they cannot be read."""
        return tuple(map(content, filter(None, (self.backward, self.forward))))


def from_root(name: str) -> str:
    """Return a path from the root, with its links and its `:FUNCTION` kept."""
    return os.path.normpath(os.path.join(os.getcwd(), name))  # noqa: PTH109, PTH118


def content(name: str) -> bytes | None:
    """Return a small file's bytes."""
    try:
        path = Path(name)
        return path.read_bytes() if path.is_file() and path.stat().st_size < LARGEST else None
    except OSError:
        return None


class Sandbox:
    """A keeper process: runs files one after the other, each in a process forked for it.

    Args:
        warm: import torch at once, so that the checks after it are quick.
    """

    def __init__(self, *, warm: bool = False) -> None:
        self.folder = tempfile.mkdtemp(prefix="handgrad-")
        self.control, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "handgrad.check.child"]
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), self.folder, *(["--warm"] if warm else [])],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=environment(self.folder),
                start_new_session=True,
            )
        self.waiting = b""
        self.count = 0

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the keeper and all that it started, and remove its folder."""
        self.control.close()  # that is its sign to end
        try:
            self.process.wait(5)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def submit(self, target: Target, limits: Limits) -> int:
        """Ask for a check, calling off the one that is running; return its number."""
        self.count += 1
        backward, forward = target.absolute()
        request = {
            "id": self.count,
            "target": backward,
            "forward": forward,
            "time": limits.seconds,
            "memory": limits.memory,
            "called_from": str(Path.cwd()),
        }
        try:
            self.control.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise lost() from error
        return self.count

    def answers(self) -> list[dict[str, Any]]:
        """Read what there is to read and return the answers in it; waits if there is nothing.

        Raises:
            UserCodeFailed: the keeper is gone.
        """
        try:
            data = self.control.recv(2**20)
        except ConnectionError:
            data = b""
        if not data or len(self.waiting) > LARGEST:
            raise lost()
        *lines, self.waiting = (self.waiting + data).split(b"\n")
        return [found for found in map(json.loads, lines) if "id" in found]

    def wait(self, number: int, limits: Limits) -> dict[str, Any]:
        """Wait for the answer to a request.

        Raises:
            UserCodeFailed: the keeper is gone or says nothing.
        """
        until = time.monotonic() + limits.seconds + 90  # the keeper's own limits come first
        while time.monotonic() < until:
            ready, _, _ = select.select([self.control], [], [], 1.0)
            for answer in self.answers() if ready else []:
                if answer["id"] == number:
                    return answer
        raise lost()


def environment(folder: str) -> dict[str, str]:
    """Return the few variables that a person's file gets."""
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # a device's address space is larger than any limit on memory
    return {**passed, **threads, "HOME": folder, "TMPDIR": folder, "CUDA_VISIBLE_DEVICES": ""}


def lost() -> UserCodeFailed:
    """Say that the process that watches over the file is gone."""
    return UserCodeFailed(
        "the process that ran the file was ended from inside or outside",
        hint="run it again; `--no-sandbox` runs the file without limits",
    )


def check_apart(
    target: Target,
    limits: Limits,
    sandbox: Sandbox | None = None,
    printed: Callable[[str], object] = str,
    meanwhile: Callable[[], object] = int,
) -> Checked:
    """Check a file in a process of its own.

    Args:
        target: the file.
        limits: what it may use.
        sandbox: a keeper that is there already; by default one for this check.
        printed: gets what the file printed, also when there is no result.
        meanwhile: called once the check is on its way.

    Raises:
        HandgradError: there is no report, and why.
    """
    with contextlib.ExitStack() as stack:
        keeper = sandbox or stack.enter_context(Sandbox())
        before = target.contents()
        number = keeper.submit(target, limits)
        meanwhile()
        answer = keeper.wait(number, limits)
    printed(answer["output"])
    return concluded(target, limits, answer, before)


def concluded(
    target: Target, limits: Limits, answer: Mapping[str, Any], before: tuple[bytes | None, ...]
) -> Checked:
    """Return the result in a keeper's answer.

    Raises:
        HandgradError: there is none.
    """
    frame = answer["frame"]
    try:
        if answer["ending"] != "frame" or frame["kind"] == "large":
            raise stopped(target, limits, answer)
        if frame["kind"] != "report":
            raise failure(target, frame)
        found = checked(frame)
    except BadFrame as error:
        raise UserCodeFailed(
            f"what came back from the file's process is no result: {error}",
            where=target.backward,
            hint="does the file change torch or handgrad?",
        ) from error
    unchanged = before == target.contents()
    notes = () if unchanged else ("the file changed while it ran: this is about what it was",)
    return Checked(found.report, found.pictures, answer["output"], notes)


def failure(target: Target, frame: Mapping[str, Any]) -> HandgradError:
    """Return the error in a frame."""
    parts = {key: str(frame.get(key, ""))[:LONGEST] for key in ("what", "where", "why", "try")}
    if frame["kind"] == "bug":
        found = HandgradError(
            f"a bug in handgrad: {parts['what']}",
            where=target.backward,
            hint="run it again with --debug, and report what that prints",
        )
        found.__cause__ = RuntimeError(str(frame.get("traceback", ""))[:LONGEST])
        return found
    kinds = {2: BadInput, 3: UserCodeFailed, 5: Undecided}
    kind = kinds.get(frame.get("code", 4), HandgradError)
    what, where, why, hint = map(target.named, parts.values())
    return kind(what, where=where, why=why, hint=hint)


def stopped(target: Target, limits: Limits, answer: Mapping[str, Any]) -> UserCodeFailed:
    """Say what ended a file before there was a result, and at which line."""
    line = line_of(target, answer["places"])
    what, hint = ending(limits, answer)
    if answer["ending"] == "gone" and answer["status"] in (0, *range(1, 256)):
        line = line or line_with(target, "_exit(")
    source = source_line(target, line)
    where = f"{target.backward}:{line}" if line else target.backward
    return UserCodeFailed(what, where=where, why=source, hint=hint)


def ending(limits: Limits, answer: Mapping[str, Any]) -> tuple[str, str]:
    """Return what ended a file, and what to do about it."""
    seconds = f"{limits.seconds:g} s"
    kept = "only that much is let through; print less"
    told = {
        "time": (f"stopped after {seconds}, here", "--time SECONDS gives it longer"),
        "output": (f"stopped: it printed {answer['printed'] / 1e6:,.0f} MB", kept),
        "processes": ("stopped: it started more than 64 processes", "start fewer"),
        "frame": ("its result is too large to be told", "check fewer gradients at a time"),
        "cancelled": ("called off", ""),
        "judge": ("the process that judges was ended from outside", "run it again"),
    }
    if answer["ending"] in told:
        return told[answer["ending"]]
    status = answer["status"]
    if status is not None and status < 0:
        return by_signal(-status), "mend the line, or leave it out"
    exits = f"the process ended itself with exit status {status} before the check was done"
    return exits, "leave os._exit out"


def by_signal(number: int) -> str:
    """Name the signal that ended a process."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    word = SIGNALS.get(number)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return f"ended by {name}" + (f" ({word})" if word else "")


def line_of(target: Target, places: str) -> int:
    """Return the line of the person's file that faulthandler told of, 0 if it told of none."""
    for given in filter(None, (target.backward, target.forward)):
        whole = from_root(given).encode("ascii", "backslashreplace").decode()
        # faulthandler cuts long names short
        found = re.search(rf'File "{re.escape(whole[:490])}[^"\n]*"?.*?, line (\d+)', places)
        if found:
            return int(found[1])
    return 0


def line_with(target: Target, text: str) -> int:
    """Return the first line of the file that has a text in it, 0 if none has."""
    lines = (content(target.backward) or b"").decode("utf-8", "replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if text in line), 0)


def source_line(target: Target, number: int) -> str:
    """Return a line of the file."""
    lines = (content(target.backward) or b"").decode("utf-8", "replace").splitlines()
    return lines[number - 1].strip() if 0 < number <= len(lines) else ""
