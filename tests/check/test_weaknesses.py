"""What other checkers of gradients get wrong, W1 to W30: here each has the right verdict.

The number is that of a catalogue of known weaknesses; the name says what each is about. Those about
`torch.autograd.Function` are in test_function.py.
"""

from __future__ import annotations

import linecache
import time
from itertools import count
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from agree import double
from handgrad.check.assess import assess
from handgrad.check.judge import Judge
from handgrad.check.report import Report
from handgrad.check.statements import statements

NUMBER = count()


def report(forward: str, backward: str, wrt: str = "", **given: Any) -> Report:
    """Return the report of a backward pass, both given as lines."""
    body = "\n".join("    " + line for line in forward.split("; "))
    source = f"def forward({', '.join(given)}):\n{body}\n    return loss\n"
    file = f"<weakness {next(NUMBER)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict[str, Any] = {"torch": torch, "F": F}
    exec(compile(source, file, "exec"), scope)
    tensors = [n for n, v in given.items() if isinstance(v, torch.Tensor) and v.is_floating_point()]
    trace = hg.trace(scope["forward"], **given, wrt=wrt.split() or tensors)
    constants = {n: v for n, v in given.items() if n not in trace.leaves}
    return assess(Judge(trace, statements("\n".join(backward.split("; "))), constants))


def verdict(name: str, *args: str, **given: Any) -> str:
    """Return the verdict on one gradient, taken with everything else in the report."""
    return next(row.verdict for row in report(*args, **given).rows if row.name == name)


X, B = double(8, 4), double(4, seed=1)
SUM = "y = x + b; loss = (y * y).sum()"


def test_w1_unreduced_broadcast():
    assert verdict("db", SUM, "dy = 2 * y * dloss; db = dy", x=X, b=B) == "wrong"
    assert verdict("db", SUM, "dy = 2 * y * dloss; db = dy.sum(0)", x=X, b=B) == "correct"


def test_w1_unreduced_broadcast_of_a_product():
    lines = "y = x * b; loss = (y * y).sum()"
    b = double(1, 4)
    assert verdict("db", lines, "dy = 2 * y * dloss; db = dy * x", x=X, b=b) == "wrong"


def test_w2_shape_that_broadcasts_in_a_comparison():
    shape = "right value, wrong shape"
    line = "dy = 2 * y * dloss; db = dy.sum(0, keepdim=True)"
    assert verdict("db", SUM, line, x=X, b=B) == shape


def test_w2_constant_gradient_of_another_shape():
    lines = "y = x.sum(1, keepdim=True); loss = y.sum()"
    assert verdict("dy", lines, "dy = torch.ones(8)", x=X).startswith("right value")


@pytest.mark.parametrize("size", [1e-6, 1e-9, 1e-20])
def test_w3_no_absolute_floor(size):
    lines = f"y = x**2; loss = ({size} * y).sum()"
    right = f"dy = {size} * dloss.expand_as(y); dx = 2 * x * dy"
    assert verdict("dx", lines, right, x=X) == "correct"
    assert verdict("dx", lines, right.replace("2 * x", "-2 * x"), x=X) == "wrong"


def test_w3_zero_instead_of_a_small_gradient_of_many_entries():
    x = double(200_000)
    assert verdict("dx", "loss = x.mean()", "dx = torch.zeros_like(x)", x=x) == "wrong"


def test_w4_tolerance_does_not_grow_with_the_number_of_entries():
    x = double(100_000)
    lines = "y = x.sin(); loss = y.sum()"
    start = "dy = dloss.expand_as(y); "
    assert verdict("dx", lines, start + "dx = dy * x.cos() * (1 + 1e-7)", x=x) == "wrong"
    assert verdict("dx", lines, start + "dx = -dy * x.cos()", x=x) == "wrong"


def test_w5_one_swapped_pair_among_two_thousand():
    x = double(2000)
    swapped = torch.sort(x).indices
    swapped = torch.cat([swapped[[1, 0]], swapped[2:]])
    lines = "y = torch.sort(x).values; loss = (y**3).sum()"
    right = "dy = 3 * y**2 * dloss; dx = torch.zeros_like(x).index_put((i,), dy)"
    found = report(lines, right, "x", x=x, i=swapped)
    assert {r.name: r.verdict for r in found.rows}["dx"] == "wrong"


