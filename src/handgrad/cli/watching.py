"""`handgrad watch`: check again whenever the file is saved."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import threading
import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from handgrad.check.frame import Checked
from handgrad.check.sandbox import Limits, Sandbox, Target, concluded
from handgrad.cli.checking import Forward, Memory, Only, Time, chosen, limited, narrowed
from handgrad.cli.options import Debug, NoColor
from handgrad.cli.screen import console, is_terminal, write
from handgrad.errors import BadInput, HandgradError, UserCodeFailed
from handgrad.render.rechecks import Recheck, plain

STEP = 50  # milliseconds of quiet after a save

File = Annotated[
    str, typer.Argument(metavar="FILE[:FUNCTION]", show_default=False, help="The file to watch.")
]


def watch(
    file: File,
    forward: Forward = None,
    only: Only = None,
    time: Time = 60.0,
    memory: Memory = 4.0,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Check again on every save: h shows hints, d where a gradient is wrong, q ends it."""
    target, limits = chosen(file, forward, None), limited(time, memory)
    for name in paths(target):
        if not name.is_file():
            raise BadInput(f"no such file: {name}", hint="check the path")
    watcher = Watcher(target, limits, only or [])
    try:
        if is_terminal(sys.stdout) and is_terminal(sys.stdin):
            with keyboard() as read, Screen(no_color) as screen:
                watcher.run(screen.draw, read)
        else:
            watcher.run(written, None)
    finally:
        watcher.close()
    if watcher.shown is not None and is_terminal(sys.stdout):
        write(watcher.shown.last_word())


def paths(target: Target) -> list[Path]:
    """Return the files of a target."""
    from handgrad.cli.checking import split

    return [Path(split(name)[0]) for name in (target.backward, target.forward) if name]


@dataclass(eq=False)
class Watcher:
    """Runs a check at every change, and shows each result.

    Attributes:
        target: what is checked.
        limits: what it may use.
        only: the gradients to show, all if empty.
        shown: the last result, with how it is to be shown.
    """

    target: Target
    limits: Limits
    only: list[str]
    shown: Recheck | None = None
    sandbox: Sandbox | None = None
    asked: int = 0
    began: float = 0.0
    contents: tuple[bytes | None, ...] = ()
    ended: threading.Event = field(default_factory=threading.Event)
    wake: tuple[int, int] = field(default_factory=os.pipe)

    def run(self, draw: Callable[[Recheck], None], read: Callable[[], str] | None) -> None:
        """Check and show until `q`.

        Args:
            draw: shows a result.
            read: returns what was typed; None where nothing can be.
        """
        threading.Thread(target=self.notice, daemon=True).start()
        signal.signal(signal.SIGWINCH, lambda *_: os.write(self.wake[1], b"w"))
        self.shown = Recheck(self.target.backward, keys=read is not None)
        self.ask()
        while True:
            draw(self.shown)
            sources: list[Any] = [self.wake[0], *([sys.stdin] if read else [])]
            sources += [self.sandbox.control] if self.sandbox else []
            ready, _, _ = select.select(sources, [], [])
            if self.sandbox is not None and self.sandbox.control in ready:
                self.hear()
            if self.wake[0] in ready and b"c" in os.read(self.wake[0], 4096):
                self.again()
            if read is not None and sys.stdin in ready and not self.typed(read()):
                return

    def notice(self) -> None:
        """Write to the wake pipe whenever a file is saved, also by renaming another to it."""
        from watchfiles import watch as changes

        files = [each for path in paths(self.target) for each in {path.absolute(), path.resolve()}]
        names = {file.name for file in files}
        folders = {file.parent for file in files}
        for _ in changes(
            *folders,
            watch_filter=lambda _, path: Path(path).name in names,
            stop_event=self.ended,
            recursive=False,
            step=STEP,
            debounce=4 * STEP,
            raise_interrupt=False,
        ):
            with contextlib.suppress(OSError):
                os.write(self.wake[1], b"c")

    def again(self) -> None:
        """Check again if the files hold something else than before."""
        if self.target.contents() != self.contents:
            self.ask()

    def ask(self) -> None:
        """Start a check, calling off the one that is running."""
        assert self.shown is not None
        self.contents = self.target.contents()
        self.began = clock.monotonic()
        self.sandbox = self.sandbox or Sandbox(warm=True)
        self.asked = self.sandbox.submit(self.target, self.limits)
        self.shown.busy = True

    def hear(self) -> None:
        """Take up what the keeper says; start another where it is gone."""
        assert self.sandbox is not None
        assert self.shown is not None
        try:
            answers = self.sandbox.answers()
        except UserCodeFailed as error:
            self.sandbox.close()
            self.sandbox = None
            return self.shown.take(error, "", clock.monotonic() - self.began)
        for answer in answers:
            if answer["id"] == self.asked:
                seconds = clock.monotonic() - self.began
                self.shown.take(self.result(answer), answer["output"], seconds)
        return None

    def result(self, answer: dict[str, Any]) -> Checked | HandgradError:
        """Return the result or the error in an answer."""
        try:
            found = concluded(self.target, self.limits, answer, self.contents)
            return narrowed(found, self.only)
        except HandgradError as error:
            return error

    def typed(self, keys: str) -> bool:
        """Do what a key asks for; tell whether to go on."""
        assert self.shown is not None
        for key in keys.lower():
            if key == "h":
                self.shown.hints = not self.shown.hints
            elif key == "d":
                self.shown.pictures = not self.shown.pictures
            elif key in ("q", "\x04"):
                return False
        return True

    def close(self) -> None:
        """End the keeper and the thread."""
        self.ended.set()
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        if self.sandbox is not None:
            self.sandbox.close()


