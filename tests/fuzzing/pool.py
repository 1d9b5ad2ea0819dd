"""Child processes that judge programs, so that a hang or a crash is seen and named."""

from __future__ import annotations

import json
import os
import queue
import selectors
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fuzzing.judge import CRASH, HANG, Verdict

SERVE = """\
import json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from {module} import {function} as work
for line in sys.stdin:
    out.write(json.dumps(work(*json.loads(line))) + "\\n")
    out.flush()
"""
ENOUGH = 400  # jobs after which a process is replaced: what it keeps in memory grows


class Child:
    """One process that does jobs, one at a time."""

    def __init__(self, module: str, function: str, start: float = 60) -> None:
        self.start_limit = start
        self.code = SERVE.format(module=module, function=function)
        self.process: subprocess.Popen[str] | None = None
        self.done = 0

    def start(self) -> subprocess.Popen[str]:
        """Return the process, started if there is none."""
        if self.process is None:
            folder = str(Path(__file__).parents[1])
            paths = [folder, os.environ.get("PYTHONPATH", "")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
            environment.setdefault("OMP_NUM_THREADS", "1")
            self.errors = tempfile.TemporaryFile("w+")
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", self.code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                env=environment,
            )
            self.done = 0
        return self.process

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
            self.errors.close()

    def ask(self, job: tuple[Any, ...], limit: float) -> Any:
        """Return what came of a job, or the verdict that it hangs or crashed."""
        if self.done >= ENOUGH:
            self.stop()
        first = self.process is None
        process = self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as ready:
                ready.register(process.stdout, selectors.EVENT_READ)
                if not ready.select(limit + (self.start_limit if first else 0)):
                    self.stop()
                    return asdict(Verdict(HANG, "", f"no answer in {limit:.0f} s"))
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            code = process.wait()
            self.errors.seek(0)
            said = self.errors.read()[-1500:]
            self.stop()
            return asdict(Verdict(CRASH, "", f"the process ended with {code}\n{said}"))
        self.done += 1
        return json.loads(answer)


def answers(
    function: Callable[..., Any], jobs: Iterable[tuple[Any, ...]], workers: int, limit: float
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield each job with what came of it, in the order in which they end."""
    waiting: queue.Queue[tuple[Any, ...]] = queue.Queue()
    for job in jobs:
        waiting.put(job)
    total = waiting.qsize()
    ended: queue.Queue[tuple[tuple[Any, ...], Any]] = queue.Queue()
    over = threading.Event()

    def work() -> None:
        child = Child(function.__module__, function.__name__)
        while not over.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                break
            ended.put((job, child.ask(job, limit)))
        child.stop()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(total):
            yield ended.get()
    finally:
        over.set()
        for thread in threads:
            thread.join()
