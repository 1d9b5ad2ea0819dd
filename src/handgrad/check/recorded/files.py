"""Which files are recorded whole, and the run in which that is done."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
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
from handgrad.check.recorded.driving import Call, call_of
from handgrad.check.recorded.recording import Over, Recording, Whole, recording
from handgrad.check.recorded.settle import in_double
from handgrad.check.recorded.uncalled import Untried, line_of, pairs
from handgrad.errors import BadInput, HandgradError
from handgrad.trace.files import compiled, module_of, users_code
from handgrad.trace.values import Value
from handgrad.trace.ways import run_recorded

NO_INPUTS = "no inputs were found: give some in a function `examples`"


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


class FileRun:
    """One run of a file, as it is, as the main program; then calls of what it never calls.

    Args:
        path: the file.
        text: what stands in it.
    """

    def __init__(self, path: Path, text: str) -> None:
        compiled(path, text)
        self.path, self.text, self.folder = path, text, path.resolve().parent
        tree = ast.parse(text, str(path))
        self.numpy = needs_layer(tree, self.folder)
        tree = ast.fix_missing_locations(Exchanged().visit(tree)) if self.numpy else tree
        self.code = compile(tree, str(path), "exec", dont_inherit=True)
        given = names_given() if self.numpy else {}
        self.given = {**given, BUILT_IN: built_in(self.folder)}
        self.scope: dict[str, Any] = {}
        self.recorder = Whole(self.numpy)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Run the person's code: what it imports is found, what it draws changes nothing here."""
        joined = beside(self.folder, self.given) if self.numpy else nullcontext()
        state = torch.get_rng_state()
        with users_code(self.path), joined:
            try:
                yield
            finally:
                torch.set_rng_state(state)

    def whole(self) -> Recording | None:
        """Return what the file's own run did to tensors, None if it computes nothing.

        Raises:
            BadInput: a line of it cannot be recorded.
            UserCodeFailed: the file's own code raised.
        """
        with self.inside(), module_of(self.path) as self.scope:
            self.scope |= {"__name__": "__main__", **self.given}
            return of_code(self.recorder, self.code, self.scope)

    def rest(self) -> tuple[list[Recording], list[Untried]]:
        """Call what the file defines forward and backward and never calls, on made inputs.

        Returns:
            A recording of each, and those that could not be called.
        """
        found: list[Recording] = []
        untried: list[Untried] = []
        with in_double():
            for pair in pairs(self.scope, str(self.path), self.recorder.ran):
                try:
                    with self.inside():
                        call = call_of(self.scope, pair, self.numpy)
                        found += [self.of_call(call)] if call is not None else []
                        why = NO_INPUTS
                except HandgradError as error:
                    call, why = None, error.what
                if call is None and pair.backward:
                    untried.append(Untried(str(pair), line_of(pair, self.scope), why))
        return found, untried

    def of_call(self, call: Call) -> Recording:
        """Return what one call of what a file never calls did to tensors."""
        below = len(self.text.splitlines()) + 1
        tree = ast.increment_lineno(ast.parse("\n".join(call.lines)), below)
        code = compile(tree, str(self.path), "exec", dont_inherit=True)
        scope = {**self.scope, **call.names, "layer": call.fresh()}
        found = of_code(Whole(self.numpy), code, scope)
        if found is None:
            raise BadInput("it computes nothing with tensors")
        return replace(found, told=f"{call.pair}: tried on {call.told or 'no inputs'}")


def of_code(recorder: Whole, code: CodeType, scope: dict[str, Any]) -> Recording | None:
    """Run code, and return what it did to tensors; None if it computes nothing."""
    with suppress(Over):
        run_recorded(recorder, lambda: exec(code, scope), (), {})
    recorder.look(scope, 0, 0)
    if all(value.op is None for value in recorder.values):
        return None
    found, values = recording(recorder)
    return replace(found, own=own_gradients(found, values))


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
