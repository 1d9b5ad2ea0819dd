"""Code for a named kind of vectors: run where this processor can, else compiled, else only written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import handgrad as hg
from handgrad.native import cpu
from handgrad.native.compilers import FLAGS, CannotBuild, find_compiler, run_compiler
from handgrad.native.lower.step import lower_step
from handgrad.native.lower.update import Rule
from handgrad.native.making import in_lines
from handgrad.native.write.unit import write_unit

KINDS = tuple(cpu.KINDS)


def use(kind: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Write code for a kind of vectors from now on; return whether this processor runs it."""
    monkeypatch.setenv(cpu.VARIABLE, kind)
    return cpu.runs(cpu.vectors())


def compile_only(source: str, folder: Path) -> None:
    """Compile code, if the compiler knows the kind of vectors that it is for."""
    compiler, flags = find_compiler(), (*FLAGS, *cpu.target())
    text, empty = folder / "step.c", folder / "empty.c"
    text.write_text(source, encoding="utf-8")
    empty.write_text("int nothing;\n", encoding="utf-8")
    try:
        run_compiler(compiler, flags, empty, folder / "empty.so")
    except CannotBuild:
        return
    run_compiler(compiler, flags, text, folder / "step.so")


def written(forward: Any, args: tuple[Any, ...], leaves: list[str], rule: Any) -> str:
    """Return the code of a step for the kind of vectors in use."""
    backward = in_lines(hg.trace(forward, *args, wrt=leaves), None)
    step = lower_step(backward, tuple(leaves), Rule(rule))
    return write_unit(step, {"loss": step.output}).source
