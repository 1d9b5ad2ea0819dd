"""Call what a file defines and never calls, on inputs made for its signatures."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from handgrad.check.recorded.layer import held, layer
from handgrad.check.recorded.naming import says_word
from handgrad.check.recorded.signatures import Choice, Signature, text_of
from handgrad.check.recorded.uncalled import Pair

SECONDS = 10.0  # for one pair
MOST_FURTHER = 8  # inputs that are tried where the gradients of some did not fit
COTANGENT = re.compile(r"(?i)^(upstream\w*|\w*err(or)?|gradients?|g|dy|dz|dl_?d\w+)$")
SETTING = re.compile(r"(?i)^(data\w*|dim\w*|depth|drop\w*|dict\w*|decay|dtype|debug|gamma)$")
POSITIVE = re.compile(r"(?i)^(a_?l?|y_?(hat|pred)|p(red|rob)?s?|out(put)?s?)$")


@dataclass
class Call:
    """A pair's calls as lines of Python, with what they read.

    Attributes:
        pair: what is called.
        lines: the calls.
        names: the tensors and settings that they read.
        told: what the forward function was given, in words.
        level: 2 where the gradients fit the inputs, 1 where they do not, 0 where it raises, or
            what it gives is no gradient.
        fresh: makes the pair's object anew, as it was before its first call.
    """

    pair: Pair
    lines: list[str] = field(default_factory=list[str])
    names: dict[str, Any] = field(default_factory=dict[str, Any])
    told: str = ""
    level: int = 0
    fresh: Callable[[], Any] = lambda: None


def call_of(scope: Mapping[str, Any], pair: Pair, numpy: bool) -> Call | None:
    """Return the calls of a pair on inputs that fit, None where none are found."""
    with contextlib.redirect_stdout(io.StringIO()):
        return Trying(scope, pair, numpy).best()


class Trying:
    """The search for one pair's inputs.

    Args:
        scope: the file's names.
        pair: what is called.
        numpy: the file computes with NumPy.
    """

    def __init__(self, scope: Mapping[str, Any], pair: Pair, numpy: bool) -> None:
        self.scope, self.pair = scope, pair
        self.wrap: Callable[[torch.Tensor], Any] = layer().ndarray if numpy else torch.Tensor.clone
        self.until = time.monotonic() + SECONDS

    def best(self) -> Call | None:
        """Return the first calls whose gradients fit, else what comes nearest; None for no pair."""
        found: Call | None = None
        for fresh in self.objects():
            for call in self.tried(fresh()):
                call.fresh = fresh
                if call.level == 2:
                    return call
                if found is None or call.level > found.level:
                    found = call
                if time.monotonic() > self.until:
                    return found
        return found

    def objects(self) -> Iterator[Callable[[], Any]]:
        """Yield what makes objects of the pair's class; None where it has none."""
        if not self.pair.made:
            yield type(None)
            return
        made = self.scope[self.pair.made]
        init = Signature(made.__init__.__get__(object()), self.wrap) if has_init(made) else None
        for given in init.assignments(lengths=True) if init else [dict[str, Choice]()]:

            def fresh(given: dict[str, Choice] = given) -> Any:
                return made(**{name: choice.make() for name, choice in given.items()})

            try:
                fresh()
            except Exception:  # whatever the person's own code raises: other lengths may fit
                continue
            yield fresh
            if time.monotonic() > self.until:
                return

    def tried(self, made: Any) -> Iterator[Call]:
        """Yield the calls that an object, or the file's functions, can be made with."""
        scope = {**self.scope, "layer": made}
        forward = eval(self.pair.forward, dict(scope))
        signature = Signature(forward, self.wrap, self.examples())
        left = MOST_FURTHER
        for given in signature.assignments():
            names = {name: choice.make() for name, choice in given.items()}
            told = ", ".join(f"{n} {c.told}" for n, c in given.items() if c.told)
            try:
                result = forward(**names)
            except Exception:  # likewise: other inputs may fit
                if time.monotonic() > self.until:
                    return
                continue
            call = self.call_of(scope, names, result, told)
            yield call
            left -= call.level == 1
            if not left:
                return

    def examples(self) -> dict[str, Any]:
        """Return what the file's own `examples` function gives for the forward function."""
        function = self.scope.get("examples")
        if not inspect.isfunction(function):
            return {}
        found: Any = function()
        given = found.get(self.pair.forward, ()) if isinstance(found, dict) else found
        if isinstance(given, dict):
            return dict(given)
        named = Signature(eval(self.pair.forward, dict(self.scope)), self.wrap).names
        return dict(zip(named, given, strict=False))

    def call_of(self, scope: dict[str, Any], names: dict[str, Any], result: Any, told: str) -> Call:
        """Return the calls for inputs with which the forward function ran."""
        call = Call(self.pair, [], {**names, "layer": scope["layer"]}, told)
        arguments = ", ".join(f"{n}={n}" for n in names)
        if not self.pair.backward:
            return self.both(call, arguments, names, result)
        backward = eval(self.pair.backward, dict(scope))
        asked = Signature(backward, self.wrap).names
        cotangents = [n for n in asked if n not in names and is_cotangent(n)]
        outputs, caches = parts(result, max(len(cotangents), 1))
        if not outputs:
            return call
        bound = {**names, **dict(outputs), **dict(caches)}
        targets = ", ".join(n for n, _ in (*outputs, *caches))
        comma = "," if isinstance(result, tuple | list) and len(result) == 1 else ""
        call.lines.append(f"{targets}{comma} = {self.pair.forward}({arguments})")
        call.lines.append(self.loss(call, cotangents, outputs, names))
        given = self.given(backward, cotangents, outputs, caches, names)
        values = {**bound, **call.names}
        try:
            grads = backward(**{n: eval(text, {}, dict(values)) for n, text in given.items()})
        except Exception:  # these inputs do not fit, or no inputs do: then it is told as it raises
            grads = None
        else:
            call.level = self.level(grads, names, scope["layer"])
        said = ", ".join(f"{n}={text}" for n, text in given.items())
        call.lines.append(f"{self.targets(backward, grads, names)} = {self.pair.backward}({said})")
        return call

    def loss(
        self,
        call: Call,
        cotangents: list[str],
        outputs: list[tuple[str, Any]],
        names: Mapping[str, Any],
    ) -> str:
        """Return the line that makes the loss, and draw the cotangents that it reads."""
        if not cotangents and self.pair.cost:
            asked = Signature(self.scope[self.pair.cost], self.wrap).names
            given = [n if n in names else outputs[0][0] for n in asked]
            return f"loss = {self.pair.cost}({', '.join(given)})"
        if not cotangents:
            return f"loss = {outputs[0][0]} * 1.0"
        terms = []
        for name, (output, value) in zip(cotangents, outputs, strict=False):
            tensor = held(value)
            generator = torch.Generator().manual_seed(7)
            drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            call.names[name] = self.wrap(drawn.to(tensor.dtype))
            terms.append(f"({output} * {name}).sum()")
        return f"loss = {' + '.join(terms)}"

    def given(
        self,
        backward: Any,
        cotangents: list[str],
        outputs: list[tuple[str, Any]],
        caches: list[tuple[str, Any]],
        names: Mapping[str, Any],
    ) -> dict[str, str]:
        """Return what each parameter of the backward function is given, as it is written."""
        known = {n for n, _ in (*outputs, *caches)}
        left = [n for n, _ in caches]
        found: dict[str, str] = {}
        signature = Signature(backward, self.wrap)
        for name in signature.names:
            if name in cotangents or name in names:
                found[name] = name
            elif left:
                found[name] = left.pop(0)
            elif name in known or POSITIVE.match(name):
                found[name] = outputs[0][0]
            elif re.search(r"(?i)^(cache|z|x|inputs?)", name) and names:
                found[name] = next(iter(names))
            else:
                found[name] = repr(signature.choices(name)[0].make())
        return found

    def level(self, grads: Any, names: Mapping[str, Any], made: Any) -> int:
        """Return how well gradients fit the inputs: 2 where each has an input's shape."""
        shapes = [tuple(t.shape) for t in map(held, names.values()) if isinstance(t, torch.Tensor)]
        arrays = list(tensors(grads))
        if not arrays:
            return 2 if made is not None else 1
        if len(arrays) == len(shapes):
            return 2 if [tuple(t.shape) for t in arrays] == shapes else 1
        own = [tuple(t.shape) for t in tensors(getattr(made, "__dict__", {}))]
        return 2 if all(tuple(t.shape) in (*shapes, *own) for t in arrays) else 1

    def targets(self, backward: Any, grads: Any, names: Mapping[str, Any]) -> str:
        """Return what the gradients are called: as the backward function calls them."""
        if not isinstance(grads, tuple | list):
            return "grads" if isinstance(grads, dict) else self.single(backward, names)
        told = returned(backward, len(grads))
        floats = [n for n, v in names.items() if isinstance(held(v), torch.Tensor)]
        same = len(floats) == len(grads)
        own = [f"d{n}" for n in floats] if same else [f"grad_{k}" for k in range(len(grads))]
        return ", ".join(t if says_word(t) else o for t, o in zip(told, own, strict=True))

    def single(self, backward: Any, names: Mapping[str, Any]) -> str:
        """Return what a single gradient is called."""
        told = returned(backward, 1)[0]
        return told if says_word(told) else f"d{next(iter(names), 'x')}"

    def both(self, call: Call, arguments: str, names: Mapping[str, Any], result: Any) -> Call:
        """Return the call of a function that gives the loss and its gradients."""
        if not isinstance(result, tuple | list) or len(result) < 2:
            return call
        first, rest = held(result[0]), result[1:]
        if not isinstance(first, torch.Tensor | float) or size(first) != 1:
            return call
        grads = rest[0] if len(rest) == 1 else tuple(rest)
        function = eval(self.pair.forward, {**self.scope, "layer": call.names["layer"]})
        told = self.targets(function, grads, names) if len(rest) > 1 else ""
        if len(rest) == 1:
            named = returned(function, 2)[1]
            told = named if says_word(named) else f"d{next(iter(names), 'x')}"
            told = "grads" if isinstance(grads, dict) else told
        call.lines.append(f"loss, {told} = {self.pair.forward}({arguments})")
        call.level = self.level(grads, names, call.names["layer"]) if [*tensors(grads)] else 0
        return call


