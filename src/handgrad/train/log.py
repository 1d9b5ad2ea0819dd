"""The log of a run: the loss of every step, and now and then the size of the updates."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handgrad.train.durable import CAREFUL, refuse_link, write_all

LOSSES, RECORDS = "loss.csv", "log.jsonl"
HEAD = "step,loss,rate\n"
FULL = 1 << 16  # characters that are written at once
DIGITS = {"float32": 9, "float64": 17}
"""How many tell any two numbers of a dtype apart."""


class Log:
    """Both files, appended to; what goes beyond the last checkpoint is cut when a run goes on.

    Args:
        run: the folder.
        ends: where the files ended at the checkpoint, in bytes; None for a new run.
        dtype: that of the losses.

    Attributes:
        missing: the bytes that a file has lost since, by name.
    """

    def __init__(self, run: Path, ends: Mapping[str, int] | None, dtype: str) -> None:
        self.digits = DIGITS[dtype]
        self.missing: dict[str, int] = {}
        self.files: dict[str, int] = {}
        self.waiting: dict[str, list[str]] = {LOSSES: [], RECORDS: []}
        self.size = 0
        try:
            for name in (LOSSES, RECORDS):
                self.open(run / name, (ends or {}).get(name, 0))
            if not ends:
                self.waiting[LOSSES].append(HEAD)
        except BaseException:
            self.close()
            raise

    def open(self, path: Path, end: int) -> None:
        """Open a file at an end, what is beyond cut off."""
        refuse_link(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | CAREFUL, 0o666)
        self.files[path.name] = descriptor
        size = os.fstat(descriptor).st_size
        if size > end:
            os.ftruncate(descriptor, end)
        elif size < end:
            self.missing[path.name] = end - size

    def step(self, step: int, loss: float, rate: float) -> None:
        """Note the loss of a step, counted from 1, and its learning rate."""
        line = f"{step},{loss:.{self.digits}g},{rate:.12g}\n"
        self.waiting[LOSSES].append(line)
        self.size += len(line)
        if self.size > FULL:
            self.write()

    def record(self, step: int, loss: float, rate: float, ratios: Mapping[str, float]) -> None:
        """Note log10 of each parameter's update-to-data ratio at a step."""
        found = {name: round(x, 6) if math.isfinite(x) else None for name, x in ratios.items()}
        kept = float(f"{loss:.{self.digits}g}")
        data = {"step": step, "loss": kept, "rate": rate, "log10_update_to_data": found}
        self.waiting[RECORDS].append(json.dumps(data) + "\n")

    def write(self) -> None:
        """Append what waits."""
        for name, lines in self.waiting.items():
            if lines:
                write_all(self.files[name], "".join(lines).encode())
                lines.clear()
        self.size = 0

    def sync(self) -> dict[str, int]:
        """Force everything to the disk; return where each file ends."""
        self.write()
        for descriptor in self.files.values():
            os.fsync(descriptor)
        return {name: os.fstat(each).st_size for name, each in self.files.items()}

    def close(self) -> None:
        """Close the files; what waits is dropped, as in a crash."""
        for descriptor in self.files.values():
            os.close(descriptor)
        self.files = {}


@dataclass(frozen=True)
class History:
    """What a log holds.

    Attributes:
        losses: of step 1, 2, ...
        rates: likewise.
        ratio_steps: the steps of the records.
        ratios: by parameter, one for each record; minus infinity where nothing moved.
    """

    losses: tuple[float, ...]
    rates: tuple[float, ...]
    ratio_steps: tuple[int, ...]
    ratios: Mapping[str, tuple[float, ...]]


def read_history(run: Path) -> History:
    """Return what the log of a run holds; an unfinished last line is left out.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file holds something else.
    """
    rows = [line.split(",") for line in whole_lines(run / LOSSES)[1:]]
    records = [json.loads(line) for line in whole_lines(run / RECORDS)]
    names = dict.fromkeys(name for each in records for name in each["log10_update_to_data"])
    found = {name: [each["log10_update_to_data"].get(name) for each in records] for name in names}
    return History(
        losses=tuple(float(loss) for _, loss, _ in rows),
        rates=tuple(float(rate) for _, _, rate in rows),
        ratio_steps=tuple(int(each["step"]) for each in records),
        ratios={
            name: tuple(-math.inf if x is None else float(x) for x in values)
            for name, values in found.items()
        },
    )


def whole_lines(path: Path) -> list[str]:
    """Return the finished lines of a file."""
    return path.read_text(encoding="ascii").split("\n")[:-1]
