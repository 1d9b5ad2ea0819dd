"""Inputs for a function of which only the signature is known: a search over shapes and kinds."""

from __future__ import annotations

import ast
import heapq
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

N, T, D, H, M, C, S, F, V = 3, 2, 4, 5, 6, 3, 6, 2, 7  # lengths that tell axes apart
DATA = [
    *[(N, D), (N, T, D), (N, C, S, S), (D, N), (N, S, S, C), (D, 1), (D,), (N, H), (H, N)],
    *[(N, T, H), (C, S, S), (S, S), (N, M), (D, N, T)],
]
STATE = [(N, H), (H, N), (H, 1), (H,), (N, D), (D, N)]
WEIGHT = [
    *[(D, M), (M, D), (D, H), (H, H), (H, D), (F, C, 3, 3), (3, 3, C, F), (V, D), (D, 4 * H)],
    *[(H, 4 * H), (D,), (M,), (C, 1, 3, 3), (H, D + H), (D, H + D), (H, M), (M, H)],
]
FROM_STATE = [(H, H), (H, 4 * H), (H, 3 * H), (4 * H, H), (3 * H, H), (H, M), (M, H)]
FROM_INPUT = [(D, H), (D, 4 * H), (D, 3 * H), (H, D), (4 * H, D), (3 * H, D)]
GATE = [(H, D + H), (D + H, H), *FROM_STATE]
BIAS = [
    *[(M,), (D,), (H,), (4 * H,), (3 * H,), (F,), (C,), (M, 1), (H, 1), (1, M), (1, H), (1, D)],
    *[(D, 1), (1, C, 1, 1), (1, 1, 1, F), (4 * H, 1), (1, 4 * H), (1,), ()],
]
COUNTS = [((N,), "int"), ((N, T), "int"), ((N, T, 1), "bool"), ((N, T), "bool")]
KINDS: list[tuple[str, list[Any]]] = [  # by what a parameter is called, its shapes in order
    (r"(?i)^(mask)s?$", [((N, T), "bool"), ((N, D), "bool"), (N, D)]),
    (r"(?i)^(y|t|targets?|labels?|y_?true|y_?batch)$", [*COUNTS[:2], (N, D), (D, N), (N, M), (D,)]),
    (r"(?i)^(w_?h_?h?|w_?a_?a|u_?h|wh\w?|rec\w*)$", FROM_STATE),
    (r"(?i)^(w_?x_?h?|w_?a_?x|u|wx\w?)$", FROM_INPUT),
    (r"(?i)^(w_?h_?y|w_?y_?a|v)$", [(H, M), (M, H), *WEIGHT]),
    (r"(?i)^w_?[ifoczrugh]$", GATE),
    (r"(?i)^(w\w*|\w*weights?|theta\w*|kernels?|filters?|k|embed\w*)$", WEIGHT),
    (r"(?i)^(b\w*|beta|gamma|bias\w*|scale|shift|g|alpha)$", BIAS),
    (r"(?i)^(h\d?|c\d?|\w*prev\w*|\w*state\w*|a\d|h_?0|a_?0)$", STATE),
    (r"^x$|(?i:^idx|ind|tokens?)", [*DATA, *COUNTS]),
    (r"", DATA),
]
NUMBERS: list[tuple[str, Any]] = [  # by what a number is called
    (r"(?i)^(pad\w*)$", 1),
    (r"(?i)^(pool\w*|\w*height|\w*width|f|kernel_size|k(ernel)?_?[hw]?|ph|pw|size)$", 2),
    (r"(?i)^(stride\w*|s)$", 1),
    (r"(?i)^(eps\w*)$", 1e-5),
    (r"(?i)^(momentum|beta\d|decay)$", 0.9),
    (r"(?i)^(p|keep_?prob\w*|dropout\w*|ratio|rate)$", 0.5),
    (r"(?i)^(lr|learning_?rate|eta|reg\w*|lambd?a?|step_?size|alpha|l2)$", 0.01),
    (r"(?i)^(seed)$", 0),
    (r"(?i)^(axis|dim)$", 1),
    (r"(?i)^(m|n|batch_?size|bs)$", N),
    (r"(?i)^(mode|phase)$", "train"),
    (r"(?i)^(train\w*|training|is_train\w*)$", True),
    (r"(?i)^(groups?|g|num_groups)$", 1),
    (r"(?i)^(activation\w*)$", "relu"),
]
SETTINGS = r"(?i)^(\w*_params?|cfg|conf(ig)?|h_?params?|hyper\w*|opts?|options|settings)$"
LENGTHS = (D, M, H, N, V, C)
MOST_TRIED = 2_500


@dataclass(frozen=True)
class Choice:
    """One thing that a parameter may be given.

    Attributes:
        make: makes it.
        told: what it is, `[3, 4]`.
    """

    make: Callable[[], Any]
    told: str


class Filled(dict[str, Any]):
    """A dict of settings that has what it is asked for."""

    def __missing__(self, key: str) -> Any:
        self[key] = found = number_called(key)
        return found