@pytest.mark.parametrize("n", [2, 5, 2000])
def test_w6_divisor_of_a_variance(n):
    lines = "v = x.var(0); loss = v * v"
    start = "dv = 2 * v * dloss; "
    x = double(n)
    right = f"dx = dv * 2 / {n - 1} * (x - x.mean())"
    assert verdict("dx", lines, start + right, x=x) in ("correct", "correct, rounding only")
    assert verdict("dx", lines, start + right.replace(str(n - 1), str(n), 1), x=x) == "wrong"


def test_w7_symmetric_operand_hides_a_missing_transpose():
    half = double(4, 4)
    given = {"A": double(3, 4, seed=1), "W": half + half.T}
    lines = "y = A @ W; loss = (y * y).sum()"
    assert verdict("dA", lines, "dy = 2 * y * dloss; dA = dy @ W", **given) == "wrong"


def test_w8_parameter_that_starts_at_zero():
    given = {"x": X, "a": torch.zeros(4, dtype=torch.float64)}
    lines = "t = x.tanh(); y = x + a * t; loss = (y * y).sum()"
    start = "dy = 2 * y * dloss; dt = dy * a; "
    assert verdict("dx", lines, start + "dx = dy + dt * (1 - t)", **given) == "wrong"
    assert verdict("dx", lines, start + "dx = dy + dt * (1 - t**2)", **given) == "correct"


def test_w9_gradient_that_is_zero_in_exact_arithmetic():
    lines = "z = x + b; c = z - z.mean(0); p = c * c * w; loss = p.sum()"
    right = "dp = dloss.expand_as(p); dc = 2 * c * w * dp; dz = dc - dc.mean(0); db = dz.sum(0); dx = dz"
    given = {"x": X, "b": B, "w": double(8, 4, seed=5)}
    found = report(lines, right, "x b", **given)
    assert found.ok, found
    wrong = report(lines, right.replace("db = dz.sum(0)", "db = -dz.sum(0)"), "x b", **given)
    assert {r.name: r.verdict for r in wrong.rows}["db"] == "wrong"


def test_w10_sum_of_a_softmax():
    lines = "p = x.softmax(1); loss = p.sum()"
    start = "dp = dloss.expand_as(p); "
    assert verdict("dx", lines, start + "dx = torch.zeros_like(x)", x=X) != "correct"
    right = "dx = p * (dp - (dp * p).sum(1, keepdim=True))"
    assert verdict("dx", lines, start + right, x=X) == "correct"
    assert verdict("dx", lines, start + "dx = p * (1 - p) * dp", x=X) == "wrong"


def test_w10_upstream_left_out_where_it_is_one():
    lines = "h = x.tanh(); s = h * 1.0; loss = s.sum()"
    start = "ds = dloss.expand_as(s); dh = ds * 1.0; "
    assert verdict("dx", lines, start + "dx = dh * (1 - h**2)", x=X).startswith("correct")
    assert verdict("dx", lines, start + "dx = 2 - 2 * h**2", x=X) == "wrong"


def test_w11_inactive_branch():
    lines = "y = torch.relu(x - 10) + x**2; loss = y.sum()"
    start = "dy = dloss.expand_as(y); "
    assert verdict("dx", lines, start + "dx = dy * 2 * x", x=X) == "wrong"
    assert verdict("dx", lines, start + "dx = dy * (x > 10) + dy * 2 * x", x=X) == "correct"


@pytest.mark.parametrize("at", [0.0, 3e-7, -3e-7])
def test_w12_kink(at):
    x = torch.tensor([at, 1.0, -2.0], dtype=torch.float64)
    lines = "y = torch.relu(x); loss = (y + x).sum()"
    start = "dy = dloss.expand_as(y); "
    assert verdict("dx", lines, start + "dx = dy * (x > 0) + dloss", x=x) == "correct"
    lines = "y = x.abs(); loss = (y + x).sum()"
    assert verdict("dx", lines, start + "dx = dy * x.sign() + dloss", x=x) == "correct"


