"""What cannot be tested is never shown as right: dead branches, zero gradients, NaN, no entries.

Each case has a right line and a wrong one. Where the checker calls the right line correct, it must
call the wrong one wrong: then the line was tested after all. Else neither is shown as correct.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass, field
from itertools import count

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.check.assess import assess
from handgrad.check.judge import Judge
from handgrad.check.report import Row
from handgrad.check.statements import statements

NUMBER = count()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, W, B = random(5, 3), random(3, 7, seed=1), random(7, seed=2)
MASK = torch.zeros(5, 3, dtype=torch.bool)


@dataclass(frozen=True)
class Case:
    """A forward pass in which a line of the backward pass is hardly tested.

    Attributes:
        forward: its lines; the last makes `loss`.
        right: the right line.
        wrong: the same with a mistake.
        leaves: what gradients are wanted for.
        constants: what else it reads.
        needs: lines that come before, all right.
    """

    forward: str
    right: str
    wrong: str
    leaves: dict[str, torch.Tensor] = field(default_factory=lambda: {"x": X})
    constants: dict[str, object] = field(default_factory=dict)
    needs: str = ""

    @property
    def name(self) -> str:
        return self.right.split(" = ")[0]


def row(case: Case, line: str) -> Row:
    """Return the checker's row of the line."""
    given = {**case.leaves, **case.constants}
    body = "\n".join("    " + text for text in case.forward.split("; "))
    source = f"def forward({', '.join(given)}):\n{body}\n    return loss\n"
    file = f"<untested {next(NUMBER)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = {"torch": torch, "F": F}
    exec(compile(source, file, "exec"), scope)
    trace = hg.trace(scope["forward"], **given, wrt=[*case.leaves])
    text = "\n".join(part for part in (*case.needs.split("; "), line) if part)
    report = assess(Judge(trace, statements(text), case.constants))
    return next(r for r in report.rows if r.name == case.name)


def dead(function: str, derivative: str, wrong: str, shift: str = "x") -> Case:
    """Return a case in which `y` is a function of a part of x and the loss its sum."""
    return Case(f"u = {shift}; y = {function}; loss = (y * y).sum()", derivative, wrong)


