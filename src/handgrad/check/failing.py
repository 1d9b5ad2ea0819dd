"""What is told where there is no report: the error, its line, and what to do."""

from __future__ import annotations

import errno
import gc
import re
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from handgrad.errors import HandgradError

TEXT = 4_000  # characters of one message
NUMBERS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENETUNREACH)
REFUSED = (
    "it runs without network, and writes to a folder of its own alone (`handgrad doctor`); "
    "--no-sandbox gives it all your rights"
)
MOST = 2**20  # GiB; a larger limit is none
Request = Mapping[str, Any]


def outcome(made: Callable[[], Mapping[str, Any]], request: Request) -> Mapping[str, Any]:
    """Return what a function gives, or the frame of what the person's code raised in it."""
    try:
        return made()
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


def refused(error: BaseException | None) -> bool:
    """Tell whether an error may be the sandbox's doing."""
    # urllib wraps the error that it got
    causes = (error, getattr(error, "reason", None), getattr(error, "__context__", None))
    return any(isinstance(e, OSError) and (e.errno in NUMBERS or has_no_name(e)) for e in causes)


def has_no_name(error: OSError) -> bool:
    """Tell whether a computer was not found by its name."""
    return isinstance(error, socket.gaierror)


def told(error: HandgradError) -> dict[str, Any]:
    """Return an error's parts."""
    parts = {"what": error.what, "where": error.where, "why": error.why, "try": error.hint}
    return {"code": error.exit_code, **{key: text[:TEXT] for key, text in parts.items()}}


def in_plain_words(error: HandgradError, request: Request) -> HandgradError:
    """Say what a failed allocation was, or what the sandbox refused; other errors stay so."""
    if refused(error.__cause__) and request["memory"] < MOST * 2**30:
        return type(error)(error.what, where=error.where, why=error.why, hint=REFUSED)
    if not error.what.startswith(("MemoryError", "RuntimeError: [enforce fail")):
        return error
    asked = re.search(r"allocate (\d+) bytes", str(error.__cause__ or error))
    size = f", asked for {int(asked[1]) / 1e9:.1f} GB" if asked else ""
    what = f"MemoryError: out of memory{size}"
    return type(error)(what, where=error.where, why=error.why, hint=more(request))


def theirs(error: BaseException, request: Request) -> list[traceback.FrameSummary]:
    """Return the traceback's entries in the person's files."""
    own = {request["target"], (request["forward"] or "").rpartition(":")[0], request["forward"]}
    return [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]


def failed(error: BaseException, request: Request, what: str) -> dict[str, Any]:
    """Return the frame of what the person's code raised, at its line."""
    frames = theirs(error, request)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else request["target"]
    why = frames[-1].line or "" if frames else ""
    hint = "mend the line, or leave it out"
    parts = {"what": what[:TEXT], "where": where, "why": why, "try": hint}
    return {"kind": "error", "code": 3, **parts}


def out_of_memory(error: MemoryError, request: Request) -> dict[str, Any]:
    """Return the frame of memory that ran out in a place that nothing else told of."""
    return {**failed(error, request, "MemoryError: out of memory"), "try": more(request)}


def more(request: Request) -> str:
    """Say how a file may get more memory."""
    gib = request["memory"] / 2**30
    return (
        "make it smaller" if gib > MOST else f"the limit is {gib:g} GiB: --memory GIB allows more"
    )


def bug(error: BaseException) -> dict[str, Any]:
    """Return the frame of an error that nobody foresaw."""
    what = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:TEXT]
    text = "".join(traceback.format_exception(error))[-TEXT:]
    return {"kind": "bug", "what": what, "traceback": text}