def test_w13_ties():
    x = torch.tensor([[1.0, 2.0, 2.0]], dtype=torch.float64)
    one = "m = x.max(1).values; loss = (m * m).sum()"
    shared = "m = x.amax(1); loss = (m * m).sum()"
    start = "dm = 2 * m * dloss; "
    first = start + "dx = torch.zeros_like(x).scatter(1, x.max(1, True).indices, dm[:, None])"
    mask = start + "dx = dm[:, None] * (x == m[:, None])"
    split = mask + " / (x == m[:, None]).sum(1, keepdim=True)"
    assert verdict("dx", one, first, x=x) == "correct"
    assert verdict("dx", shared, split, x=x) == "correct"
    assert verdict("dx", one, mask, x=x) == "wrong"
    assert verdict("dx", shared, mask, x=x) == "wrong"


@pytest.mark.parametrize(
    ("forward", "backward", "x"),
    [
        ("y = 1 / x; loss = y.sum()", "dx = -dy / x**2", [1e-5, 2e-5]),
        ("y = x**2; loss = y.sum()", "dx = 2 * x * dy", [1e9, -3e9]),
        ("y = x + 1e12; loss = (y * y).sum()", "dx = dy", [1.0, 2.0]),
        ("y = x.sqrt(); loss = y.sum()", "dx = dy / (2 * y)", [1e-12, 4.0]),
    ],
)
def test_w14_edges_of_the_domain(forward, backward, x):
    given = {"x": torch.tensor(x, dtype=torch.float64)}
    start = "dy = 2 * y * dloss; " if "y * y" in forward else "dy = dloss.expand_as(y); "
    assert verdict("dx", forward, start + backward, **given) in (
        "correct",
        "correct, rounding only",
    )


def test_w14_infinite_at_the_edge_of_a_square_root():
    x = torch.tensor([0.0, 4.0], dtype=torch.float64)
    lines = "y = x.sqrt(); loss = y.sum()"
    found = verdict("dx", lines, "dy = dloss.expand_as(y); dx = dy / (2 * y)", x=x)
    assert found in ("correct", "untested")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_w15_noise_of_a_narrow_dtype_and_small_mistakes_in_it(dtype):
    x = double(64, 32).to(dtype)
    lines = "p = x.softmax(1); y = p.tanh(); loss = (y * y).sum()"
    start = "dy = 2 * y * dloss; dp = dy * (1 - y**2); "
    right = "dx = p * (dp - (dp * p).sum(1, keepdim=True))"
    assert verdict("dx", lines, start + right, x=x) in ("correct", "correct, rounding only")
    assert verdict("dx", lines, start + right + " * 1.001", x=x) == "wrong"


@pytest.mark.parametrize("factor", ["(1 - 1e-4)", "(1 + 1e-6)", "(1 + 1e-8)"])
def test_w16_small_factor(factor):
    lines = "y = x.exp(); loss = y.sum()"
    line = f"dy = dloss.expand_as(y); dx = dy * y * {factor}"
    assert verdict("dx", lines, line, x=X) == "wrong"


def test_w16_epsilon_outside_the_root():
    lines = "s = (v + 1e-5)**-0.5; loss = s.sum()"
    line = "ds = dloss.expand_as(s); dv = -0.5 * v**-1.5 * ds"
    assert verdict("dv", lines, line, v=X.abs() + 1) == "wrong"


def test_w18_upstream_changed_in_place():
    lines = "y = x**2; loss = (y + x.sin()).sum()"
    line = (
        "dy = dloss.expand_as(y).clone(); dx = x.cos() * dloss + 2 * x * dy.mul_(1.0); dy.mul_(2)"
    )
    found = report(lines, line, x=X)
    assert not found.ok


def test_w19_forward_value_changed_in_place():
    lines = "h = x.tanh(); y = h * x; loss = y.sum()"
    line = "dy = dloss.expand_as(y); dx = dy * h; dh = dy * x; dx += dh * (1 - h.pow_(2))"
    found = report(lines, line, x=X)
    assert {r.name: r.verdict for r in found.rows}["dx"] == "wrong"


def test_w20_alias():
    lines = "a = x * 2; c = a.exp(); y = a + c; loss = (y * y).sum()"
    start = "dy = 2 * y * dloss; dc = dy; "
    end = "; dx = 2 * da"
    found = report(lines, start + "da = dy; da += dc * c" + end, x=X)
    assert any(r.diagnosis and r.diagnosis.kind == "alias" for r in found.rows)
    assert not found.ok
    assert report(lines, start + "da = dy.clone(); da += dc * c" + end, x=X).ok


