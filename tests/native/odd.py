"""Small odd training programs: axes of no entry and of one, repeated operands, views, empty indices.

`python odd.py FIRST LAST` trains each natively and by autograd, and prints a line for each seed.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

import handgrad as hg

SIZES = (0, 1, 1, 2, 3, 3, 5)
LR = 0.05
STEPS = 3
UNARY = (
    *("torch.tanh({a})", "torch.sigmoid({a})", "{a} * {a}", "{a}.abs()", "F.relu({a})", "-{a}"),
    *("({a}**2 + 1).sqrt()", "torch.sin({a})", "{a}.exp().log1p()", "{a}.clamp(-0.5, 0.7)"),
    *("{a}.detach() * {a}", "{a}.clone()", "F.gelu({a})", "{a} / ({a}**2 + 1)", "3 - {a}"),
)
BINARY = (
    *("{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / ({b}**2 + 1)", "torch.maximum({a}, {b})"),
    *("torch.where({a} > 0, {a}, {b})", "{a}.lerp({b}, 0.3)", "{a}.addcmul({b}, {b}, value=0.5)"),
)
PRODUCTS = (
    *("{a} @ {b}", "{a} @ {b}.mT", "{a}.mT @ {b}", "torch.dot({a}, {b})", "torch.outer({a}, {b})"),
    *("F.linear({a}, {b})", "{a}.mv({b})", "torch.bmm({a}, {b})", "torch.mm({a}, {b})"),
    "torch.einsum('ij,kj->ik', {a}, {b})",
)
VIEWS = (
    *("{a}.reshape(-1)", "{a}.flatten()", "{a}.unsqueeze({d})", "{a}.squeeze()", "{a}.mT"),
    *("{a}.flip({d})", "{a}.roll(1, {d})", "{a}[1:]", "{a}[:1]", "{a}[2:2]", "{a}[::2]", "{a}[-1]"),
    *("{a}[..., 0]", "{a}[..., 1:]", "{a}[None]", "{a}[..., :0]", "{a}.expand(2, *{a}.shape)"),
    *("{a}.tril()", "{a}.triu(1)", "{a}.diagonal()", "F.pad({a}, (1, 2))", "{a}.repeat(2, 1)"),
    *("{a}.narrow({d}, 0, 1)", "{a}.transpose(0, -1)", "{a}.contiguous().view(-1)"),
    *("torch.cat(torch.split({a}, 2))", "torch.split({a}, 2)[-1]", "{a}.chunk(2)[0]"),
    *(
        "torch.stack({a}.unbind(0)[::-1])",
        "torch.cat([{a}, {a}[:0], {a}])",
        "{a}.repeat_interleave(2, {d})",
    ),
)
REDUCTIONS = (
    *("{a}.sum()", "{a}.sum({d})", "{a}.sum({d}, keepdim=True)", "{a}.mean({d})", "{a}.prod({d})"),
    *("{a}.amax({d})", "{a}.max({d}).values", "{a}.amin({d}, keepdim=True)", "{a}.var({d})"),
    *("{a}.logsumexp({d})", "{a}.softmax({d})", "{a}.log_softmax({d})", "{a}.cumsum({d})"),
    *(
        "{a}.mean()",
        "{a}.norm()",
        "{a}.std({d}, unbiased=False)",
        "{a}.cumprod({d})",
        "{a}.square().sum()",
    ),
    *("F.layer_norm({a}, {a}.shape[-1:])", "F.normalize({a}, dim={d})", "{a}.trace()"),
)
INDICES = (
    *("{a}[{i}]", "{a}[{i}, ...]", "{a}.index_select({d}, {i})", "F.embedding({i}, {a})"),
    *("{a}[:, {i}]", "{a}[{i}][{i}]", "{a}[{l}]", "{a}[{l}, {l}]", "{a}[{i}, :, 1:]", "{a}[[]]"),
    *("{a}.index_add({d}, {i}, {a}.index_select({d}, {i}))", "{a}.take({i})"),
    *("{a}.gather({d}, {i}.expand_as({a}.index_select({d}, {i})))", "{a}[{i}[:, None], {i}]"),
    "{a}.gather(-1, {i}[..., None])",
    "{a}.scatter_add(0, {i}[:, None].expand(-1, {a}.shape[1]), {a}[{i}])",
    "{a}.index_put(({i},), {a}[{i}] * 2, accumulate=True)",
    "{a}.index_fill({d}, {i}, 0.5)",
)
JOINS = (
    *("torch.cat([{a}, {b}])", "torch.cat([{a}, {b}], {d})", "torch.stack([{a}, {b}], {d})"),
    *(
        "torch.hstack([{a}, {b}])",
        "F.mse_loss({a}, {b})",
        "torch.cat([{a}.reshape(-1), {b}.reshape(-1)])",
    ),
)
KINDS = (
    (UNARY, 4),
    (BINARY, 5),
    (PRODUCTS, 4),
    (VIEWS, 5),
    (REDUCTIONS, 3),
    (INDICES, 4),
    (JOINS, 2),
)


@dataclass
class Odd:
    """A program that is being made, run line by line as it grows."""

    seed: int
    lines: list[str] = field(default_factory=list)
    scope: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, torch.Tensor] = field(default_factory=dict)
    indices: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.scope |= {"torch": torch, "F": F}
        shared = self.random.choices(SIZES, k=2)
        for k in range(self.random.randint(1, 4)):
            own = [self.random.choice([*shared, self.random.choice(SIZES)]) for _ in range(3)]
            shape = tuple(own[: self.random.choice((0, 1, 1, 2, 2, 2, 3))])
            self.parameters[f"p{k}"] = torch.randn(
                shape, generator=self.generator, dtype=torch.float64
            )
        for k in range(2):
            count = self.random.choice((0, 1, 2, 3))
            self.indices[f"i{k}"] = torch.randint(0, 2, (count,), generator=self.generator)
        self.scope |= self.parameters | self.indices
        self.pool = list(self.parameters)

    def grown(self) -> Odd:
        """Add lines, and a loss of all that no line reads."""
        wanted = self.random.randint(2, 7)
        for _ in range(60):
            if len(self.lines) == wanted:
                break
            self.add()
        read = {n for line in self.lines for n in self.pool if n in line.partition("=")[2]}
        ends = [n for n in self.pool if n not in read or n in self.parameters]
        self.lines.append("loss = " + " + ".join(f"torch.tanh({n} * 0.5).sum()" for n in ends))
        return self

    def add(self) -> None:
        """Add a line, if one that is drawn works."""
        kinds, weights = zip(*KINDS, strict=True)
        (kind,) = self.random.choices(kinds, weights)
        fresh = f"v{len(self.lines)}"
        a = self.random.choice(self.pool[-3:] if self.random.random() < 0.6 else self.pool)
        b = a if self.random.random() < 0.25 else self.random.choice(self.pool)
        index = self.random.choice(list(self.indices))
        written = self.random.choice(("[0, 0]", "[1, 0, 1]", "[-1]"))
        text = self.random.choice(kind).format(
            a=a, b=b, d=self.random.choice((0, -1, 0, 1)), i=index, l=written
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = eval(text, dict(self.scope))
        except (RuntimeError, IndexError, TypeError, ValueError):
            return
        if made.numel() > 200 or not made.isfinite().all() or not made.is_floating_point():
            return
        self.scope[fresh] = made
        self.lines.append(f"{fresh} = {text}")
        self.pool.append(fresh)

    @property
    def source(self) -> str:
        """Return the program."""
        names = ", ".join([*self.parameters, *self.indices])
        return f"def forward({names}):\n    " + "\n    ".join([*self.lines, "return loss"]) + "\n"

    def forward(self) -> Callable[..., torch.Tensor]:
        """Return the program as a function."""
        space: dict[str, Any] = {"torch": torch, "F": F}
        exec(compile(self.source, f"<odd {self.seed}>", "exec"), space)
        return space["forward"]


def judge(seed: int) -> str:
    """Return what training a program natively comes to: ok, eager or refused and why, or WRONG."""
    odd = Odd(seed).grown()
    forward = odd.forward()
    theirs = {n: t.clone().requires_grad_() for n, t in odd.parameters.items()}
    optimiser = torch.optim.SGD(theirs.values(), LR)
    ours = {n: t.clone() for n, t in odd.parameters.items()}
    try:
        forward(**theirs, **odd.indices).backward()
    except RuntimeError as error:
        return f"skipped: {str(error).splitlines()[0]}"
    try:
        m = hg.compile(forward, **ours, **odd.indices, wrt=list(ours), optimizer=hg.nn.SGD(LR))
    except hg.HandgradError as error:
        return f"refused: {type(error).__name__}: {error}"
    for step in range(STEPS):
        optimiser.zero_grad()
        loss = forward(**theirs, **odd.indices)
        if not bool(loss.isfinite()):
            return "skipped: no finite loss"
        loss.backward()
        optimiser.step()
        if not all(bool(p.isfinite().all()) for p in theirs.values()):
            return "skipped: no finite gradient"
        pairs = [(m.step(), loss), *((ours[n], theirs[n]) for n in ours)]
        off = max(float((a - b).abs().max()) if a.numel() else 0.0 for a, b in pairs)
        if not off < 1e-7:
            return f"WRONG: {m.backend} is off by {off:.2g} after step {step + 1}"
    return "ok" if m.backend == "native" else f"eager: {m.note}"


def verdicts(seeds: range) -> Iterator[tuple[int, str]]:
    """Yield each seed with what it comes to."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for seed in seeds:
        try:
            yield seed, judge(seed)
        except Exception as error:
            yield seed, f"RAISED: {type(error).__name__}: {error}"


if __name__ == "__main__":
    for number, verdict in verdicts(range(int(sys.argv[1]), int(sys.argv[2]))):
        print(number, verdict.replace("\n", " | "), flush=True)
