"""Plans: a step's code and how it is called, kept so that a later start need not make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from handgrad.native import kept
from handgrad.native.forms import Form, Unit

LONGEST = 10_000  # entries of a table that is kept


@dataclass(frozen=True)
class Plan:
    """A step's code and what it takes to run it.

    Attributes:
        inputs: what it reads and updates, by name.
        constants: tables of numbers, by name.
        limits: for inputs that are indices, how many entries they number.
    """

    unit: Unit
    inputs: Mapping[str, Form]
    constants: Mapping[str, Tensor]
    limits: Mapping[str, int]


def load(key: str) -> Plan | None:
    """Return the plan of a key, None if there is none or it is damaged."""
    data = kept.load(f"{key}.json") if key else None
    try:
        return unpacked(data) if data else None
    except (TypeError, ValueError, KeyError):
        return None


def keep(key: str, plan: Plan) -> bool:
    """Keep a plan; return whether it is of those that are."""
    if not key or any(t.numel() > LONGEST for t in plan.constants.values()):
        return False
    kept.keep(f"{key}.json", packed(plan))
    return True


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

    def forms(named: dict[str, Any]) -> dict[str, Form]:
        return {n: Form(tuple(shape), ctype) for n, (shape, ctype) in named.items()}

    unit = Unit(
        data["source"],
        tuple(data["slots"]),
        tuple(data["hypers"]),
        data["arena"],
        forms(data["outputs"]),
    )
    constants = {
        name: torch.tensor(values, dtype=getattr(torch, dtype)).reshape(shape)
        for name, (dtype, shape, values) in data["constants"].items()
    }
    return Plan(unit, forms(data["inputs"]), constants, data["limits"])
