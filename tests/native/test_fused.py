"""What a product's tiles store in place of their sums, and where they may not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.errors import BadInput
from handgrad.native.kernels.tiles import lanes
from handgrad.native.labels import extent
from handgrad.native.lower.step import lower_step
from handgrad.native.lower.update import Rule
from handgrad.native.write.unit import write_unit
from native.widths import KINDS, compile_only, use, written

pytestmark = pytest.mark.native
ROWS = 12
END = "_end"  # in the name of a tile that stores what is made of its sums
SGD, MOMENTUM = hg.nn.SGD(lr=0.1), hg.nn.SGD(lr=0.1, momentum=0.9)


def linear(X, Y, W):
    logits = X @ W
    loss = F.cross_entropy(logits, Y)
    return loss


def squared(X, W):
    y = X @ (W @ W)
    loss = (y * y).mean()
    return loss


def given(k, n, dtype=torch.float64):
    g = torch.Generator().manual_seed(k * n)
    W = (torch.randn(k, n, generator=g) * 0.3).to(dtype)
    return torch.randn(ROWS, k, generator=g).to(dtype), torch.randint(0, n, (ROWS,), generator=g), W


def trained(forward, batch, W, make, steps=3):
    """Return what autograd and torch's optimiser make of a parameter."""
    W = W.clone().requires_grad_()
    optimiser = make([W])
    for _ in range(steps):
        optimiser.zero_grad()
        forward(*batch, W).backward()
        optimiser.step()
    return W.detach()


def small_batch(X, Y, W, V):
    h = torch.tanh(X @ W)
    logits = h @ V
    loss = F.cross_entropy(logits, Y)
    return loss


@pytest.mark.parametrize("rule", [SGD, MOMENTUM])
@pytest.mark.parametrize("n", [27, 17, 33])
def test_last_columns_of_an_update_are_made_transposed(n, rule):
    g = torch.Generator().manual_seed(n)
    X, W = (torch.randn(s, generator=g, dtype=torch.float64) / 4 for s in ((32, 19), (19, 200)))
    V = torch.randn(200, n, generator=g, dtype=torch.float64) / 8
    Y = torch.randint(0, n, (32,), generator=g)
    own = [p.clone().requires_grad_() for p in (W, V)]
    momentum = 0.9 if rule is MOMENTUM else 0.0
    optimiser = torch.optim.SGD(own, lr=0.1, momentum=momentum)
    m = hg.compile(small_batch, X=X, Y=Y, W=W, V=V, wrt=["W", "V"], optimizer=rule)
    for _ in range(3):
        optimiser.zero_grad()
        small_batch(X, Y, *own).backward()
        optimiser.step()
        m.step()
    torch.testing.assert_close([W, V], [p.detach() for p in own], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [27, 17, 33])
def test_last_columns_of_an_update_have_tiles_of_their_own(n, kind, monkeypatch):
    use(kind, monkeypatch)
    X, Y, W, V = (
        torch.zeros(32, 19),
        torch.zeros(32).long(),
        torch.zeros(19, 200),
        torch.zeros(200, n),
    )
    source = written(small_batch, (X, Y, W, V), ["W", "V"], SGD)
    few = n % lanes("float") * 2 > lanes("float")  # most of a vector's columns are no gain
    assert few or "AGAIN;" in source


# the second has columns that two tiles make; the last fewer than a vector
@pytest.mark.parametrize(("k", "n"), [(7, 40), (23, 27), (6, 9), (13, 33), (19, 3)])
@pytest.mark.parametrize("rule", [SGD, MOMENTUM, hg.nn.SGD(lr=0.1, weight_decay=0.2)])
def test_updates_in_a_products_tiles_are_torchs(k, n, rule):
    X, Y, W = given(k, n)
    truth = trained(
        linear,
        (X, Y),
        W,
        lambda p: torch.optim.SGD(
            p, rule.lr, momentum=rule.momentum, weight_decay=rule.weight_decay
        ),
    )
    m = hg.compile(linear, X, Y, W, wrt=["W"], optimizer=rule)
    for _ in range(3):
        m.step()
    torch.testing.assert_close(W, truth, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("k", "n"), [(7, 40), (23, 27), (6, 9), (13, 33), (19, 3)])
