"""`hg.compile`: steps, optimisers, runs, and what is said when something is wrong."""

import os
import signal
import threading

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.models import character_mlp

pytestmark = pytest.mark.native
ROWS = 300
BATCH = 16


def classify(X, Y, W1, b1, W2, b2):
    h = torch.tanh(X @ W1 + b1)
    logits = h @ W2 + b2
    loss = F.cross_entropy(logits, Y)
    return loss


def setting(dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    shapes = {"W1": (7, 13), "b1": (13,), "W2": (13, 5), "b2": (5,)}
    parameters = {n: (torch.randn(s, generator=g) * 0.4).to(dtype) for n, s in shapes.items()}
    X = torch.randn(ROWS, 7, generator=g).to(dtype)
    Y = torch.randint(0, 5, (ROWS,), generator=g)
    return parameters, X, Y


def compiled(dtype=torch.float64, **options):
    parameters, X, Y = setting(dtype)
    m = hg.compile(classify, X[:BATCH], Y[:BATCH], **parameters, wrt=list(parameters), **options)
    assert m.backend == "native", m.note
    return m, parameters, X, Y


def by_torch(make, steps, clip=None, dtype=torch.float64, lr=None):
    """Train with autograd and torch.optim, a batch drawn at every step."""
    parameters, X, Y = setting(dtype)
    leaves = {n: p.clone().requires_grad_() for n, p in parameters.items()}
    optimiser = make(leaves.values())
    g, losses = torch.Generator().manual_seed(5), []
    for step in range(steps):
        ix = torch.randint(0, ROWS, (BATCH,), generator=g)
        if lr is not None:
            optimiser.param_groups[0]["lr"] = lr(step)
        optimiser.zero_grad()
        loss = classify(X[ix], Y[ix], **leaves)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(leaves.values(), clip)
        optimiser.step()
        losses.append(loss.item())
    return leaves, torch.tensor(losses, dtype=torch.float64), g


OPTIMISERS = {
    "sgd": (hg.nn.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "momentum": (
        hg.nn.SGD(0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    "nesterov": (
        hg.nn.SGD(0.1, momentum=0.8, nesterov=True, weight_decay=0.02),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=0.02),
    ),
    "adagrad": (
        hg.nn.Adagrad(0.1, lr_decay=0.01, weight_decay=0.01),
        lambda p: torch.optim.Adagrad(p, 0.1, lr_decay=0.01, weight_decay=0.01),
    ),
    "rmsprop": (
        hg.nn.RMSprop(0.01, alpha=0.9, weight_decay=0.01),
        lambda p: torch.optim.RMSprop(p, 0.01, alpha=0.9, weight_decay=0.01),
    ),
    "rmsprop with momentum": (
        hg.nn.RMSprop(0.01, momentum=0.5),
        lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5),
    ),
    "adam": (
        hg.nn.Adam(0.02, betas=(0.8, 0.95), weight_decay=0.01),
        lambda p: torch.optim.Adam(p, 0.02, betas=(0.8, 0.95), weight_decay=0.01),
    ),
    "adamw": (
        hg.nn.AdamW(0.02, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1),
    ),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_are_torchs(name):
    own, theirs = OPTIMISERS[name]
    m, parameters, X, Y = compiled(optimizer=own)
    run = m.run(40, data=(X, Y), generator=torch.Generator().manual_seed(5))
    leaves, losses, _ = by_torch(theirs, 40)
    torch.testing.assert_close(run.losses, losses, rtol=1e-10, atol=0)
    for n, p in parameters.items():
        torch.testing.assert_close(p, leaves[n].detach(), rtol=1e-9, atol=1e-12)


def test_a_limit_on_the_norm_and_a_schedule_are_torchs():
    rate = lambda step: 0.5 / (1 + step)  # noqa: E731
    m, parameters, X, Y = compiled(optimizer=hg.nn.SGD(), clip_norm=0.05)
    m.run(30, data=(X, Y), generator=torch.Generator().manual_seed(5), lr=rate)
    leaves, _, _ = by_torch(lambda p: torch.optim.SGD(p, 0.1), 30, clip=0.05, lr=rate)
    for n, p in parameters.items():
        torch.testing.assert_close(p, leaves[n].detach(), rtol=1e-9, atol=1e-12)


def test_a_thousand_steps_in_single_precision_follow_torchs_curve():
    m, _, X, Y = compiled(torch.float32)
    run = m.run(1000, data=(X, Y), generator=torch.Generator().manual_seed(5))
    _, losses, _ = by_torch(lambda p: torch.optim.SGD(p, 0.1), 1000, dtype=torch.float32)
    assert float((run.losses - losses).abs().max()) < 1e-3


def test_steps_change_the_callers_memory_and_equal_a_run():
    m, parameters, X, Y = compiled()
    other, same, _, _ = compiled()
    g = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(10):
        ix = torch.randint(0, ROWS, (BATCH,), generator=g)
        losses.append(m.step(X[ix], Y[ix]))
    again = torch.Generator().manual_seed(3)
    run = other.run(10, data=(X, Y), generator=again)
    assert torch.equal(torch.stack(losses), run.losses)
    assert all(torch.equal(parameters[n], same[n]) for n in parameters)
    assert torch.equal(g.get_state(), again.get_state())


def test_callbacks_come_every_k_steps():
    m, _, X, Y = compiled()
    seen = []
    m.run(25, data=(X, Y), every=10, on_step=lambda step, loss: seen.append((step, loss)))
    assert [step for step, _ in seen] == [10, 20]


def test_ctrl_c_ends_after_a_step_with_everything_kept():
    m, parameters, X, Y = compiled()
    g = torch.Generator().manual_seed(5)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    run = m.run(50_000_000, data=(X, Y), generator=g)
    timer.join()
    assert run.stopped == "interrupted"
    assert len(run.losses) == run.steps
    other, same, _, _ = compiled()
    again = torch.Generator().manual_seed(5)
    other.run(run.steps, data=(X, Y), generator=again)
    assert all(torch.equal(parameters[n], same[n]) for n in parameters)
    assert torch.equal(g.get_state(), again.get_state())


def test_a_loss_that_is_no_number_stops_with_the_last_good_parameters():
    def forward(X, w):
        z = X @ w
        loss = z.log().mean()
        return loss

    X = torch.ones(50, 3, dtype=torch.float64)
    w = torch.full((3,), 0.5, dtype=torch.float64)
    m = hg.compile(forward, X[:4], w, wrt=["w"], optimizer=hg.nn.SGD(0.1))
    run = m.run(500, data=(X,), generator=torch.Generator().manual_seed(1))
    assert run.steps < 500
    assert "no finite number" in run.stopped
    assert "z.log()" in run.bad_line
    assert bool(run.losses.isfinite().all())
    assert float(forward(X[:4], w)) == pytest.approx(float(run.losses[-1]), rel=1e-12)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (lambda X, Y: (X, Y.index_fill(0, torch.tensor([41]), 5)), r"Y\[41\] of the data is 5"),
        (lambda X, Y: (X.float(), Y), "float32"),
        (lambda X, Y: (X.T.contiguous().T, Y), "not contiguous"),
        (lambda X, Y: (X[:-1], Y), "different numbers of rows"),
        (lambda X, Y: (X[:, :3].contiguous(), Y), r"rows \[3\]"),
    ],
)
def test_data_is_checked_before_the_first_step(data, told):
    m, parameters, X, Y = compiled()
    before = {n: p.clone() for n, p in parameters.items()}
    with pytest.raises(hg.HandgradError, match=told):
        m.run(10, data=data(X, Y))
    assert all(torch.equal(before[n], p) for n, p in parameters.items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda X, Y: (X[:BATCH], Y[:BATCH] + 5), r"Y\[0\] is \d, and it numbers one of 5"),
        (lambda X, Y: (X[:BATCH].float(), Y[:BATCH]), "X is float32"),
        (lambda X, Y: (X[: BATCH + 1], Y[:BATCH]), r"X has shape \[17, 7\]"),
        (lambda X, Y: (torch.zeros(7, BATCH, dtype=X.dtype).T, Y[:BATCH]), "X is not contiguous"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(change, told):
    m, parameters, X, Y = compiled()
    with pytest.raises(hg.HandgradError, match=told):
        m.step(*change(X, Y))


def test_parameters_that_cannot_be_changed_in_place_are_refused():
    parameters, X, Y = setting()
    parameters["W1"] = parameters["W1"].T.contiguous().T
    with pytest.raises(hg.HandgradError, match="W1 is not contiguous"):
        hg.compile(classify, X[:BATCH], Y[:BATCH], **parameters, wrt=list(parameters))


def test_parameters_that_share_memory_are_refused():
    both = torch.zeros(10)
    with pytest.raises(hg.HandgradError, match="share memory"):
        hg.compile(lambda a, b: (a * b[:6]).sum(), both[:6], both[2:])


def test_a_module_is_trained_in_place():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(7, 11), torch.nn.ReLU(), torch.nn.Linear(11, 5))

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = model

        def forward(self, x, y):
            return F.cross_entropy(self.layers(x), y)

    net = Net()
    _, X, Y = setting(torch.float32)
    before = model[0].weight.detach().clone()
    m = hg.compile(net, X[:BATCH], Y[:BATCH], optimizer=hg.nn.Adam(0.01))
    first = m.step(X[:BATCH], Y[:BATCH])
    for _ in range(50):
        last = m.step(X[:BATCH], Y[:BATCH])
    assert float(last) < float(first)
    assert not torch.equal(before, model[0].weight.detach())


def test_the_seed_trains_as_autograd_does():
    g = torch.Generator().manual_seed(2147483647)
    given = character_mlp.parameters(27, g, n_hidden=50)
    X = torch.randint(0, 27, (500, 3), generator=g)
    Y = torch.randint(0, 27, (500,), generator=g)
    mine = {n: p.clone().requires_grad_() for n, p in given.items()}
    m = hg.compile(character_mlp.small_steps, Xb=X[:32], Yb=Y[:32], **given, n=32)
    run = m.run(100, data=(X, Y), generator=torch.Generator().manual_seed(9))
    g = torch.Generator().manual_seed(9)
    for step in range(100):
        ix = torch.randint(0, 500, (32,), generator=g)
        loss = character_mlp.small_steps(Xb=X[ix], Yb=Y[ix], **mine, n=32)
        grads = torch.autograd.grad(loss, list(mine.values()))
        with torch.no_grad():
            for p, grad in zip(mine.values(), grads, strict=True):
                p -= 0.1 * grad
        assert float(run.losses[step]) == pytest.approx(loss.item(), rel=1e-4)


def test_without_a_compiler_it_runs_eagerly_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("handgrad.native.compilers.find_spec", lambda name: None)
    parameters, X, Y = setting()
    with pytest.warns(UserWarning, match="no C compiler; this step runs in eager PyTorch"):
        m = hg.compile(classify, X[:BATCH], Y[:BATCH], **parameters, wrt=list(parameters))
    assert m.backend == "eager"
    run = m.run(20, data=(X, Y), generator=torch.Generator().manual_seed(5))
    leaves, losses, _ = by_torch(lambda p: torch.optim.SGD(p, 0.1), 20)
    torch.testing.assert_close(run.losses, losses, rtol=1e-12, atol=0)
    for n, p in parameters.items():
        torch.testing.assert_close(p, leaves[n].detach(), rtol=1e-12, atol=1e-14)


def test_what_has_no_native_code_runs_eagerly_and_names_the_line():
    def forward(x, w):
        y = x * w
        top = y.topk(2).values
        return top.sum()

    x, w = torch.randn(3, 5), torch.randn(5)
    with pytest.warns(UserWarning, match=r"test_compile.py:\d+: no native code for topk"):
        m = hg.compile(forward, x, w, wrt=["w"])
    assert m.backend == "eager"
    m.step(x)
