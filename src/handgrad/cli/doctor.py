"""`handgrad doctor`: what there is on this machine, and what a file that is checked may do."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from handgrad.bench.machine import compiler
from handgrad.check.keeper import PRINTED
from handgrad.check.probe import measured
from handgrad.check.sandbox import Limits
from handgrad.check.worker import FILE_SIZE, PROCESSES
from handgrad.cli.checking import PROC
from handgrad.cli.options import Debug, Json, NoColor
from handgrad.cli.screen import show
from handgrad.native.build import cache_folder
from handgrad.native.cpu import vectors
from handgrad.render.blocks import as_plain
from handgrad.render.doctor import report

PACKAGES = ("handgrad", "torch", "rich", "typer", "matplotlib")


def doctor(json: Json = False, no_color: NoColor = False, debug: Debug = False) -> None:
    """Say what there is on this machine, and what a file that is checked may do here."""
    found = examined()

    def rich(_: int):
        from handgrad.render.live import as_rich

        return as_rich(report(found))

    show(
        rich=rich,
        plain=lambda: as_plain(report(found)),
        as_data=lambda: found,
        json=json,
        no_color=no_color,
    )


def examined() -> dict[str, Any]:
    """Return what was found as plain data; what the sandbox holds is measured, not looked up."""
    limits = Limits()
    return {
        "versions": {"python": platform.python_version(), **versions()},
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "compiler": compiler(),
        "vector_bytes": vectors().bytes,
        "cache": cache(),
        "sandbox": {"there": PROC.exists(), **measured().to_dict()},
        "limits": {
            "seconds": limits.seconds,
            "memory": limits.memory,
            "processor_seconds": 4 * limits.seconds,
            "file": FILE_SIZE,
            "printed": PRINTED,
            "processes": PROCESSES,
        },
        "root": sys.platform != "win32" and not os.getuid(),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that are there."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cache() -> str:
    """Return the folder where compiled code is kept, or why there is none."""
    try:
        return str(cache_folder())
    except OSError as error:
        return f"none: {error}"
