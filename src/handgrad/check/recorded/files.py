"""Which files are recorded whole, and the run in which that is done."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import CodeType
from typing import Any

import torch

from handgrad.check.recorded.arrays import (
    BUILT_IN,
    Exchanged,
    beside,
    names_given,
    needs_layer,
    uses_numpy,
)
from handgrad.check.recorded.built_in import built_in
from handgrad.check.recorded.driving import Call, calls
from handgrad.check.recorded.recording import Over, Recording, Whole, recording
from handgrad.check.recorded.uncalled import pairs
from handgrad.errors import BadInput
from handgrad.trace.files import compiled, module_of, users_code
from handgrad.trace.values import Value
from handgrad.trace.ways import run_recorded


def is_straight(text: str) -> bool:
    """Tell whether a file is assignments alone, in which every name means one thing."""
    bound: Counter[str] = Counter()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in elements(target)]
            if not all(isinstance(part, ast.Name) for part in targets):
                return False
            bound.update(part.id for part in targets if isinstance(part, ast.Name))
        elif isinstance(node, ast.AugAssign):
            if not (isinstance(node.target, ast.Name) and node.target.id.startswith("d")):
                return False
        elif not isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
            return False
    return max(bound.values(), default=0) <= 1


def is_numpy_alone(text: str) -> bool:
    """Tell whether a file computes with NumPy and never imports torch."""
    return uses_numpy(ast.parse(text)) and "torch" not in text


def elements(target: ast.expr) -> list[ast.expr]:
    """Return what an assignment binds, one by one."""
    if isinstance(target, ast.Tuple | ast.List):
        return [part for inner in target.elts for part in elements(inner)]
    return [target]


def record_file(path: Path, text: str) -> list[Recording]:
    """Run a file once, as it is, as the main program, and return what it did to tensors.

    What it defines forward and backward and never calls is called then, on inputs made for it:
    a recording for each.

    Raises:
        BadInput: a line of it cannot be recorded.
        UserCodeFailed: the file's own code raised.
    """
    compiled(path, text)
    tree = ast.parse(text, str(path))
    numpy = needs_layer(tree, path.resolve().parent)
    tree = ast.fix_missing_locations(Exchanged().visit(tree)) if numpy else tree
    code = compile(tree, str(path), "exec", dont_inherit=True)
    folder = path.resolve().parent
    given = {**names_given(), BUILT_IN: built_in(folder)} if numpy else {}
    joined = beside(folder, given) if numpy else nullcontext()
    with users_code(path), module_of(path) as scope, joined:
        scope["__name__"] = "__main__"
        scope |= given or {BUILT_IN: built_in(folder)}
        state = torch.get_rng_state()
        recorder = Whole(numpy)
        try:
            first = of_code(recorder, code, scope)
            more = calls(scope, list(pairs(scope, str(path), recorder.ran)), numpy)
            others = [of_call(each, scope, numpy, text) for each in more]
        finally:
            torch.set_rng_state(state)
        if first is None and not others:
            raise BadInput(
                "nothing is computed when this file runs",
                hint="call its functions at the end of the file, the backward pass too",
            )
        return [*([] if first is None else [first]), *others]


def of_code(recorder: Whole, code: CodeType, scope: dict[str, Any]) -> Recording | None:
    """Run code, and return what it did to tensors; None if it computes nothing."""
    with suppress(Over):
        run_recorded(recorder, lambda: exec(code, scope), (), {})
    recorder.look(scope, 0, 0)
    if all(value.op is None for value in recorder.values):
        return None
    found, values = recording(recorder)
    return replace(found, own=own_gradients(found, values))


def of_call(call: Call, scope: dict[str, Any], numpy: bool, text: str) -> Recording:
    """Return what one call of what a file never calls did to tensors."""
    below = len(text.splitlines()) + 1
    tree = ast.increment_lineno(ast.parse("\n".join(call.lines)), below)
    code = compile(tree, str(scope["__file__"]), "exec", dont_inherit=True)
    inner = {**scope, **call.names, "layer": call.fresh()}
    found = of_code(Whole(numpy), code, inner)
    assert found is not None
    return replace(found, told=f"{call.pair}: tried on {call.told}" if call.told else "")


def own_gradients(found: Recording, values: Mapping[str, Value]) -> dict[str, torch.Tensor]:
    """Return the gradients that the person's own graph has of the tensors that they marked.

    Of what was written in place since, and of a graph that was let go, it has none.
    """
    if not found.losses:
        return {}
    try:
        loss = values[found.losses[0]].tensor
        names = sorted(found.marked)
        if not loss.requires_grad or not names:
            return {}
        leaves = [values[name].tensor for name in names]
        grads = torch.autograd.grad(loss.sum(), leaves, allow_unused=True, retain_graph=True)
    except (BadInput, RuntimeError):
        return {}
    return {name: g.detach() for name, g in zip(names, grads, strict=True) if g is not None}
