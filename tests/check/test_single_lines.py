"""The verdict on single lines, where checkers of gradients often pass the wrong or fail the right."""

from __future__ import annotations

import linecache

import pytest
import torch

import handgrad as hg
from agree import double
from handgrad.check import Report, Row


def judged(forward: str, backward: str, wrt=None, **inputs) -> Report:
    """Judge backward lines against forward lines that end in `loss`."""
    body = "\n".join("    " + line.strip() for line in forward.strip().splitlines())
    source = f"def forward({', '.join(inputs)}):\n{body}\n    return loss\n"
    file = f"<weakness {abs(hash((forward, backward)))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope: dict = {"torch": torch, "F": torch.nn.functional}
    exec(compile(source, file, "exec"), scope)
    trace = hg.trace(scope["forward"], **inputs, wrt=wrt)
    return hg.check(trace, "\n".join(line.strip() for line in backward.strip().splitlines()))


def row(report: Report, name: str) -> Row:
    return next(r for r in report.rows if r.name == name)


def wrong(report: Report) -> list[str]:
    return [r.name for r in report.rows if r.line and not r.verdict.good]


W = double(8, 4, seed=9)


def test_unreduced_broadcast():
    for line, verdict in (("db = dy", "wrong"), ("db = dy.sum(0)", "correct")):
        found = judged(
            "y = x + b\nloss = (y * w).sum()", line, ["x", "b"], x=double(8, 4), b=double(4), w=W
        )
        assert row(found, "db").verdict.value.startswith(verdict)


def test_comparison_broadcasts():
    trace = hg.trace(lambda x: (x * 2).sum(), double(4))
    found = hg.check(trace, {"dx": torch.full((4, 1), 2.0, dtype=torch.float64)})
    assert found.rows[0].verdict == "right value, wrong shape"


def test_tiny_gradients_have_no_floor():
    found = judged("y = 1e-8 * x**2\nloss = y.sum()", "dx = -2e-8 * x * dy", x=double(5))
    assert wrong(found) == ["dx"]


def test_tolerance_does_not_grow_with_size():
    forward = "y = x.sin()\nloss = (y * w).sum()"
    inputs = {"x": double(100_000), "w": double(100_000, seed=1)}
    one_off = "dx = dy * x.cos()\ndx[77_777] = -dx[77_777]"
    assert wrong(judged(forward, one_off, ["x"], **inputs)) == ["dx"]
    assert not wrong(judged(forward, "dx = dy * x.cos()", ["x"], **inputs))


def test_one_swapped_pair_among_thousands():
    forward = "y, order = x.sort()\nloss = (y * w).sum()"
    right = "dx = torch.zeros_like(x)\ndx[order] = dy"
    swapped = right + "\ndx[[5, 6]] = dx[[6, 5]]"
    inputs = {"x": double(2000), "w": double(2000, seed=1)}
    assert wrong(judged(forward, swapped, ["x"], **inputs)) == ["dx"]
    assert not wrong(judged(forward, right, ["x"], **inputs))


def test_biased_for_unbiased_variance_at_two_thousand():
    forward = "v = x.var(0)\nloss = (v * w).sum()"
    inputs = {"x": double(2000, 2), "w": double(2, seed=1)}
    assert wrong(judged(forward, "dx = 2 / 2000 * (x - x.mean(0)) * dv", ["x"], **inputs)) == ["dx"]
    assert not wrong(judged(forward, "dx = 2 / 1999 * (x - x.mean(0)) * dv", ["x"], **inputs))


def test_symmetric_operand_hides_no_transpose():
    B = double(4, 4)
    found = judged(
        "y = A @ B\nloss = (y * w).sum()", "dA = dy @ B", ["A", "B"], A=double(8, 4), B=B + B.T, w=W
    )
    assert wrong(found) == ["dA"]


def test_parameter_that_starts_at_zero_hides_nothing():
    forward = "t = x.tanh()\ny = x + a * t\nloss = (y * w).sum()"
    found = judged(
        forward,
        "dt = dy * a\ndx = dy + dt * (1 - t)",
        ["x", "a"],
        x=double(8, 4),
        a=double() * 0,
        w=W,
    )
    assert wrong(found) == ["dx"]


