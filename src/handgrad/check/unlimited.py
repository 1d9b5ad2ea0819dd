"""Check a file with all the rights that the person has: the two processes of a check, no limits.

One runs the file where the command was called, with its terminal and its environment; the other
judges, as ever, so that the verdict is the one that the sandbox gives.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from contextlib import redirect_stdout, suppress
from typing import Any

from handgrad.check.frame import Checked, loads
from handgrad.check.sandbox import Limits, Target, concluded
from handgrad.check.worker import PARENT_DEATH, load, prctl, send

LIMITS = Limits(float("inf"), 2**62)
GRACE = 0.5  # seconds in which the judge may still speak when the file's process is gone


def check_here(target: Target) -> Checked:
    """Check a file in a process with the rights and the surroundings of this one.

    Raises:
        HandgradError: there is no report, and why.
    """
    load()
    backward, forward = target.absolute()
    request = {"target": backward, "forward": forward, "memory": LIMITS.memory, "folder": "."}
    before = target.contents()
    asked, asking = socket.socketpair()
    frames, telling = os.pipe()
    sys.stdout.flush()
    children = [fork(lambda: evaluate(request, asked, (asking, frames, telling)))]
    try:
        children.append(fork(lambda: judge(request, asking, telling, (asked, frames))))
        for end in (asked, asking):
            end.close()
        os.close(telling)
        told, status = heard(frames, children[0])
    finally:
        os.close(frames)
        for child in children:
            end_one(child)
    answer = {"ending": "frame" if told else "gone", "frame": told, "status": status}
    return concluded(target, LIMITS, {**answer, "places": "", "output": "", "printed": 0}, before)


def fork(work: Any) -> int:
    """Do work in another process, which ends with it; return that one's number."""
    child = os.fork()
    if child:
        return child
    prctl(PARENT_DEATH, signal.SIGKILL)
    try:
        work()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(0)


def evaluate(request: dict[str, Any], line: socket.socket, others: tuple[Any, ...]) -> None:
    """Run the file, and answer what the judge asks; what the file prints goes to stderr."""
    close(others)
    from handgrad.check.evaluator import Evaluator
    from handgrad.check.talk import Ended, Talk

    with redirect_stdout(sys.stderr), suppress(Ended, KeyboardInterrupt):
        Evaluator(request, Talk(line, request["memory"])).serve()


def judge(request: dict[str, Any], line: socket.socket, frames: int, others: Any) -> None:
    """Judge the file, and tell what came of it."""
    close(others)
    from handgrad.check.judging import verdict
    from handgrad.check.talk import Ended, Talk

    with suppress(Ended, KeyboardInterrupt):
        send(frames, {**verdict(request, Talk(line, request["memory"])), "nonce": ""})


def close(ends: tuple[Any, ...]) -> None:
    """Close the ends of the lines between other processes."""
    for end in ends:
        os.close(end) if isinstance(end, int) else end.close()


def heard(frames: int, file: int) -> tuple[dict[str, Any] | None, int | None]:
    """Wait for the judge's frame; without one, return how the process of the file ended."""
    data = b""
    gone = False
    while True:
        ready, _, _ = select.select([frames], [], [], GRACE)
        if ready:
            more = os.read(frames, 2**20)
            data += more
            if more:
                continue
            found = [told for told in map(loads, data.split(b"\n")) if told]
            return (found[0] if found else None), None if found else ended(file)
        if gone:
            return None, ended(file)
        gone = os.waitid(os.P_PID, file, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def ended(child: int) -> int | None:
    """Return how a process ended, None where it has not."""
    found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def end_one(child: int) -> None:
    """End a process that is still there, and forget it."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