@dataclass
class Signature:
    """A function's parameters and what its text says of them.

    Args:
        function: a function or a bound method.
        wrap: makes of a tensor what the file computes with.
        known: what some parameters are given, by their names.
    """

    function: Callable[..., Any]
    wrap: Callable[[torch.Tensor], Any]
    known: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def names(self) -> list[str]:
        """Return the parameters that are to be given."""
        some = inspect.signature(self.function).parameters.values()
        return [p.name for p in some if self.is_asked(p)]

    def is_asked(self, parameter: inspect.Parameter) -> bool:
        """Tell whether a parameter is to be given: no default, a target's `y=None`, `reg=0.0`."""
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            return False
        target = parameter.default is None and re.match(KINDS[1][0], parameter.name)
        none = parameter.default == 0 and re.match(r"(?i)^(reg\w*|lambd?a?|l2)$", parameter.name)
        return parameter.default is parameter.empty or bool(target or none)

    def choices(self, name: str, lengths: bool = False) -> list[Choice]:
        """Return what a parameter may be given, the likeliest first."""
        text = text_of(getattr(self.function, "__func__", self.function))
        if name in self.known:
            return [Choice(lambda: self.known[name], "")]
        compared = strings_compared(text, name)
        if compared:
            return [Choice(lambda s=s: s, repr(s)) for s in compared]
        if re.match(SETTINGS, name) or is_dict(text, name):
            return [Choice(Filled, "settings")]
        numbers = [value for form, value in NUMBERS if re.match(form, name)]
        if lengths:
            some = [*numbers, *LENGTHS] if numbers and not isinstance(numbers[0], str) else LENGTHS
            return [Choice(lambda n=n: n, str(n)) for n in some]
        kinds = next(kinds for form, kinds in KINDS if re.search(form, name))
        rest = [k for k in (*DATA, *WEIGHT, *BIAS, *COUNTS) if k not in kinds]
        shapes = [self.array(kind) for kind in (*kinds, *rest)]
        plain = [Choice(lambda v=v: v, repr(v)) for v in numbers[:1]]
        first = plain if plain and not re.match(r"(?i)^(b\w*|g|alpha|k|f|p|s|m|n)$", name) else []
        return [*first, *shapes[:3], *(p for p in plain if not first), *shapes[3:]]

    def array(self, kind: Any) -> Choice:
        """Return one kind of array."""
        shape, what = kind if kind and isinstance(kind[0], tuple) else (kind, "")
        return Choice(lambda: self.wrap(drawn(shape, what)), f"{what} {list(shape)}".strip())

    def assignments(self, lengths: bool = False) -> Iterator[dict[str, Choice]]:
        """Yield what the parameters may be given, the likeliest first."""
        names = self.names
        options = [self.choices(name, lengths) for name in names]
        for picked in islice_by_rank([len(each) for each in options], MOST_TRIED):
            yield {n: o[k] for n, o, k in zip(names, options, picked, strict=True)}


def islice_by_rank(counts: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """Yield places in several lists, those with the smallest sum first."""
    start: tuple[int, ...] = (0,) * len(counts)
    seen: set[tuple[int, ...]] = {start}
    waiting: list[tuple[int, tuple[int, ...]]] = [(0, start)]
    while waiting and most > 0:
        total, places = heapq.heappop(waiting)
        yield places
        most -= 1
        for k, count in enumerate(counts):
            further = (*places[:k], places[k] + 1, *places[k + 1 :])
            if further[k] < count and further not in seen:
                seen.add(further)
                heapq.heappush(waiting, (total + 1, further))


def drawn(shape: tuple[int, ...], what: str = "") -> torch.Tensor:
    """Draw an array: float64, small whole numbers, or truths; the same ones for the same shape."""
    generator = torch.Generator().manual_seed(sum(n * 31**k for k, n in enumerate(shape, 1)))
    if what == "int":
        return torch.randint(0, 3, shape, generator=generator)
    found = torch.randn(shape, generator=generator, dtype=torch.float64)
    return found > 0 if what == "bool" else found


def number_called(name: str) -> Any:
    """Return what a setting of this name is likely to be."""
    return next((value for form, value in NUMBERS if re.match(form, name)), 1)


@cache
def text_of(function: Callable[..., Any]) -> ast.AST | None:
    """Return the tree of a function's text, None where it cannot be read."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def strings_compared(tree: ast.AST | None, name: str) -> list[str]:
    """Return the texts that a parameter is compared with: `activation == "relu"`."""
    found: dict[str, None] = {}
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Compare) and is_name(node.left, name):
            for other in node.comparators:
                for part in ast.walk(other):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        found[part.value] = None
    return list(found)


def is_dict(tree: ast.AST | None, name: str) -> bool:
    """Tell whether a parameter is read by keys that are texts."""
    found = False
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Subscript) and is_name(node.value, name):
            parts = [n for n in ast.walk(node.slice) if isinstance(n, ast.Constant)]
            found = found or any(isinstance(part.value, str) for part in parts)
        if isinstance(node, ast.Attribute) and node.attr in ("get", "setdefault", "items"):
            found = found or is_name(node.value, name)
    return found


def is_name(node: ast.AST, name: str) -> bool:
    """Tell whether a node is a name."""
    return isinstance(node, ast.Name) and node.id == name
