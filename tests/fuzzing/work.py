"""The jobs of the child processes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from fuzzing.generator import generate
from fuzzing.judge import judge
from fuzzing.program import Program

torch.set_num_threads(1)  # as many processes as cores, and small tensors


def judged(seed: int, stages: list[str], only: str | None = None) -> dict[str, Any]:
    """Judge the program of a number."""
    program = generate(seed, only)
    verdict = asdict(judge(program, frozenset(stages)))
    return {**verdict, "constructs": program.constructs}


def judged_text(text: str, stages: list[str]) -> dict[str, Any]:
    """Judge a program that is given."""
    return asdict(judge(Program.from_json(text), frozenset(stages)))