def test_gradients_that_are_zero_in_theory():
    forward = "h = x + b\nc = h - h.mean(0, keepdim=True)\nloss = (c * w).sum()"
    given = {"x": double(8, 4), "b": double(4), "w": W}
    dh = "dh = dc - dc.mean(0, keepdim=True)\n"
    assert not wrong(judged(forward, dh + "db = dh.sum(0)", ["x", "b"], **given))
    assert wrong(judged(forward, dh + "db = dh.mean(0)", ["x", "b"], **given)) == ["db"]


def test_sum_as_the_loss_hides_nothing():
    forward = "y = x.softmax(1)\nloss = y.sum()"
    assert not row(judged(forward, "dx = 0 * dy", x=double(8, 4)), "dx").verdict.good
    assert wrong(judged(forward, "dx = y * dy", x=double(8, 4))) == ["dx"]


def test_branch_that_never_ran():
    found = judged(
        "r = F.relu(x - 10)\ny = r + x**2\nloss = (y * w).sum()",
        "dx = 2 * x * dy",
        ["x"],
        x=double(8, 4),
        w=W,
    )
    assert not row(found, "dx").verdict.good


@pytest.mark.parametrize("at", [0.0, 3e-7, -0.0])
def test_kinks_follow_autograd(at):
    x = torch.tensor([at, -1.0, 2.0], dtype=torch.float64)
    assert not wrong(judged("y = F.relu(x)\nloss = (y * y).sum()", "dx = dy * (x > 0)", x=x))
    assert not wrong(
        judged("y = x.abs()\nloss = (y * x).sum()", "dx = dy * x.sign() + y * dloss", x=x)
    )


TIED = torch.tensor([[1.0, 2.0, 2.0], [3.0, 1.0, 0.0]], dtype=torch.float64)


def test_ties():
    picked = "m = x.max(1).values\nloss = (m * m).sum()"
    one = "dx = torch.zeros_like(x)\ndx[range(2), x.max(1).indices] = dm"
    both = "dx = (x == m.unsqueeze(1)) * dm.unsqueeze(1)"
    assert not wrong(judged(picked, one, x=TIED))
    assert wrong(judged(picked, both, x=TIED)) == ["dx"]
    shared = picked.replace("max(1).values", "amax(1)")
    split = "hit = x == m.unsqueeze(1)\ndx = hit * (dm.unsqueeze(1) / hit.sum(1, keepdim=True))"
    assert not wrong(judged(shared, split, x=TIED))
    assert wrong(judged(shared, both, x=TIED)) == ["dx"]


@pytest.mark.parametrize(
    ("line", "gradient", "x"),
    [
        ("1 / x", "-dy / x**2", 1e-5),
        ("x**2", "2 * x * dy", 1e9),
        ("x + 1e12", "dy.clone()", 1.0),
        ("x.sqrt()", "dy / (2 * y)", 1e-30),
    ],
)
def test_edges_of_the_domain_draw_no_alarm(line, gradient, x):
    found = judged(
        f"y = {line}\nloss = (y * 3).sum()", f"dx = {gradient}", x=torch.full((3,), x).double()
    )
    assert row(found, "dx").verdict != "wrong"


def test_small_factors():
    keep = (double(8, 4) > -1.0).double()
    forward = "y = x * keep / (1 - p)\nloss = (y * w).sum()"
    given = {"x": double(8, 4, seed=2), "keep": keep, "p": 1e-4, "w": W}
    assert wrong(judged(forward, "dx = dy * keep", ["x"], **given)) == ["dx"]
    root = "r = (v + 1e-5)**0.5\nloss = (r * w).sum()"
    outside = "dv = 0.5 * v**-0.5 * dr"
    assert wrong(judged(root, outside, ["v"], v=double(8, 4).abs() + 1, w=W)) == ["dv"]


def test_new_mask_in_the_backward_pass():
    forward = "y = x * keep\nloss = (y * w).sum()"
    given = {"x": double(8, 4), "keep": (double(8, 4, seed=3) > 0).double(), "w": W}
    assert not judged(forward, "dx = dy * (torch.rand_like(x) > 0.5)", ["x"], **given).ok


