"""Forward and backward functions that a file defines and never calls, and what goes with what."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

BACKWARD = re.compile(r"(?i)back_?ward|back_?prop|bprop|back_?pass|bwd|\bback\b")
FORWARDS = ("forward", "for", "fwd", "fprop", "feed_forward", "feedforward", "feed", "")
GIVES_BOTH = re.compile(r"(?i)loss|cost|grad|objective")
FORWARD_METHODS = re.compile(r"(?i)forward|__call__|fprop|fwd")
COST = re.compile(r"(?i)cost|loss|entropy|error|criterion|mse|nll")


@dataclass(frozen=True)
class Pair:
    """What is called forward, and what is called backward.

    Attributes:
        forward: as it is called, `affine_forward` or `layer.forward`.
        backward: likewise; nothing where the forward function gives the loss and its gradients.
        made: the class that `layer` is to be made of.
        cost: what makes the loss of the outputs, where the backward function asks for no cotangent.
    """

    forward: str
    backward: str = ""
    made: str = ""
    cost: str = ""

    def __str__(self) -> str:
        names = [n.replace("layer.", f"{self.made}.") for n in (self.forward, self.backward) if n]
        return " and ".join(names)


@dataclass(frozen=True)
class Untried:
    """A pair that could not be called.

    Attributes:
        pair: what it is.
        line: where its backward function begins.
        why: what was in the way.
    """

    pair: str
    line: int
    why: str


def line_of(pair: Pair, scope: Mapping[str, Any]) -> int:
    """Return the line at which the backward function of a pair begins."""
    name = pair.backward.removeprefix("layer.")
    function = getattr(scope[pair.made], name) if pair.made else scope[name]
    return function.__code__.co_firstlineno


def pairs(scope: Mapping[str, Any], file: str, ran: set[CodeType]) -> Iterator[Pair]:
    """Yield the pairs that a file defines of which nothing ran backward.

    Args:
        scope: the file's names.
        file: its name.
        ran: the code that ran.
    """
    own = {n: f for n, f in scope.items() if inspect.isfunction(f) and is_own(f, file)}
    costs = [n for n in own if COST.search(n) and not BACKWARD.search(n)]
    taken: set[str] = set()
    for name, function in own.items():
        forward = partner(name, own)
        if forward and function.__code__ not in ran:
            taken |= {name, forward}
            yield Pair(forward, name, cost=costs[0] if costs else "")
    for name, function in own.items():
        if name not in taken and GIVES_BOTH.search(name) and function.__code__ not in ran:
            yield Pair(name)
    for name, made in scope.items():
        if inspect.isclass(made) and made.__module__ == scope.get("__name__"):
            yield from methods(name, made, file, ran)


def methods(name: str, made: type, file: str, ran: set[CodeType]) -> Iterator[Pair]:
    """Yield the pair of methods of a class."""
    own = {n: f for n in dir(made) if inspect.isfunction(f := getattr(made, n)) and is_own(f, file)}
    backward = next((n for n in own if BACKWARD.search(n)), "")
    others = [n for n in own if FORWARD_METHODS.search(n)]
    forward = partner(backward, own) or (others or [""])[0]
    if forward and backward and own[backward].__code__ not in ran:
        yield Pair(f"layer.{forward}", f"layer.{backward}", name)
    elif not backward:
        both = [n for n in own if GIVES_BOTH.search(n) and own[n].__code__ not in ran]
        yield from (Pair(f"layer.{n}", made=name) for n in both)


def is_own(function: Callable[..., Any], file: str) -> bool:
    """Tell whether a function is written in a file."""
    return function.__code__.co_filename == file


def partner(name: str, known: Mapping[str, Any]) -> str:
    """Return the forward function that a backward one is called after, nothing if there is none."""
    if not BACKWARD.search(name):
        return ""
    for word in FORWARDS:
        other = BACKWARD.sub(word, name, count=1)
        for found in (other, other.strip("_"), other.replace("__", "_")):
            if found != name and found in known:
                return found
    return ""