def test_w21_computed_in_a_narrower_dtype():
    lines = "y = x * 3; loss = (y * y).sum()"
    start = "dy = 2 * y * dloss; "
    assert verdict("dx", lines, start + "dx = (dy * 3).float()", x=X) == "wrong"
    assert verdict("dx", lines, start + "dx = (dy.half() * 3).double()", x=X) != "correct"


def test_w22_expanded_and_transposed_inputs():
    x = double(4, 8).T
    b = double(1, 4, seed=1).expand(8, 4)
    given = {"x": x, "b": b}
    assert verdict("db", SUM, "dy = 2 * y * dloss; db = dy", "x b", **given) == "correct"


def test_w23_detached_factor():
    lines = "y = x * x.detach(); loss = y.sum()"
    start = "dy = dloss.expand_as(y); "
    assert verdict("dx", lines, start + "dx = dy * x", x=X) == "correct"
    assert verdict("dx", lines, start + "dx = 2 * dy * x", x=X) == "wrong"


def test_w24_nan_in_both_is_no_tick_and_in_one_is_wrong():
    x = torch.tensor([-1.0, 4.0], dtype=torch.float64)
    lines = "y = x.log(); loss = y.sum()"
    found = verdict("dy", lines, "dy = dloss.expand_as(y) * float('nan')", x=x)
    assert found == "wrong"
    bad = "y = (x - 2).sqrt(); loss = y.sum()"
    right = "dy = dloss.expand_as(y); dx = dy / (2 * y)"
    assert verdict("dx", bad, right, x=x) not in ("correct", "wrong")


def test_w25_two_mistakes_that_cancel_are_both_named():
    lines = "a = x.tanh(); c = a * 3; loss = (c * c).sum()"
    line = "dc = 2 * c * dloss; da = -3 * dc; dx = -da * (1 - a**2)"
    found = {r.name: r.verdict for r in report(lines, line, x=X).rows}
    assert found == {"dc": "correct", "da": "wrong", "dx": "wrong"}


def test_w26_the_guilty_write_is_named_not_the_last():
    lines = "a = x.tanh(); c = a * 3; d = a.exp(); loss = (c * c + d).sum()"
    line = "dc = 2 * c * dloss; dd = dloss.expand_as(d); da = 2 * dc; da += dd * d; dx = da * (1 - a**2)"
    found = {r.name: r for r in report(lines, line, x=X).rows}
    assert found["da"].line == "da = 2 * dc"
    assert found["dx"].inherits
    assert found["dx"].verdict == "correct"


def test_w27_cost_of_a_backward_of_thirty_lines():
    forward, backward, names = [], [], ["x"]
    for k in range(30):
        forward.append(f"a{k} = ({names[-1]} * 1.1).tanh()")
        backward.insert(0, f"d{names[-1]} = 1.1 * da{k} * (1 - a{k}**2)")
        names.append(f"a{k}")
    lines = "; ".join([*forward, "loss = (a29 * a29).sum()"])
    started = time.perf_counter()
    assert report(lines, "; ".join(["da29 = 2 * a29 * dloss", *backward]), x=X).ok
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("at", [-800.0, -50.0, 800.0])
def test_w29_unstable_formula_on_hard_data(at):
    x = torch.tensor([at, 0.5, -0.5], dtype=torch.float64)
    lines = "y = F.logsigmoid(x); loss = y.sum()"
    start = "dy = dloss.expand_as(y); "
    stable = start + "dx = dy * torch.sigmoid(-x)"
    unstable = start + "dx = dy * (-x).exp() / (1 + (-x).exp())"
    assert verdict("dx", lines, stable, x=x) in ("correct", "correct, rounding only")
    if at == -800.0:
        assert verdict("dx", lines, unstable, x=x) not in ("correct", "correct, rounding only")


def test_w30_the_same_verdict_every_time():
    line = "dy = 2 * y * dloss; db = dy.sum(0) * (1 + 1e-8)"
    first, again = (str(report(SUM, line, x=X, b=B)) for _ in range(2))
    assert first == again
