"""What a forward pass gives back: where a backward pass starts, or why there is nothing."""

from __future__ import annotations

from typing import Any

import torch

from handgrad.errors import BadInput
from handgrad.trace.recorder import Recorder
from handgrad.trace.values import Note, Value


def pick_output(recorder: Recorder, result: Any) -> Value:
    """Return the value that the forward pass gave back: the scalar among several.

    Raises:
        BadInput: it gave no tensor, or none that depends on a leaf.
    """
    parts = list(result) if isinstance(result, list | tuple) else [result]
    if isinstance(result, dict):
        parts = [result["loss"]] if "loss" in result else list(result.values())
    tensors = [p for p in parts if isinstance(p, torch.Tensor) and p.is_floating_point()]
    tensors = [t for t in tensors if t.ndim == 0] or tensors
    if len(tensors) != 1:
        raise BadInput(
            f"the forward pass returns {type(result).__name__}, not one floating-point tensor",
            hint="end it with `return loss`",
        )
    value = recorder.current.get(id(tensors[0]))
    if value is None or value.op is None or not value.requires:
        raise cut_off(recorder)
    return value


def cut_off(recorder: Recorder) -> BadInput:
    """Say that the output does not depend on any leaf, and where the path was cut if known."""
    cuts = [note for note in recorder.notes if note.kind in ("detach", "item", "cut")]
    note: Note | None = cuts[-1] if cuts else None
    return BadInput(
        "the output does not depend on any leaf, so there is nothing to derive",
        where=str(note.place.span) if note and note.place else "",
        why=f"the path is cut here: {note.place.text}" if note and note.place else unused(recorder),
        hint="leave out the detach, .item() or no_grad on the way to the loss"
        if note
        else "make the parameters float tensors with requires_grad=True, or pass them as arguments",
    )


def unused(recorder: Recorder) -> str:
    """Say why nothing depends on a leaf: there is none, or no line reads it."""
    leaves = [v for v in recorder.values if v.op is None and v.requires]
    if leaves:
        return f"no line makes anything of {', '.join(map(name_given, leaves))}"
    named = {name_given(v): v.tensor for v in recorder.values if name_given(v)}
    if named and not any(tensor.is_floating_point() for tensor in named.values()):
        told = ", ".join(f"{name} is {dtype_name(tensor)}" for name, tensor in named.items())
        return f"{told}: only floating-point tensors have gradients"
    return "no tensor requires a gradient"


def name_given(value: Value) -> str:
    """Return what the user calls a value, empty if that is not known."""
    return value.names[0][1] if value.names else value.hint


def dtype_name(tensor: torch.Tensor) -> str:
    """Return a dtype as `int64`."""
    return str(tensor.dtype).removeprefix("torch.")


def refuse_complex(recorder: Recorder, output: Value) -> None:
    """Refuse a forward pass through complex numbers.

    Raises:
        BadInput: a tensor with a gradient is complex.
    """
    for value in recorder.values:
        if value.requires and value.tensor.is_complex() and value.order <= output.order:
            raise BadInput(
                f"{name_given(value) or 'a tensor'} is complex ({value.tensor.dtype}); "
                "handgrad works on real tensors",
                where=str(value.place.span) if value.place else "",
                why=value.place.text if value.place else "",
                hint="write real and imaginary part as two real tensors",
            )


def refuse_upstream(output: Value, upstream: torch.Tensor | None) -> None:
    """Refuse an output that cannot start a backward pass.

    Raises:
        BadInput: the output is no scalar and there is no upstream gradient in its shape.
    """
    shape = list(output.tensor.shape)
    if upstream is None and output.tensor.numel() != 1:
        raise BadInput(
            f"the output has shape {shape}, and only a scalar can start the backward pass alone",
            where=str(output.place.span) if output.place else "",
            why=output.place.text if output.place else "",
            hint="end in a scalar loss, or pass upstream=, a gradient in the output's shape",
        )
    if upstream is not None and list(upstream.shape) != shape:
        raise BadInput(f"upstream has shape {list(upstream.shape)}, the output {shape}")


def last_output(recorder: Recorder) -> Value:
    """Return the value called `loss`, else the last one that depends on a leaf.

    Raises:
        BadInput: there is none.
    """
    every = [v for v in recorder.values if v.op is not None]
    made = [v for v in every if v.requires]
    losses = [v for v in every if any(d == 0 and name == "loss" for d, name, *_ in v.names)]
    named = [v for v in losses if v.requires]
    if not made or (losses and not named):
        raise cut_off(recorder)
    scalars = [v for v in made if v.names and v.tensor.ndim == 0]
    return (named or scalars or [v for v in made if v.names] or made)[-1]
