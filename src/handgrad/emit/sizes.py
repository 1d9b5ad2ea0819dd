"""Numbers that follow the sizes of arguments: found by running the forward pass at other sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from handgrad.emit.parameters import Definition, Signature
from handgrad.emit.resize import Setting, Settings

Numbers = Mapping[str, Any]


def followed(
    signature: Signature,
    given: Mapping[str, Any],
    settings: Settings,
    numbers: Callable[[Setting], Numbers],
) -> Signature:
    """Return a signature whose numbers are sizes of arguments wherever they change with them.

    The number of a helper's own line, `B, T, C = x.shape`, is known by its value alone. What it is
    at other sizes tells which axis it counts, or which quotient or product of sizes it is.

    Args:
        signature: with lines such as `T = 5`.
        given: the arguments by the words of the call.
        settings: arguments of other sizes.
        numbers: the numbers of the forward pass, by name, for those.
    """
    wanted = [made for made in signature.definitions if number_in(made) >= 0]
    tries = [*settings.alone, *settings.numbers]
    if not wanted or not tries:
        return signature
    tries += [settings.together] if settings.together else []
    runs = [(words(s.given, signature), numbers(s)) for s in tries]
    texts = list(spelled(words(given, signature)))
    found = [
        follows(made, texts, runs) if number_in(made) >= 0 else made
        for made in signature.definitions
    ]
    return replace(signature, definitions=tuple(found))


def number_in(made: Definition) -> int:
    """Return the whole number that a line sets a name to, -1 if that is not all it does."""
    name, _, text = made.text.partition(" = ")
    return int(text) if made.targets == (name,) and text.isdigit() else -1


def words(given: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """Return arguments by the names of the parameters."""
    return dict(zip(signature.names, given.values(), strict=False))


def spelled(given: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield texts that make whole numbers of arguments, each with the names it reads."""
    axes = [
        (f"{word}.shape[{axis}]", word)
        for word, value in given.items()
        if isinstance(value, torch.Tensor)
        for axis in range(value.ndim)
    ]
    numbers = [(word, word) for word, value in given.items() if type(value) is int]
    yield from ((text, (word,)) for text, word in [*axes, *numbers])
    for text, word in axes:
        for other, name in [*numbers, *axes]:
            if other != text:
                yield f"{text} // {other}", (word, name)
                yield f"{text} * {other}", (word, name)
    for text, word in axes:
        for change in (" - 1", " + 1", " // 2", " * 2", " // 2 + 1"):
            yield text + change, (word,)


def follows(
    made: Definition,
    texts: list[tuple[str, tuple[str, ...]]],
    runs: list[tuple[dict[str, Any], Numbers]],
) -> Definition:
    """Return the line that makes a number of sizes; the line itself where none does everywhere."""
    name = made.targets[0]
    known = [(given, numbers[name]) for given, numbers in runs if name in numbers]
    if all(value == number_in(made) for _, value in known):
        return made
    for text, reads in texts:
        if all(value_of(text, given) == value for given, value in known):
            return Definition(made.targets, tuple(dict.fromkeys(reads)), f"{name} = {text}")
    return made


def value_of(text: str, given: Mapping[str, Any]) -> Any:
    """Return what a text of sizes is for some arguments, None where it divides by zero."""
    try:
        return eval(text, {}, dict(given))
    except ZeroDivisionError:
        return None
