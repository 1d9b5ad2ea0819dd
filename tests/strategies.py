"""Random forward passes as source text: fan-out, broadcasting, reused names, nested lines."""

from __future__ import annotations

import linecache
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

SIZES = (1, 2, 3, 5, 7, 11, 13)
UNARY = [
    "torch.tanh({x})",
    "{x}.sigmoid()",
    "torch.sin({x}) + {x}",
    "({x} * 0.3).exp()",
    "F.relu({x})",
    "F.gelu({x})",
    "F.softplus({x})",
    "({x}**2 + 1).sqrt()",
    "({x}**2 + 0.5)**-0.5",
    "torch.log1p({x}**2)",
    "-{x}",
    "1 / (1 + {x}.abs())",
    "{x} / 3",
    "2 - {x}",
    "{x}.clamp(min=-0.5, max=0.8)",
    "torch.where({x} > 0, {x}, 0.1 * {x})",
    "{x}.masked_fill({x} < 0, 0.25)",
    "F.silu({x}) * {x}",
]
AXIS = [
    "{x} - {x}.mean({d}, keepdim=True)",
    "{x} / ({x}**2).mean({d}, keepdim=True).add(1).sqrt()",
    "{x}.softmax({d})",
    "F.log_softmax({x}, dim={d})",
    "{x} - {x}.max({d}, keepdim=True).values",
    "{x}.cumsum({d})",
    "{x}.flip({d})",
    "({x} - {x}.mean({d}, keepdims=True)) * ({x}.var({d}, keepdim=True, unbiased=False) + 0.1)**-0.5",
    "torch.cat([{x}, {x} * 2], dim={d}).tanh()",
    "{x}.logsumexp({d}, keepdim=True) + {x}",
]
REDUCE = [
    "{x}.sum({d})",
    "{x}.mean({d})",
    "{x}.amax({d})",
    "{x}.logsumexp({d})",
    "torch.sum({x}, {d})",
]


@dataclass
class Forward:
    """A forward pass under construction."""

    rng: random.Random
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    leaves: dict[str, torch.Tensor] = field(default_factory=dict)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def leaf(self, shape: tuple[int, ...]) -> str:
        name = f"W{len(self.leaves)}"
        generator = torch.Generator().manual_seed(self.rng.randrange(2**31))
        self.leaves[name] = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.7
        self.shapes[name] = shape
        return name

    def pick(self, rank: int = 0) -> str:
        known = [n for n, s in self.shapes.items() if len(s) >= rank]
        return self.rng.choice(known) if known else self.leaf(self.shape(rank))

    def shape(self, rank: int) -> tuple[int, ...]:
        return tuple(self.rng.choice(SIZES) for _ in range(rank))

    def assign(self, text: str, name: str | None = None) -> None:
        scope: dict[str, Any] = {"torch": torch, "F": F}
        scope |= {n: torch.ones(s, dtype=torch.float64) for n, s in self.shapes.items()}
        scope |= self.constants
        shape = tuple(eval(text, scope).shape)
        if torch.Size(shape).numel() > 4000:
            return
        name = name or f"a{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        self.shapes[name] = shape

    def step(self) -> None:
        kinds: list[Callable[[], None]] = [
            self.unary,
            self.unary,
            self.axis,
            self.axis,
            self.binary,
            self.binary,
            self.reduce,
            self.matmul,
            self.layout,
            self.index,
        ]
        self.rng.choice(kinds)()

    def unary(self) -> None:
        x = self.pick()
        reuse = self.rng.random() < 0.3 and x not in self.leaves
        self.assign(self.rng.choice(UNARY).format(x=x), x if reuse else None)

    def dim(self, x: str) -> int:
        rank = len(self.shapes[x])
        return self.rng.randrange(-rank, rank)

    def axis(self) -> None:
        x = self.pick(1)
        self.assign(self.rng.choice(AXIS).format(x=x, d=self.dim(x)))

    def reduce(self) -> None:
        x = self.pick(1)
        keep = self.rng.choice(["", ", keepdim=True"])
        self.assign(self.rng.choice(REDUCE).format(x=x, d=self.dim(x)).replace(")", keep + ")", 1))

    def binary(self) -> None:
        x = self.pick()
        shape = list(self.shapes[x])
        for axis in range(len(shape)):
            if self.rng.random() < 0.3:
                shape[axis] = 1
        shape = shape[self.rng.randrange(len(shape) + 1) if self.rng.random() < 0.3 else 0 :]
        fits = [n for n, s in self.shapes.items() if self.broadcasts(s, self.shapes[x])]
        other = self.rng.choice(fits) if self.rng.random() < 0.6 else self.leaf(tuple(shape))
        text = self.rng.choice(
            ["{x} * {y}", "{x} + {y}", "{y} - {x}", "{x} / ({y}**2 + 1)", "torch.maximum({x}, {y})"]
        )
        self.assign(text.format(x=x, y=other))

    @staticmethod
    def broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))

    def matmul(self) -> None:
        x = self.pick(2)
        weight = self.leaf((self.shapes[x][-1], self.rng.choice(SIZES)))
        self.assign(f"({x} @ {weight}).tanh()" if self.rng.random() < 0.5 else f"{x} @ {weight}")

    def layout(self) -> None:
        x = self.pick(2)
        text = self.rng.choice(
            [
                "{x}.mT",
                "{x}.reshape(-1)",
                "{x}.transpose(0, 1)",
                "{x}.unsqueeze(1)",
                "{x}.flatten()",
                "torch.stack([{x}, {x}**2])",
                "{x}.view({x}.shape[0], -1)",
                "{x}.repeat_interleave(2, 0)",
            ]
        )
        if "view" in text and x not in self.leaves:
            text = text.replace("view", "reshape")
        self.assign(text.format(x=x))

    def index(self) -> None:
        x = self.pick(1)
        size = self.shapes[x][0]
        name = f"i{len(self.constants)}"
        count = self.rng.choice(SIZES)
        self.constants[name] = torch.tensor([self.rng.randrange(size) for _ in range(count)])
        self.assign(
            self.rng.choice(
                [
                    "{x}[{i}]",
                    "{x}[0]",
                    "{x}[:2]",
                    "{x}[..., 0]",
                    "{x}.index_select(0, {i})",
                    "{x}[None]",
                    "{x}[-1:]",
                ]
            ).format(x=x, i=name)
        )

    def finish(self) -> str:
        alive = [n for n in self.shapes if n not in self.leaves][-4:]
        terms = " + ".join(f"({n} * {k + 1}.5).mean()" for k, n in enumerate(alive))
        self.lines.append(f"loss = {terms}")
        names = ", ".join([*self.leaves, *self.constants])
        body = "\n".join("    " + line for line in self.lines)
        return f"def forward({names}):\n{body}\n    return loss\n"


def random_forward(seed: int) -> tuple[Callable[..., Any], dict[str, Any], str]:
    """Return a random forward pass, its arguments and its source."""
    made = Forward(random.Random(seed))
    for rank in (2, made.rng.choice([0, 1, 2]), made.rng.choice([1, 3])):
        made.leaf(made.shape(rank))
    for _ in range(made.rng.randrange(5, 40)):
        made.step()
    source = made.finish()
    file = f"<random forward {seed}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(compile(source, file, "exec"), scope)
    return scope["forward"], {**made.leaves, **made.constants}, source
