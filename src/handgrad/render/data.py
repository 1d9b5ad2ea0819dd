"""Results as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from handgrad.escape import escaped_json
from handgrad.render.words import leaves, operations

if TYPE_CHECKING:
    from handgrad.derive import Backward
    from handgrad.explain import Reason
    from handgrad.simplify import Simplified
    from handgrad.trace import Trace


def shapes(trace: Trace) -> dict[str, Any]:
    """Return a trace with the shape of every leaf and the number of parameters in all."""
    counted = {
        name: {"shape": list(shape), "dtype": dtype, "parameters": entries}
        for (name, shape, dtype), entries in leaves(trace)
    }
    total = sum(entries for _, entries in leaves(trace))
    return {**trace.to_dict(), "leaves": counted, "parameters": total}


def backward(result: Backward, largest: float) -> dict[str, Any]:
    """Return a backward pass, how it compares with autograd's, and the notes of its trace."""
    notes = result.trace.to_dict()["notes"]
    return {**result.to_dict(), "largest_difference": largest, "notes": notes}


def simplified(result: Simplified, largest: float) -> dict[str, Any]:
    """Return a short backward pass with its steps, its size before and after, and the notes."""
    sizes = {
        "lines_before": len(result.before.lines),
        "operations_before": operations(result.before),
        "operations": operations(result),
    }
    return {**backward(result, largest), **sizes}


def explanation(reasons: Iterable[Reason]) -> dict[str, Any]:
    """Return each backward line with its reason and its forward line."""
    return {
        "lines": [
            {"forward": each.forward, "line": each.line, "because": each.because}
            for each in reasons
        ]
    }


def text(data: Mapping[str, Any]) -> str:
    """Return data as JSON text."""
    return escaped_json(json.dumps(data, indent=2, ensure_ascii=False)) + "\n"
