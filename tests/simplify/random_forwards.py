"""Random forward passes over what the simplifier knows: the same text, run at three sets of sizes."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from simplify.cases.declare import Case, Draw, Spelling
from simplify.running import floating

Shape = tuple[str | int, ...]
GENERIC = {"n": 5, "V": 7}  # sizes that tell the axes of a shape apart
SIZES = (2, 3, 4, 5, 6, 7)
REACH = 300.0  # values beyond it are not kept
AWAY = 0.05  # how far from 0 a divisor is, and what has a log or a root

# {x} is any tensor, {y} one that broadcasts with it, {p} a positive one, {u} one away from 0,
# {t} a table [n, V], {d} an axis, {k} a way to keep it; a line may be followed by others.
PLAIN = [
    "{x} * {y}",
    "{x} * {y}",
    "{x} + {y}",
    "{x} - {y}",
    "{y} - {x}",
    "{x} / {u}",
    "{x} / {u}",
    "-{x}",
    "2 * {x}",
    "{x} / 3",
    "{x} - 1",
    "{x} + 1",
    "1 - {x}",
    "{x} / n",
    "1 / V * {x}",
    "n * {x}",
    "{x} / {literal}",
]
POWERS = [
    "{x}**2",
    "{x} * {x}",
    "{x}**3",
    "{x}.square()",
    "{u}**-1",
    "{u}**-2",
    "1 / {u}",
    "{p}**-0.5",
    "{p}**0.5",
    "{p}**1.5",
    "({x}**2 + 1e-5) ** -0.5",
    "({x}**2) ** 0.5",
    "{p}.sqrt()",
    "torch.rsqrt({p})",
]
CURVES = [
    "{x}.exp()",
    "torch.exp(-{x})",
    "{p}.log()",
    "torch.tanh({x})",
    "{x}.sigmoid()",
    "torch.log1p({x}.exp())",
    "F.relu({x})",
]
REDUCTIONS = [
    "{v}.sum({d}{k})",
    "{v}.sum({d}{k})",
    "{v}.mean({d}{k})",
    "{v}.mean({d}{k})",
    "{v}.sum()",
    "{v}.mean()",
    "{v}.var({d}{k})",
    "{v}.var({d}, unbiased=False{k})",
    "{v}.logsumexp({d}{k})",
    "{v}.amax({d}{k})",
    "{v}.max({d}{k}).values",
]
ALONG = [
    "{v}.softmax({d})",
    "{v}.log_softmax({d})",
    "{v} - {v}.mean({d}, keepdim=True)",
    "{v} / {v}.sum({d}, keepdim=True)",
    "{v} - {v}.max({d}, keepdim=True).values",
    "{v} - {v}.logsumexp({d}, keepdim=True)",
]
CHOICES = [
    "{t}[range(n), label]",
    "{t}.gather(1, label[:, None])",
    "F.one_hot(label, V) * {t}",
    "{t} * onehot",
    "(onehot * {t}).sum(1)",
    "torch.where(mask, {t}, {y})",
    "torch.where({x} > 0, {x}, 0)",
    "torch.where({x} > {y}, {x}, {y})",
    "{t}.masked_fill(mask, 0.5)",
    "{t}.masked_fill(mask, 0)",
    "{t} * mask",
    "{x} * ({y} > 0)",
    "{r}[:, None]",
    "{r}.unsqueeze(1)",
]
IDIOMS = [  # {0}, {1}, ... are fresh names
    "{0} = {v} - {v}.max({d}, keepdim=True).values; {1} = {0}.exp(); "
    "{2} = {1}.sum({e}, keepdim=True); {3} = {1} / {2}",
    "{0} = {v}.exp(); {1} = {0}.sum({d}, keepdim=True); {2} = {1}**-1; {3} = {0} * {2}; {4} = {3}.log()",
    "{0} = {v}.exp(); {1} = {0} - 1; {2} = {0} + 1; {3} = {1} / {2}",
    "{0} = (-{v}).exp(); {1} = 1 + {0}; {2} = 1 / {1}; {3} = 1 - {2}",
    "{0} = {v}.mean({d}, keepdim=True); {1} = {v} - {0}; {2} = ({1}**2).mean({e}, keepdim=True); "
    "{3} = ({2} + 1e-5) ** -0.5; {4} = {1} * {3}",
    "{0} = {v}.sum({d}, keepdim=True) / {size}; {1} = {v} - {0}; "
    "{2} = ({1} * {1}).sum({d}, keepdim=True) / ({size} - 1); {3} = ({2} + 0.1).sqrt(); {4} = {1} / {3}",
    "{0} = ({v}**2).sum({d}, keepdim=True); {1} = {0}**-0.5; {2} = {v} * {1}",
    "{0} = {v}.sum({d}, keepdim=True); {1} = {v} / {0}; {2} = {1}.sum({e}, keepdim=True)",
    "{0} = ({x} * {y}).sum(); {1} = {x} * {0}",
    "{0} = {x} * {y}; {1} = {0} * {x}; {2} = {0} + {1}",
    "{0} = {t}.softmax(1); {1} = -{0}.log()[range(n), label]; {2} = {1}.mean()",
    "{0} = {x}.sigmoid(); {1} = {0} * (1 - {0}); {2} = {1} / {0}",
]


@dataclass
class Program:
    """A forward pass under construction.

    Attributes:
        rng: what decides.
        sizes: the three sets of sizes.
        draws: each argument and how it is drawn.
        scopes: what the lines see, at each set of sizes and at the generic one.
        shapes: the shape of each tensor, in size names.
        lines: the lines so far.
    """

    rng: random.Random
    sizes: tuple[Mapping[str, int], ...]
    draws: dict[str, Draw | str] = field(default_factory=dict)
    scopes: list[dict[str, Any]] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)

    def begin(self, seed: int) -> None:
        """Choose the arguments."""
        shapes: list[Shape] = [("n", "V"), ("n", "V"), ("V",), ("n",), ("n", 1), (1, "V"), ()]
        chosen = [("n", "V"), *self.rng.sample(shapes, self.rng.randrange(1, 4))]
        for name, shape in zip(("x", "w", "g", "b"), chosen, strict=False):
            self.draws[name] = Draw(self.rng.choice(["real", "real", "positive"]), shape)
            self.shapes[name] = shape
        self.draws |= {"label": Draw("label", ("n",), "V"), "mask": Draw("causal", ("n", "V"))}
        self.draws |= {"n": "n", "V": "V"}
        case = Case("", self.draws, (*self.sizes, GENERIC), (), (), seed=seed)
        for place in range(len(case.sizes)):
            self.scopes.append({"torch": torch, "F": F, **case.draw(place)})

    def step(self) -> None:
        """Append a line or an idiom."""
        kinds = [PLAIN, PLAIN, POWERS, CURVES, REDUCTIONS, REDUCTIONS, ALONG, CHOICES]
        if self.rng.random() < 0.3:
            self.idiom(self.rng.choice(IDIOMS))
            return
        text = self.filled(self.rng.choice(self.rng.choice(kinds)))
        if text is None:
            return
        again = self.made and self.rng.random() < 0.12
        self.assign(self.rng.choice(self.made) if again else self.fresh(), text)

    def idiom(self, pattern: str) -> None:
        """Append several lines; the first that does not run ends them."""
        filled = self.filled(pattern)
        if filled is None:
            return
        for number in range(filled.count("; ") + 1):
            filled = filled.replace(f"<{number}>", self.fresh(number))
        for line in filled.split("; "):
            target, text = line.split(" = ", 1)
            if not self.assign(target, text):
                return

    def fresh(self, ahead: int = 0) -> str:
        """Return a name that is not taken."""
        return f"a{len(self.lines) + ahead}"

    def filled(self, pattern: str) -> str | None:
        """Return a pattern with names in its places; None where nothing fits."""
        axis = self.rng.choice(["0", "1", "-1", "1"])
        x = self.recent(list(self.shapes))
        choices: dict[str, Callable[[], str | None]] = {
            "x": lambda: x,
            "y": lambda: self.beside(x, list(self.shapes)),
            "p": lambda: self.recent(self.where(lambda t: bool((t > AWAY).all()))),
            "u": lambda: self.beside(x, self.where(lambda t: bool((t.abs() > AWAY).all()))),
            "t": lambda: self.recent([m for m, s in self.shapes.items() if s == ("n", "V")]),
            "v": lambda: self.recent([m for m, s in self.shapes.items() if len(s) == 2]),
            "r": lambda: self.recent([m for m, s in self.shapes.items() if s == ("n",)]),
            "d": lambda: axis,
            "e": lambda: axis if self.rng.random() < 0.8 else "0",
            "k": lambda: self.rng.choice(["", ", keepdim=True", ", keepdim=True"]),
            "size": lambda: "n" if axis == "0" or self.misleads() else "V",
            "literal": lambda: str(self.sizes[0][self.rng.choice("nV")]),
        }
        keys = set(re.findall(r"{(\w+)}", pattern))
        found = {key: choices[key]() for key in sorted(keys & set(choices))}
        if None in found.values():
            return None
        numbers = {key: f"<{key}>" for key in keys if key.isdigit()}
        return re.sub(r"{(\w+)}", lambda m: str({**found, **numbers}[m[1]]), pattern)

    def misleads(self) -> bool:
        """Tell whether to divide by the wrong size; where both are one, no trace tells them apart."""
        wanted = self.rng.random() < 0.15
        return wanted and self.sizes[0]["n"] != self.sizes[0]["V"]

    def recent(self, names: list[str]) -> str | None:
        """Return one of some names, more often a late one."""
        late = names[-3:] if self.rng.random() < 0.6 else names
        return self.rng.choice(late) if late else None

    def beside(self, x: str | None, names: list[str]) -> str | None:
        """Return one of some names that broadcasts with another."""
        shape = self.shapes[x or "x"]
        return self.recent([name for name in names if broadcasts(self.shapes[name], shape)])

    def where(self, holds: Callable[[torch.Tensor], bool]) -> list[str]:
        """Return the names whose values are as asked at all sizes."""
        return [m for m in self.shapes if all(holds(scope[m]) for scope in self.scopes)]

    def assign(self, name: str, text: str) -> bool:
        """Append a line if its values are tame, and its shape said by size names, at all sizes."""
        if "onehot" in text and "onehot" not in self.shapes:
            self.assign("onehot", "F.one_hot(label, V).to(x.dtype)")
        try:
            with warnings.catch_warnings(action="error"):
                values = [eval(text, scope) for scope in self.scopes]
        except (RuntimeError, IndexError, ZeroDivisionError, UserWarning):
            return False  # shapes that do not fit, or the variance of one, at some sizes
        names = {size: axis for axis, size in GENERIC.items()}
        shape = tuple(names.get(size, size) for size in values[-1].shape)
        tame = all(
            bool(v.isfinite().all()) and float(v.abs().max()) < REACH for v in values if v.numel()
        )
        if not tame or not set(shape) <= {"n", "V", 1}:
            return False
        for scope, value in zip(self.scopes, values, strict=True):
            scope[name] = value
        self.shapes[name] = shape
        self.lines.append(f"{name} = {text}")
        self.made += [name] if name not in self.made else []
        return True

    def finish(self, seed: int) -> Case | None:
        """Return the program; its result is the last line's, or a loss made of the last few."""
        names = [name for name in self.made if name != "onehot"][-3:]
        if not names:
            return None
        if self.rng.random() < 0.5:
            parts = [f"({name} * {k + 2}).sum()" for k, name in enumerate(names)]
            ways = [f"{names[-1]}.mean()", f"{names[-1]}.sum() / n", " + ".join(parts)]
            self.lines.append(f"loss = {self.rng.choice(ways)}")
        elif not self.lines[-1].startswith(f"{names[-1]} = "):
            self.lines.append(f"out = {names[-1]} * 1")
        output = self.lines[-1].split(" = ")[0]
        how = Spelling("", "\n".join(self.lines), "", 0, output, f"<random program {seed}>")
        made = Case(f"random program {seed}", self.draws, self.sizes, (), (how,), seed=seed)
        given = made.draw()
        leaves = {m: given[m].requires_grad_() for m in floating(given)}
        return made if made.function(how)(**{**given, **leaves}).requires_grad else None


def broadcasts(a: Shape, b: Shape) -> bool:
    """Tell whether two shapes broadcast."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return all(m == n or 1 in (m, n) for m, n in pairs)


def random_sizes(rng: random.Random) -> tuple[Mapping[str, int], ...]:
    """Return three sets of sizes: sometimes both the same, sometimes 1.

    An axis of size 1 at the first is one at all: nothing in a trace tells it from one kept by a sum.
    """
    found: list[Mapping[str, int]] = []
    for place in range(3):
        n, v = rng.choice(SIZES), rng.choice(SIZES)
        if n == v and place == 0 and rng.random() < 0.7:
            v = n % 7 + 2
        if rng.random() < 0.08 or (found and found[0]["n"] == 1):
            n = 1
        found.append({"n": n, "V": v})
    return tuple(found)


def random_program(seed: int) -> Case:
    """Return a random forward pass of one spelling, with its arguments at three sets of sizes."""
    rng = random.Random(seed)
    while True:
        made = Program(rng, random_sizes(rng))
        made.begin(seed)
        with torch.no_grad():
            for _ in range(rng.randrange(2, 9)):
                made.step()
        found = made.finish(seed)
        if found:
            return found
