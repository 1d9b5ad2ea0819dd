"""What a trace keeps of a run that has ended: no tensor, and no gradient, that it does not need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from handgrad.ir import Program
from handgrad.trace.gradients import Gradients
from handgrad.trace.recorder import Recorder
from handgrad.trace.truth import Proof
from handgrad.trace.values import Value
from handgrad.trace.writes import memory

KEPT = 2**26  # bytes of gradients that a trace keeps
NOTHING = torch.empty(0)


def outside(recorder: Recorder) -> set[int]:
    """Return where the tensors lie that the run did not make: others can write to them."""
    given = [v.tensor for v in recorder.values if v.op is None]
    return {memory(tensor) for tensor in given if id(tensor) not in recorder.copies} - {0}


def let_go(recorder: Recorder, needed: Iterable[Value]) -> None:
    """Hold no tensor any more but those of some values, and of leaves."""
    wanted = {id(value) for value in needed}
    for value in recorder.values:
        if not value.leaf and id(value) not in wanted:
            value.tensor, value.snapshot, value.edge = NOTHING, None, None
    for held in (recorder.current, recorder.memories, recorder.stale, recorder.bound):
        held.clear()
    recorder.scopes.clear()


def is_large(values: Iterable[Value]) -> bool:
    """Tell whether the gradients of values take much memory."""
    return sum(v.tensor.numel() * v.tensor.element_size() for v in values) > KEPT


def kept(value: Value, recorder: Recorder, theirs: set[int]) -> torch.Tensor:
    """Return a value's tensor for the trace; a copy where the user can still write to it."""
    written = recorder.makes_leaves or memory(value.tensor) in theirs
    return value.data.clone() if written and value.snapshot is None else value.data


def gradients_of(
    proof: Proof, program: Program, values: Mapping[str, torch.Tensor], upstream: torch.Tensor
) -> Mapping[str, torch.Tensor]:
    """Return the gradients that a proof found, to be worked out again where it kept none."""
    if proof.keeps:
        return proof.grads
    return Gradients(program, values, upstream, proof.found, proof.reach)