def test_updates_are_made_in_tiles_where_there_is_a_whole_vector(k, n, kind, monkeypatch):
    use(kind, monkeypatch)
    source = written(linear, given(k, n), ["W"], SGD)
    assert (END in source) == (n > lanes("double"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_stored_nowhere_and_the_lines_are_told(kind, monkeypatch):
    use(kind, monkeypatch)
    source = written(linear, given(23, 27), ["W"], SGD)
    assert "/* dW = X.T @ dlogits */" in source
    assert "/* the update */" in source
    assert "dW[" not in source


@pytest.mark.parametrize(
    "options", [{"clip_norm": 0.01}, {"optimizer": hg.nn.Adam(lr=0.01)}], ids=["clip", "adam"]
)
def test_a_gradient_that_is_read_twice_is_stored(options):
    X, Y, W = given(23, 27)
    start = W.clone()
    m = hg.compile(linear, X, Y, W, wrt=["W"], **options)
    m.step()
    assert END not in m.source  # at no width
    clip = options.get("clip_norm")
    own = start.clone().requires_grad_()
    linear(X, Y, own).backward()
    if clip:
        torch.nn.utils.clip_grad_norm_([own], clip)
    optimiser = torch.optim.SGD([own], 0.1) if clip else torch.optim.Adam([own], 0.01)
    optimiser.step()
    torch.testing.assert_close(W, own.detach(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_is_asked_for_is_stored(kind, monkeypatch, tmp_path):
    use(kind, monkeypatch)
    X, Y, W = given(23, 27)
    trace = hg.trace(linear, X, Y, W, wrt=["W"])
    step = lower_step(hg.derive(trace), ("W",), Rule(SGD))
    asked = write_unit(step, {"loss": step.output, "dW": step.gradients["W"]})
    assert END not in asked.source
    assert END in write_unit(step, {"loss": step.output}).source
    compile_only(asked.source, tmp_path)


def test_a_product_that_reads_what_it_updates_is_made_first():
    g = torch.Generator().manual_seed(1)
    X = torch.randn(ROWS, 24, generator=g, dtype=torch.float64)
    W = torch.randn(24, 24, generator=g, dtype=torch.float64) * 0.2
    truth = trained(squared, (X,), W, lambda p: torch.optim.SGD(p, 0.1))
    m = hg.compile(squared, X, W, wrt=["W"])
    for _ in range(3):
        m.step()
    torch.testing.assert_close(W, truth, rtol=0, atol=1e-13)


def test_what_no_stack_has_room_for_stands_in_the_arena():
    X, Y, W = given(64, 40_009, torch.float32)  # a prime: no blocks of whole vectors
    truth = trained(linear, (X, Y), W, lambda p: torch.optim.SGD(p, 0.1), 1)
    hg.compile(linear, X, Y, W, wrt=["W"]).step()
    torch.testing.assert_close(W, truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [3, 9, 17, 27, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_are_no_whole_vectors_are_made_right(n, dtype):
    X, Y, W = given(5, n, dtype)
    own = W.clone().requires_grad_()
    loss = linear(X, Y, own)
    (gradient,) = torch.autograd.grad(loss, own)
    m = hg.compile(linear, X, Y, W, wrt=["W"])
    near = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(m.step(), loss.detach(), rtol=near, atol=near)
    torch.testing.assert_close(W, (own - 0.1 * gradient).detach(), rtol=near, atol=near)


def test_data_is_looked_at_again_after_it_was_written_to():
    X, Y, W = given(5, 9)
    m = hg.compile(linear, X, Y, W, wrt=["W"])
    own = torch.from_numpy(np.arange(ROWS) % 9)
    for labels in (Y, own):
        m.run(2, data=(X, labels))
    own.numpy()[3] = 9  # torch does not know of this
    Y[4] = -10
    for labels in (Y, own):
        with pytest.raises(BadInput, match="it numbers one of 9"):
            m.run(2, data=(X, labels))


def test_an_extent_is_of_the_tensor_that_is_asked_about():
    for high in (3, 5):
        tensor = torch.arange(high)
        assert extent(tensor) == extent(tensor) == (0, high - 1)
        del tensor