def test_upstream_changed_in_place():
    forward = "t = x.tanh()\ny = t * v\nloss = (y * w).sum()"
    given = {"x": double(8, 4), "v": double(8, 4, seed=1), "w": W}
    found = judged(forward, "dt = dy * v\ndx = dt\ndx *= 1 - t**2", ["x", "v"], **given)
    assert "dx" in wrong(found)
    assert row(found, "dx").diagnosis.kind == "alias"


def test_saved_tensor_changed_in_place():
    forward = "t = x.tanh()\nloss = (t * w).sum()"
    found = judged(forward, "dx = dt * t.pow_(2).neg_().add_(1)", ["x"], x=double(8, 4), w=W)
    assert wrong(found) == ["dx"]


def test_dtype_laundering():
    forward = "y = x * 3\nloss = (y * w).sum()"
    given = {"x": double(8, 4), "w": W}
    assert wrong(judged(forward, "dx = (dy.half() * 3).double()", ["x"], **given)) == ["dx"]
    assert wrong(judged(forward, "dx = (dy * 3).float()", ["x"], **given)) == ["dx"]


def test_expanded_and_transposed_inputs_draw_no_alarm():
    forward = "y = x.sin()\nloss = (y * w).sum()"
    for x in (double(1, 4).expand(8, 4), double(4, 8).T, double(4).expand(8, 4)):
        assert not wrong(judged(forward, "dx = dy * x.cos()", ["x"], x=x, w=W))


def test_detach_is_autograds_convention():
    forward = "y = x * x.detach()\nloss = (y * w).sum()"
    assert not wrong(judged(forward, "dx = dy * x", ["x"], x=double(8, 4), w=W))
    assert wrong(judged(forward, "dx = 2 * dy * x", ["x"], x=double(8, 4), w=W)) == ["dx"]


def test_nan_is_never_equal():
    trace = hg.trace(lambda x: (x * 2).sum(), double(4))
    assert not hg.check(trace, {"dx": torch.full((4,), float("nan")).double()}).ok


def test_two_mistakes_that_cancel():
    forward = "a = -x\ny = -a\nloss = (y * w).sum()"
    found = judged(forward, "da = dy.clone()\ndx = da.clone()", ["x"], x=double(8, 4), w=W)
    assert wrong(found) == ["da", "dx"]


def test_wrong_second_contribution_is_named_at_its_line():
    forward = "a = x.exp()\nb = x.sin()\ny = a * b\nloss = (y * w).sum()"
    lines = "da = dy * b\ndb = dy * a\ndx = da * a\ndx += db * b"
    found = judged(forward, lines, ["x"], x=double(8, 4), w=W)
    assert wrong(found) == ["dx"]
    assert row(found, "dx").number == 4


def test_formula_that_breaks_down_where_the_forward_does_not():
    x = torch.tensor([-800.0, -1.0, 3.0], dtype=torch.float64)
    forward = "y = F.logsigmoid(x)\nloss = (y * y).sum()"
    found = judged(forward, "s = torch.sigmoid(x)\ndx = dy / s * s * (1 - s)", x=x)
    assert not row(found, "dx").verdict.good
    assert not wrong(judged(forward, "dx = dy * torch.sigmoid(-x)", x=x))


def test_the_same_verdicts_every_time():
    forward = "y = x.tanh()\nloss = (y * w).sum()"
    runs = [judged(forward, "dx = dy * (1 - y)", ["x"], x=double(8, 4), w=W) for _ in range(2)]
    assert runs[0].to_dict() == runs[1].to_dict()


def test_one_mistake_in_a_part_without_a_gradients_name_is_one_red_line():
    forward = "h = (x @ W + b).tanh()\nloss = (h * w).sum()"
    given = {"x": double(8, 3), "W": double(3, 4), "b": double(4), "w": double(8, 4, seed=5)}
    lines = "dpre = (1 - h) * dh\ndW = x.T @ dpre\ndb = dpre.sum(0)"
    found = judged(forward, lines, ["x", "W", "b"], **given)
    assert wrong(found) == ["dW"]
    assert row(found, "dW").number == 1
    assert row(found, "db").inherits
    assert not found.ok
