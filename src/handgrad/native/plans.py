"""What was made of a traced program, kept beside the libraries: a later start skips making it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from handgrad.ir import Arg, Call, Item, Name, Static
from handgrad.native import cpu
from handgrad.native.build import cache_folder
from handgrad.native.lower.array import Array
from handgrad.native.lower.update import Rule
from handgrad.native.write.unit import Unit
from handgrad.trace import Trace

FORMAT = "1"  # changes when what is kept does
PARTS = ("ops", "derive", "simplify", "native", "nn")  # what decides how a program is lowered


@dataclass(frozen=True)
class Plan:
    """A step's code and what it takes to run it.

    Attributes:
        inputs: what it reads and updates, by name.
        constants: tables of numbers, by name.
        limits: for inputs that are indices, how many entries they number.
    """

    unit: Unit
    inputs: Mapping[str, Array]
    constants: Mapping[str, Tensor]
    limits: Mapping[str, int]


def key_of(trace: Trace, leaves: tuple[str, ...], rule: Rule, simplified: bool | None) -> str:
    """Return the name that a plan is kept under; empty if the program does not tell it all."""
    program = trace.program
    facts = [FORMAT, version(), cpu.facts(), repr(rule), str(simplified), " ".join(leaves)]
    facts += [repr(n) for n in program.inputs]
    facts += [f"{name} {value!r}" for name, value in sorted(program.scalars.items())]
    facts += [f"{trace.upstream.dtype} {trace.upstream.tolist()}", str(trace.given)]
    for line in program.lines:
        facts += [*line.targets, line.text, str(line.differentiable), *spelled(line.expr)]
    text = "\0".join([*facts, program.output])
    # an address or a long tensor does not tell what it stands for
    return "" if " at 0x" in text or "..." in text else hashed(text)


def spelled(arg: Arg) -> Iterator[str]:
    """Yield what an argument is made of."""
    if isinstance(arg, tuple):
        yield "("
        for part in arg:
            yield from spelled(part)
        yield ")"
    elif isinstance(arg, Static):
        yield f"{type(arg.value).__name__} {arg.value!r} {arg.text}"
    elif isinstance(arg, Name):
        yield repr(arg)
    elif isinstance(arg, Item):
        yield f"item {arg.position}"
        yield from spelled(arg.call)
    else:
        yield from spelled_call(arg)


def spelled_call(call: Call) -> Iterator[str]:
    """Yield what a call is made of."""
    foreign = " at 0x" if call.op.foreign else ""
    yield f"{call.op.name} {call.outputs} {call.constant}{foreign}"
    for name, arg in call.args.items():
        yield name
        yield from spelled(arg)


def hashed(text: str) -> str:
    """Return a checksum."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def version() -> str:
    """Return what changes when the program that makes plans does."""
    folder = Path(__file__).parents[1]
    found: list[str] = []
    for part in PARTS:
        for place, _, files in sorted(os.walk(folder / part)):
            for name in sorted(files):
                if name.endswith((".py", ".h")):
                    facts = Path(place, name).stat()
                    found.append(f"{part} {name} {facts.st_size} {facts.st_mtime_ns}")
    return hashed("\n".join([torch.__version__, *found]))


def load(key: str) -> Plan | None:
    """Return the plan of a key, None if there is none or it is damaged."""
    try:
        text = (cache_folder() / f"{key}.json").read_text(encoding="utf-8")
        checksum, _, body = text.partition("\n")
        return unpacked(json.loads(body)) if key and checksum == hashed(body) else None
    except (OSError, ValueError, KeyError):
        return None


def keep(key: str, plan: Plan) -> None:
    """Keep a plan, whole or not at all; where that cannot be, the next start makes it again."""
    if not key or any(t.numel() > 10_000 for t in plan.constants.values()):
        return
    body = json.dumps(packed(plan))
    fresh = ""
    try:
        folder = cache_folder()
        handle, fresh = tempfile.mkstemp(dir=folder, prefix="new-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{hashed(body)}\n{body}")
        Path(fresh).replace(folder / f"{key}.json")
    except OSError:
        if fresh:
            Path(fresh).unlink(missing_ok=True)


def packed(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data."""
    unit = plan.unit
    return {
        "source": unit.source,
        "slots": unit.slots,
        "hypers": unit.hypers,
        "arena": unit.arena,
        "outputs": {name: [a.shape, a.ctype] for name, a in unit.outputs.items()},
        "inputs": {name: [a.shape, a.ctype] for name, a in plan.inputs.items()},
        "constants": {
            name: [str(t.dtype).removeprefix("torch."), list(t.shape), t.flatten().tolist()]
            for name, t in plan.constants.items()
        },
        "limits": dict(plan.limits),
    }


def unpacked(data: dict[str, Any]) -> Plan:
    """Return the plan that plain data stands for."""

    def arrays(named: dict[str, Any]) -> dict[str, Array]:
        return {n: Array(tuple(shape), ctype, "input") for n, (shape, ctype) in named.items()}

    unit = Unit(
        data["source"],
        tuple(data["slots"]),
        tuple(data["hypers"]),
        data["arena"],
        arrays(data["outputs"]),
    )
    constants = {
        name: torch.tensor(values, dtype=getattr(torch, dtype)).reshape(shape)
        for name, (dtype, shape, values) in data["constants"].items()
    }
    return Plan(unit, arrays(data["inputs"]), constants, data["limits"])
