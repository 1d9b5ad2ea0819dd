"""What a forward pass changes or draws, a step changes and draws too, as PyTorch does."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import handgrad as hg
from handgrad.errors import BadInput
from handgrad.native.compilers import CannotBuild

pytestmark = [pytest.mark.native, pytest.mark.filterwarnings("ignore:.*eager PyTorch:UserWarning")]


class Net(nn.Module):
    def __init__(self, norm, p=0.0):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), norm, nn.Linear(4, 2)
        self.drop = nn.Dropout(p)

    def forward(self, x, y):
        h = self.norm(self.first(x))
        return F.cross_entropy(self.last(self.drop(torch.relu(h))), y)


NETS = {
    "batch norm": lambda: Net(nn.BatchNorm1d(4)),
    "another momentum": lambda: Net(nn.BatchNorm1d(4, momentum=0.3)),
    "without weights": lambda: Net(nn.BatchNorm1d(4, affine=False)),
    "two that begin alike": lambda: Net(nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))),
    "one applied twice": lambda: Net(nn.Sequential(*[nn.BatchNorm1d(4)] * 2)),
    "dropout": lambda: Net(nn.Identity(), p=0.4),
    "both": lambda: Net(nn.BatchNorm1d(4), p=0.4),
}


@pytest.fixture(params=["native", "eager"])
def backend(request, monkeypatch):
    def none(*_, **__):
        raise CannotBuild("no compiler")

    if request.param == "eager":
        monkeypatch.setattr("handgrad.native.compiled.build", none)
    return request.param


def batch(rows=16):
    g = torch.Generator().manual_seed(3)
    return torch.randn(rows, 3, generator=g) * 3 + 5, torch.randint(0, 2, (rows,), generator=g)


def follows(net, m, own, steps=4):
    """Compare some steps with autograd's, every parameter and buffer too."""
    x, y = batch()
    optimiser = torch.optim.SGD(own.parameters(), 0.1)
    for step in range(steps):
        torch.manual_seed(step)
        got = m.step(x + step, y)
        torch.manual_seed(step)
        optimiser.zero_grad()
        loss = own(x + step, y)
        loss.backward()
        optimiser.step()
        torch.testing.assert_close(got, loss.detach())
        torch.testing.assert_close(net.state_dict(), own.state_dict())


@pytest.mark.parametrize("case", NETS)
def test_a_module_in_training_is_changed_as_by_torch(case, backend):
    torch.manual_seed(0)
    net = NETS[case]()
    own = copy.deepcopy(net)
    m = hg.compile(net, *batch(), optimizer=hg.nn.SGD(0.1))
    assert m.backend == backend, m.note
    assert m.batch_names == ("x", "y")
    follows(net, m, own)
    torch.testing.assert_close(net.eval()(*batch()), own.eval()(*batch()))


def test_what_is_only_read_stays(backend):
    net = NETS["batch norm"]().eval()
    before = {n: t.clone() for n, t in net.named_buffers()}
    hg.compile(net, *batch()).step(*batch())
    torch.testing.assert_close(dict(net.named_buffers()), before)


def running(x, w, mean, var, count):
    h = F.batch_norm(x @ w, mean, var, training=True, momentum=0.2)
    count.add_(1)
    return h.pow(3).mean()


def test_arguments_that_a_function_changes(backend):
    x, _ = batch()
    args = [torch.randn(3, 4), torch.zeros(4), torch.ones(4), torch.zeros((), dtype=torch.int64)]
    theirs = [t.clone() for t in args]
    theirs[0].requires_grad_()
    m = hg.compile(running, x, *args, wrt=["w"], optimizer=hg.nn.SGD(0.1))
    assert m.backend == backend, m.note
    for _ in range(3):
        (gradient,) = torch.autograd.grad(running(x, *theirs), theirs[0])
        theirs[0].data -= 0.1 * gradient
        m.step(x)
        torch.testing.assert_close(args, [t.detach() for t in theirs], rtol=1e-4, atol=1e-5)


DRAWN = {
    "noise on what is computed": "h = x @ w\n    z = h + torch.randn_like(h) * 0.5",
    "noise of a size": "z = (x @ w) * torch.rand(16, 1)",
    "noise on an argument": "z = (x + torch.randn_like(x)) @ w",
    "a mask": "m = torch.rand_like(x) > 0.3\n    z = (x * m) @ w",
    "of an argument's values": "z = torch.bernoulli(x.sigmoid()) @ w",
    "of computed values": "h = x @ w\n    z = h * torch.bernoulli(h.sigmoid().detach())",
    "several": "z = torch.rand_like(x) @ w + torch.randn(16, 4) * torch.rand(())",
}


@pytest.mark.parametrize("case", DRAWN)
def test_what_is_drawn_is_drawn_anew_at_each_step(case, backend):
    space = {"torch": torch}
    exec(f"def forward(x, w):\n    {DRAWN[case]}\n    return z.tanh().pow(2).mean()", space)
    forward, (x, _) = space["forward"], batch()
    w = torch.randn(3, 4)
    own = w.clone().requires_grad_()
    m = hg.compile(forward, x, w, wrt=["w"], optimizer=hg.nn.SGD(0.1))
    if case == "of computed values":
        assert m.backend == "eager"
        assert backend == "eager" or "needs the values of h" in m.note
    losses = set()
    for step in range(4):
        torch.manual_seed(step)
        losses.add(float(m.step()))
        torch.manual_seed(step)
        (gradient,) = torch.autograd.grad(forward(x, own), own)
        own.data -= 0.1 * gradient
        torch.testing.assert_close(w, own.detach(), rtol=1e-4, atol=1e-5)
    assert len(losses) == 4


def test_a_run_draws_at_each_step(backend):
    net = NETS["both"]()
    own, (x, y) = copy.deepcopy(net), batch(40)
    m = hg.compile(net, x[:8], y[:8], optimizer=hg.nn.SGD(0.1))
    torch.manual_seed(2)
    run = m.run(6, data=(x, y), generator=torch.Generator().manual_seed(1))
    optimiser, rows, losses = (
        torch.optim.SGD(own.parameters(), 0.1),
        torch.Generator().manual_seed(1),
        [],
    )
    torch.manual_seed(2)
    for _ in range(6):
        ix = torch.randint(0, 40, (8,), generator=rows)
        optimiser.zero_grad()
        loss = own(x[ix], y[ix])
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    torch.testing.assert_close(
        run.losses, torch.tensor(losses, dtype=torch.float64), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(net.state_dict(), own.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_momentum_that_counts_batches_is_refused():
    # it is a number that torch takes from a buffer, and another one at each step
    with pytest.raises(BadInput, match="takes a number from a tensor"):
        hg.compile(Net(nn.BatchNorm1d(4, momentum=None)), *batch())