ZERO = {"k": torch.zeros(5, 3, dtype=torch.float64)}
NOTHING = {"x": random(0, 3)}
NANS = {"x": X.masked_fill(X > 0.5, float("nan"))}
NEGATIVE = {"x": -X.abs() - 0.1}
W0 = {"x": X, "W": torch.zeros_like(W)}
CASES = [
    # the upstream gradient is zero
    Case("y = x * x; loss = (y * 0.0).sum()", "dx = 2 * x * dy", "dx = x * dy", needs="dy = 0.0 * dloss.expand_as(y)"),
    Case("y = x**3; loss = (y * k).sum()", "dx = 3 * x**2 * dy", "dx = 2 * x**2 * dy", constants=ZERO),
    Case("y = x**3; z = y * k; loss = z.sum()", "dy = dz * k", "dy = 3 * dz * k", constants=ZERO),
    Case("y = x.exp(); z = y - y; loss = z.sum()", "dy = dz - dz", "dy = dz * 0"),
    Case("y = x.sign(); z = y * x; loss = z.sum()", "dx = dz * y", "dx = dz * y + dy"),
    Case("y = x.round(); loss = (y + x).sum()", "dx = dloss.expand_as(x)", "dx = 2 * dloss.expand_as(x)"),
    Case("y = x.floor() * x; loss = y.mean()", "dx = dy * x.floor()", "dx = dy * x"),
    Case("p = x.softmax(1); s = p.sum(1); loss = s.sum()", "dp = ds[:, None].expand_as(p)", "dp = 2 * ds[:, None].expand_as(p)"),
    Case("p = x.softmax(1); s = p.sum(1); loss = s.sum()", "dx = p * (dp - (dp * p).sum(1, keepdim=True))", "dx = p * dp"),
    Case("c = x - x.mean(0); m = c.mean(0); loss = m.sum()", "dc = (dm / 5).expand_as(c)", "dc = dm.expand_as(c)"),
    Case("y = x.tanh(); loss = (y.detach() * y * 0).sum()", "dx = dy * (1 - y**2)", "dx = dy * (1 + y**2)"),
    # relu and its kin, dead everywhere near
    dead("torch.relu(u)", "du = dy * (u > 0)", "du = dy * 0.5 * (u > 0)", "x - 100"),
    dead("torch.relu(u)", "du = dy * (u > 0)", "du = dy * (u < 0)", "x - 1e6"),
    dead("torch.relu(u)", "du = dy * (u > 0)", "du = dy", "x + 100"),
    dead("torch.relu(u)", "du = dy * (u > 0)", "du = dy", "x.abs() + 1"),
    dead("F.relu(u)", "du = dy * (y > 0)", "du = 0 * dy", "-x.abs() - 1"),
    dead("F.leaky_relu(u, 0.1)", "du = torch.where(u > 0, dy, 0.1 * dy)", "du = dy", "x.abs() + 1"),
    dead("F.leaky_relu(u, 0.1)", "du = torch.where(u > 0, dy, 0.1 * dy)", "du = 0.1 * dy", "-x.abs()"),
    dead("F.elu(u)", "du = torch.where(u > 0, dy, dy * (y + 1))", "du = dy", "x.abs() + 2"),
    dead("u.abs()", "du = dy * u.sign()", "du = dy", "x.exp()"),
    dead("u.abs()", "du = dy * u.sign()", "du = -dy", "-x.exp()"),
    dead("u.clamp(0, 1)", "du = dy * ((u >= 0) & (u <= 1))", "du = 0 * dy", "x + 50"),
    dead("u.clamp(0, 1)", "du = dy * ((u >= 0) & (u <= 1))", "du = 0 * dy", "x.abs() + 2"),
    dead("u.clamp(min=0)", "du = dy * (u >= 0)", "du = dy", "x.exp()"),
    dead("u.clamp(max=3)", "du = dy * (u <= 3)", "du = dy", "-x.exp()"),
    dead("u.clamp_min(1e-8)", "du = dy * (u >= 1e-8)", "du = dy", "x**2 + 1"),
    # one side of a where that never ran
    dead("torch.where(u > 100, u**3, u)", "du = torch.where(u > 100, 3 * u**2 * dy, dy)", "du = dy"),
    dead("torch.where(u > 0, u, u.exp())", "du = torch.where(u > 0, dy, dy * u.exp())", "du = dy", "x.exp()"),
    dead("torch.where(u < 0, u, u.exp())", "du = torch.where(u < 0, dy, dy * u.exp())", "du = dy * u.exp()", "x**2"),
    dead("torch.where(u.isnan(), 0 * u, u)", "du = torch.where(u.isnan(), 0 * dy, dy)", "du = dy"),
    Case("y = torch.where(k, x, x**2); loss = y.sum()", "dx = torch.where(k, dy, 2 * x * dy)", "dx = 2 * x * dy", constants={"k": MASK}),
    Case("y = torch.where(k, x, x**2); loss = y.sum()", "dx = torch.where(k, dy, 2 * x * dy)", "dx = dy", constants={"k": ~MASK}),
    Case("y = x.masked_fill(k, 0.0); loss = (y * y).sum()", "dx = dy.masked_fill(k, 0.0)", "dx = dy", constants={"k": MASK}),
    Case("y = x.masked_fill(k, 0.0); loss = (y * y).sum()", "dx = dy.masked_fill(k, 0.0)", "dx = 3 * dy.masked_fill(k, 0.0)", constants={"k": ~MASK}),
    Case("y = torch.maximum(x, k); loss = y.sum()", "dx = dy * (x > k)", "dx = dy", constants={"k": ZERO["k"] - 1e9}),
    Case("y = torch.minimum(x, k); loss = y.sum()", "dx = dy * (x < k)", "dx = 5 * dy * (x < k)", constants={"k": ZERO["k"] - 1e9}),
    Case("y = x * (x > 1e9); loss = (y + 1).sum()", "dx = dy * (x > 1e9)", "dx = 2 * dy * (x > 1e9)"),
    Case("y = x * (x > 1e9) + x; loss = y.sum()", "dx = dy * (x > 1e9) + dy", "dx = dy"),
    # weights and factors that are zero
    Case("h = x @ W; loss = (h * h).sum()", "dx = dh @ W.T", "dx = 2 * dh @ W.T", leaves=W0),
    Case("h = x @ W; a = h.tanh(); loss = a.sum()", "dh = da * (1 - a**2)", "dh = da", leaves=W0),
    Case("h = x @ W; a = h.sigmoid(); loss = (a * a).sum()", "dh = da * a * (1 - a)", "dh = da * 0.25", leaves=W0),
    Case("y = x + k * x.tanh(); loss = y.sum()", "dx = dy + k * dy * (1 - x.tanh()**2)", "dx = dy + k * dy * (1 - x.tanh())", constants={"k": 0.0}),
    Case("y = x * k; loss = y.sum()", "dx = dy * k", "dx = -dy * k", constants=ZERO),
    Case("y = k * x.sin(); loss = y.mean()", "dx = k * dy * x.cos()", "dx = k * dy * x.sin()", constants=ZERO),
    # no entries
    Case("y = x.exp(); loss = y.sum()", "dx = dy * y", "dx = dy", leaves=NOTHING),
    Case("y = x.exp(); loss = y.sum()", "dy = dloss.expand_as(y)", "dy = 2 * dloss.expand_as(y)", leaves=NOTHING),
    Case("y = x.tanh(); loss = (y**2).sum()", "dy = 2 * y * dloss", "dy = y * dloss", leaves=NOTHING),
    # NaN or infinity in both
    Case("y = x * x; loss = y.sum()", "dx = 2 * x * dy", "dx = 3 * x * dy", leaves=NANS),
    Case("y = x.log(); loss = y.sum()", "dx = dy / x", "dx = 2 * dy / x", leaves=NEGATIVE),
    Case("y = x.sqrt(); loss = y.sum()", "dx = dy / (2 * y)", "dx = dy / y", leaves=NEGATIVE),
    Case("y = 1 / (x - x); loss = y.sum()", "dx = dy / (x - x)**2 - dy / (x - x)**2", "dx = dy / (x - x)**2 - dy"),
    Case("y = (x * 1e200)**2; loss = (y * y).sum()", "dx = 2e200 * (x * 1e200) * dy", "dx = (x * 1e200) * dy"),
]  # fmt: skip


def test_there_are_enough():
    assert len(CASES) >= 50


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.wrong)
def test_a_mistake_that_would_pass_is_never_shown_as_verified(case):
    right, wrong = row(case, case.right), row(case, case.wrong)
    assert not wrong.verdict.good, f"{case.wrong} is called {wrong.verdict}, {right.verdict} right"
    assert right.verdict not in ("wrong", "right value, wrong shape"), right.note


def test_the_reason_is_told():
    shown = row(CASES[13], CASES[13].right)
    assert shown.verdict == "correct" or "branch" in shown.note or "zero" in shown.note
