"""A worker: runs a person's file within limits, and says what came of it."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from handgrad.check.frame import LARGEST, dumps

if TYPE_CHECKING:
    from handgrad.check.judge import Judge
    from handgrad.errors import HandgradError

PARENT_DEATH = 1  # PR_SET_PDEATHSIG
FILE_SIZE = 256 * 2**20  # bytes that one file may get
PROCESSES = 64  # more than there are already
TEXT = 4_000  # characters of one message


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, where the system has it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def work(request: Mapping[str, Any], frames: int, places: int, output: int) -> None:
    """Be the worker: run the file, send frames, end."""
    try:
        settle(request, output)
        kept = {0, 1, 2, frames, places}
        close_others(kept)
        load()
        send(frames, request, {"kind": "started"})
        limit(request)
        faulthandler.enable(places)
        faulthandler.dump_traceback_later(request["time"], file=places)
        send(frames, request, found(request))
    except BaseException as error:  # whatever happens, the keeper is told
        with contextlib.suppress(BaseException):
            send(frames, request, bug(error))
    finally:
        os._exit(0)  # threads, exit handlers and finalizers of the file's are left behind


def settle(request: Mapping[str, Any], output: int) -> None:
    """Give this process its own folder, output and group, and nothing to read."""
    os.setsid()
    prctl(PARENT_DEATH, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for given, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(given, number)
    folder = request["folder"]
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    sys.argv = [request["target"]]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = opened(1), opened(2)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.addaudithook(lambda event, args: fetch(request, event, args))


def opened(descriptor: int) -> TextIO:
    """Return a text stream to a descriptor; it writes whatever text there is."""
    return open(
        descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )


def close_others(kept: set[int]) -> None:
    """Close every descriptor but these: the keeper's own are none of the file's business."""
    opened = [int(entry.name) for entry in Path("/proc/self/fd").glob("*")]
    for descriptor in set(opened) - kept:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def load() -> None:
    """Import what a check needs, on one thread: the next fork inherits no other."""
    import torch

    for name in ("byhand", "picture", "ways"):
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
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(which, (value, value))


def tasks() -> int:
    """Return how many threads this user has: what the limit on processes counts."""
    count = 0
    for process in Path("/proc").glob("[0-9]*/task"):
        with contextlib.suppress(OSError):
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


def send(frames: int, request: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Write one frame."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    whole = dumps({**data, "nonce": request["nonce"]})
    if len(whole) > LARGEST:
        whole = dumps({"kind": "large", "nonce": request["nonce"]})
    while whole:
        whole = whole[os.write(frames, whole) :]


def found(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run the file and return the frame of what came of it."""
    from handgrad.errors import HandgradError

    try:
        return {"kind": "report", **result(request["target"], request["forward"])}
    except HandgradError as error:
        return {"kind": "error", **told(in_plain_words(error, request))}
    except MemoryError as error:
        gc.collect()
        return out_of_memory(error, request)
    except SystemExit as error:
        return failed(error, request, f"the file called exit({error.code!r})")
    except BaseException as error:  # the file's own code may raise anything
        if not theirs(error, request):
            return bug(error)
        return failed(error, request, f"{type(error).__name__}: {error}")


def result(target: str, forward: str | None) -> dict[str, Any]:
    """Check a file in this process and return what came of it as plain data."""
    from handgrad.check.byhand import remarked
    from handgrad.check.ways import file_judge, reported

    judge = file_judge(target, forward)
    report = remarked(reported(judge), judge)
    return {"report": report.to_dict(), "pictures": pictures(judge, report)}


def pictures(judge: Judge, report: Any) -> dict[str, Any]:
    """Return where each wrong gradient is wrong."""
    from handgrad.check.picture import picture
    from handgrad.check.report import Verdict

    made = {}
    for row in report.rows:
        if row.verdict is not Verdict.WRONG or row.shape != row.expected_shape:
            continue
        with contextlib.suppress(Exception):  # it is an extra: its failure says nothing
            local = judge.local(row.name)
            drawn = picture(local.values[0], local.full[0]) if not local.error else None
            if drawn is not None:
                made[row.name] = drawn.to_dict()
    return made


def told(error: HandgradError) -> dict[str, Any]:
    """Return an error's parts."""
    parts = {"what": error.what, "where": error.where, "why": error.why, "try": error.hint}
    return {"code": error.exit_code, **{key: text[:TEXT] for key, text in parts.items()}}


def in_plain_words(error: HandgradError, request: Mapping[str, Any]) -> HandgradError:
    """Say what a failed allocation was; any other error stays as it is."""
    import re

    if not error.what.startswith(("MemoryError", "RuntimeError: [enforce fail")):
        return error
    asked = re.search(r"allocate (\d+) bytes", str(error.__cause__ or error))
    size = f", asked for {int(asked[1]) / 1e9:.1f} GB" if asked else ""
    what = f"MemoryError: out of memory{size}"
    hint = f"the limit is {request['memory'] / 2**30:g} GiB: --memory GIB allows more"
    return type(error)(what, where=error.where, why=error.why, hint=hint)


def theirs(error: BaseException, request: Mapping[str, Any]) -> list[traceback.FrameSummary]:
    """Return the traceback's entries in the person's files."""
    own = {request["target"], (request["forward"] or "").rpartition(":")[0], request["forward"]}
    return [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]


def failed(error: BaseException, request: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return the frame of what the person's code raised, at its line."""
    frames = theirs(error, request)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else request["target"]
    why = frames[-1].line or "" if frames else ""
    hint = "mend the line, or leave it out"
    parts = {"what": what[:TEXT], "where": where, "why": why, "try": hint}
    return {"kind": "error", "code": 3, **parts}


def out_of_memory(error: MemoryError, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the frame of memory that ran out in a place that nothing else told of."""
    hint = f"the limit is {request['memory'] / 2**30:g} GiB: --memory GIB allows more"
    return {**failed(error, request, "MemoryError: out of memory"), "try": hint}


def bug(error: BaseException) -> dict[str, Any]:
    """Return the frame of an error that nobody foresaw."""
    what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:TEXT]
    text = "".join(traceback.format_exception(error))[-TEXT:]
    return {"kind": "bug", "what": what, "traceback": text}