def written(shown: Recheck) -> None:
    """Write a finished check to a pipe."""
    if not shown.busy:
        write(plain(shown))
        sys.stdout.flush()


@contextmanager
def keyboard() -> Iterator[Callable[[], str]]:
    """Read single keys, unseen; the terminal is as it was afterwards."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        now = termios.tcgetattr(descriptor)
        now[6][termios.VSUSP] = b"\0"  # a stopped process would leave the screen as it is
        termios.tcsetattr(descriptor, termios.TCSADRAIN, now)
        yield lambda: os.read(descriptor, 64).decode("ascii", "replace") or "q"
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


class Screen:
    """A screen of its own, drawn over and over, gone at the end; SIGTERM and SIGHUP end it too."""

    def __init__(self, no_color: bool) -> None:
        self.console = console(sys.stdout, no_color)
        self.before: dict[int, Any] = {}

    def __enter__(self) -> Screen:
        for number in (signal.SIGTERM, signal.SIGHUP):
            self.before[number] = signal.signal(number, leave)
        sys.stdout.write("\x1b[?1049h\x1b[?25l")
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            sys.stdout.write("\x1b[?25h\x1b[?1049l")
            sys.stdout.flush()
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def draw(self, shown: Recheck) -> None:
        """Draw a result over what there is."""
        size = shutil.get_terminal_size()
        self.console.size = (size.columns, size.lines)  # pyright: ignore[reportAttributeAccessIssue]
        with self.console.capture() as captured:
            self.console.print(shown.rich(size.lines))
        lines = captured.get().rstrip("\n").split("\n")
        if len(lines) > size.lines:
            lines = [*lines[: size.lines - 2], "... a taller terminal shows more", lines[-1]]
        sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines).rstrip("\n"))
        sys.stdout.write("\x1b[J")
        sys.stdout.flush()


def leave(number: int, _: object) -> None:
    """End the process as a signal would, but by the way that puts the terminal in order.

    Raises:
        SystemExit: always.
    """
    raise SystemExit(128 + number)
