"""What a step cannot do as eager PyTorch does it: refused with the line, or eager with the reason."""

import pkgutil
import time

import pytest
import torch

import handgrad as hg
from handgrad.errors import BadInput

pytestmark = pytest.mark.native
# What of a tensor's values a forward pass takes, and a line of it.
TAKEN = {
    "item": "k = (x @ w).mean().item()",
    "item of the batch": "k = x.abs().max().item()",
    "float": "k = float(w.detach()[0])",
    "int": "k = int(x.abs().sum())",
    "list": "k = x.tolist()[0][0]",
    "array": "k = float(x.detach().numpy()[0, 0])",
    "branch": "k = 2.0 if x.sum() > 0 else 3.0",
    "branch of a parameter": "k = 2.0 if w.sum() > 0 else 3.0",
    "equal": "k = 2.0 if torch.equal(x, x) else 3.0",
    "a loop": "k = sum(1.0 for row in x if row.sum() > 0)",
}


def taking(line):
    space = {"torch": torch}
    exec(
        compile(f"def forward(x, w):\n    {line}\n    return (x @ w * k).mean()", "odd.py", "exec"),
        space,
    )
    return space["forward"], torch.randn(4, 3), torch.randn(3)


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken_from_values_is_not_kept_unasked(case):
    forward, x, w = taking(TAKEN[case])
    before = w.clone()
    with pytest.raises(BadInput) as caught:
        hg.compile(forward, x, w, wrt=["w"])
    assert caught.value.where == "odd.py:2"
    assert "freeze_values=True" in caught.value.hint
    assert ("branches" in caught.value.what) == (
        case.startswith("branch") or case in ("equal", "a loop")
    )
    assert torch.equal(w, before)


@pytest.mark.parametrize("case", ["item", "branch"])
def test_what_is_kept_when_asked_is_said(case):
    forward, x, w = taking(TAKEN[case])
    with pytest.warns(UserWarning, match="stay as they were traced: odd.py:2"):
        m = hg.compile(forward, x, w, wrt=["w"], freeze_values=True)
    assert m.backend == "native"
    assert "odd.py:2" in m.note
    m.step()


@pytest.mark.parametrize(
    "line", ["k = 2.0", "k = float(x.shape[0])", "k = len(x) if x.ndim > 1 else 3"]
)
def test_what_the_shape_tells_is_no_value(line):
    forward, x, w = taking(line)
    assert hg.compile(forward, x, w, wrt=["w"]).note == ""


def test_what_is_printed_decides_nothing(capsys):
    def forward(x, w):
        y = x @ w
        print(y.mean().item())
        return y.mean()

    assert hg.compile(forward, torch.randn(4, 3), torch.randn(3), wrt=["w"]).note == ""


def marked(x, w):
    c = x.clone().detach().requires_grad_(True)
    return torch.sin(c @ w).pow(2).mean()


def test_only_what_the_caller_gave_is_trained():
    x, w = torch.randn(4, 3), torch.randn(3, 2, requires_grad=True)
    own = w.detach().clone().requires_grad_()
    for _ in range(2):  # traced, then from the cache where there is one
        m = hg.compile(marked, x, w, optimizer=hg.nn.SGD(lr=1.0))
        assert m.leaves == ("w",)
        for _ in range(3):
            loss = marked(x, own)
            (gradient,) = torch.autograd.grad(loss, own)
            torch.testing.assert_close(m.step(), loss.detach())
            own.data -= gradient


# Ops without a rule that read one tensor twice: each operand's gradient is its own.
TWICE = [
    "torch.add(o, o, alpha=2)",
    "torch.add(o, o, alpha=-3)",
    "torch.logaddexp2(o, o * 1)",
    "torch.sub(o, o, alpha=4)",
]


@pytest.mark.parametrize("text", TWICE)
def test_one_tensor_read_twice_by_an_op_without_a_rule(text):
    space = {"torch": torch}
    exec(
        f"def forward(x):\n    o = x - 1\n    m = {text}\n    return m.abs().sum() + x.sum()", space
    )
    forward, x = space["forward"], torch.ones(2)
    own = x.clone().requires_grad_()
    with pytest.warns(UserWarning, match="runs in eager PyTorch"):
        m = hg.compile(forward, x, optimizer=hg.nn.SGD(lr=1.0))
    for _ in range(3):
        (gradient,) = torch.autograd.grad(forward(own), own)
        own.data -= gradient
        m.step()
        torch.testing.assert_close(x, own.detach())


def product(x, w):
    return (x @ w).tanh().sum()


def trained_eagerly(**options):
    """Compile with a reason to run eagerly; return the note, once a step equals autograd's."""
    x, w = torch.randn(4, 3), torch.randn(3, 2)
    own = w.clone().requires_grad_()
    with pytest.warns(UserWarning, match="runs in eager PyTorch"):
        m = hg.compile(product, x, w, wrt=["w"], optimizer=hg.nn.SGD(0.1), **options)
    assert m.backend == "eager"
    (gradient,) = torch.autograd.grad(product(x, own), own)
    m.step()
    torch.testing.assert_close(w, own.detach() - 0.1 * gradient)
    return m.note


@pytest.mark.parametrize("part", ["tree.walk", "groups.in_order", "calls.Lowering.lowered"])
def test_what_takes_too_long_is_given_up(part, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where, _, name = f"handgrad.native.lower.{part}".rpartition(".")
    target = pkgutil.resolve_name(f"{where}.{name}")

    def slow(*args, **named):
        time.sleep(0.3)
        return target(*args, **named)

    monkeypatch.setattr(f"{where}.{name}", slow)
    assert "not made within 0.2 seconds" in trained_eagerly(seconds=0.2)


def test_a_compiler_that_takes_too_long_is_given_up(monkeypatch, tmp_path):
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    begun = time.perf_counter()
    assert "was not done in 1 s" in trained_eagerly(seconds=1.0)
    assert time.perf_counter() - begun < 20


def test_whatever_goes_wrong_in_making_code_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def broken(*_):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("handgrad.native.making.write_unit", broken)
    assert "went wrong (ZeroDivisionError: by nothing)" in trained_eagerly()