def is_cotangent(name: str) -> bool:
    """Tell whether a parameter of a backward function is called as what comes from above."""
    return bool(COTANGENT.match(name)) or (says_word(name) and not SETTING.match(name))


def has_init(made: type) -> bool:
    """Tell whether a class has a constructor of its own."""
    return inspect.isfunction(made.__init__)


def parts(result: Any, outputs: int) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """Return the outputs among what a forward function gave, and the rest, with their names."""
    if not isinstance(result, tuple | list):
        return ([("out", result)], []) if is_float(result) else ([], [])
    count = 0
    while count < min(outputs, len(result)) and is_float(result[count]):
        count += 1
    said = ["out"] if count == 1 else [f"out_{k}" for k in range(count)]
    left = ["cache"] if len(result) == count + 1 else [f"cache_{k}" for k in range(len(result))]
    return list(zip(said, result, strict=False)), list(zip(left, result[count:], strict=False))


def is_float(value: Any) -> bool:
    """Tell whether a value is an array of floats that are numbers."""
    tensor = held(value)
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.is_floating_point()
        and bool(tensor.isfinite().all())
    )


def size(value: Any) -> int:
    """Return how many entries a value has."""
    return value.numel() if isinstance(value, torch.Tensor) else 1


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a value."""
    found = held(value)
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)


def returned(function: Any, count: int) -> list[str]:
    """Return what a function calls the things that it returns, nothing where they have no name."""
    tree = text_of(getattr(function, "__func__", function))
    nodes = [n.value for n in ast.walk(tree) if isinstance(n, ast.Return)] if tree else []
    for node in reversed(nodes):
        parts = node.elts if isinstance(node, ast.Tuple | ast.List) else [node]
        if len(parts) == count:
            return [part.id if isinstance(part, ast.Name) else "" for part in parts]
    return [""] * count
