"""The user's own graph is the truth: what no recorded line made is followed, marked or refused."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import handgrad as hg
from agree import double
from handgrad.errors import BadInput


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        return a.sign()

    @staticmethod
    def backward(ctx, da):
        return da


class Both(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b, scale):
        ctx.scale = scale
        return a * scale, a + b

    @staticmethod
    def backward(ctx, da, db):
        return -ctx.scale * da + db, db, None


def plain(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x @ w)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    scripted = torch.jit.script(plain)


def straight_through(x, w):
    return (Sign.apply(x @ w) * (x @ w)).sum()


def several_results(x, w):
    a, b = Both.apply(x, x * 2, 3.0)
    return (a * b).sum() + (x @ w).sum()


def one_result_of_several(x, w):
    a, _ = Both.apply(x, x * 2, 3.0)
    return (a * a).sum() + (x @ w).sum()


def by_vmap(x, w):
    u = torch.func.vmap(lambda row: torch.sin(row) @ w)(x)
    return (u * u).sum()


def by_func_grad(x, w):
    g = torch.func.grad(lambda a: torch.tanh(a @ w).sum())(x)
    return (g * g).sum()


def by_jit(x, w):
    h = scripted(x, w)
    return (h * h).sum() + (scripted(x * 2, w) ** 2).sum()


def gradient_penalty(x, w):
    y = x.detach().clone().requires_grad_()
    u = torch.tanh(y @ w)
    (g,) = torch.autograd.grad(u.sum(), y, create_graph=True)
    return ((g.norm(dim=1) - 1) ** 2).mean() + (x @ w).sum()


def second_derivative(x, w):
    u = torch.sin(x @ w).sum()
    (g,) = torch.autograd.grad(u, x, create_graph=True)
    (gg,) = torch.autograd.grad((g**2).sum(), x, create_graph=True)
    return (gg * x).sum()


def target(x, w):
    with torch.no_grad():
        t = torch.tanh(x @ w)
    return ((x @ w - 0.5 * t) ** 2).mean()


def target_inside_a_line(x, w):
    @torch.no_grad()
    def teacher(a):
        return a.exp()

    return (x.tanh() * teacher(x @ w).sum()).sum()


def switched_off(x, w):
    torch.set_grad_enabled(False)
    t = (x @ w).sum()
    torch.set_grad_enabled(True)
    return (x.sin() * t).sum() + w.sum()


def inferred(x, w):
    with torch.inference_mode():
        t = (x @ w).mean()
    return (x @ w).sum() * t.clone()


def recomputed(x, w):
    h = checkpoint(lambda a: torch.tanh(a @ w), x, use_reentrant=False)
    return (h * h).sum()


def stretched(x, w):
    a, b = torch.broadcast_tensors(x, x[:, :1])
    return (a * b).sum() + (x @ w).sum()


def moments(x, w):
    s, m = torch.std_mean(x @ w, dim=1)
    return (s * m).sum()


def factors(x, w):
    q, r = torch.linalg.qr(x.T @ x + 0.1 * torch.eye(3, dtype=x.dtype))
    return (q[0] * r[0].sum()).sum() + (x @ w).sum()


def dropped(x, w):
    return F.dropout(torch.tanh(x @ w), 0.4).square().sum()


def dropped_channels(x, w):
    return (
        F.dropout1d((x @ w).unsqueeze(0), 0.5).square().sum()
        + F.alpha_dropout(x, 0.3, training=True).square().sum()
    )


def sampled(x, w):
    mu, std = x @ w, F.softplus(x @ w)
    z = torch.distributions.Normal(mu, std).rsample()
    return (z * z + std.log()).sum()


def hard_choice(x, w):
    return (F.gumbel_softmax(x @ w, hard=True) * torch.arange(2.0, dtype=x.dtype)).sum()


def masked_at_random(x, w):
    return ((x @ w) * (torch.rand_like(x @ w) > 0.5) / 0.5).square().sum()


def sloped(x, w):
    h = x @ w
    h = torch.cat([h, torch.zeros(1, 2).to(h) * h[:1]])  # it draws where the value is 0 too
    return (F.rrelu(h, 0.1, 0.3, training=True).exp() * h).sum()


def attended(x, w):
    q = (x @ w).unsqueeze(0)
    return F.scaled_dot_product_attention(q, q, q, dropout_p=0.3).square().sum()


PASSES = [
    *(straight_through, several_results, one_result_of_several, by_vmap, by_func_grad, by_jit),
    *(gradient_penalty, second_derivative, target, target_inside_a_line, switched_off, inferred),
    *(recomputed, stretched, moments, factors, dropped, dropped_channels, sampled, hard_choice),
    *(masked_at_random, attended, sloped),
]


@pytest.mark.parametrize("forward", PASSES, ids=lambda forward: forward.__name__)
def test_what_no_line_made_has_autograds_gradient(forward):
    x, w = double(4, 3), double(3, 2, seed=1)
    leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
    torch.manual_seed(3)
    truth = torch.autograd.grad(forward(*leaves), leaves, allow_unused=True)
    torch.manual_seed(3)
    found = hg.derive(hg.trace(forward, x, w)).run()
    for name, grad in zip(("dx", "dw"), truth, strict=True):
        if grad is None:
            assert name not in found
        else:
            torch.testing.assert_close(found[name], grad)


def test_a_hook_that_changes_the_gradient_is_refused_at_its_line():
    def forward(x):
        h = x * 2
        h.register_hook(lambda dh: dh * 10)
        return (h**2).sum()

    with pytest.raises(BadInput, match="something that is no line") as told:
        hg.trace(forward, double(3))
    assert "register_hook" in told.value.why


def test_a_hook_that_only_looks_is_none():
    def forward(x):
        h = x * 2
        h.register_hook(lambda dh: None)
        return (h**2).sum()

    assert "dx" in hg.derive(hg.trace(forward, double(3))).run()


def squared(x):
    return (x**2).sum()


def test_a_hook_that_an_argument_has_before_tracing_is_refused_by_name():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    plain = hg.compile(squared, x.detach().clone().requires_grad_())  # kept, to be found again
    assert plain.note is not None
    x.register_hook(lambda dx: dx * 10)
    for way in (hg.trace, hg.compile):
        with pytest.raises(BadInput, match="a hook that x was given") as told:
            way(squared, x)
        assert ".remove()" in told.value.hint


def test_a_hook_that_an_argument_has_and_only_looks_is_none():
    seen = []
    x = double(3).requires_grad_()
    x.register_hook(seen.append)
    assert "dx" in hg.derive(hg.trace(squared, x)).run()


def test_a_post_accumulate_hook_of_an_argument_or_a_parameter_is_refused_by_name():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    x.register_post_accumulate_grad_hook(lambda x: x.grad.mul_(10))
    layer = nn.Linear(2, 1)
    layer.weight.register_post_accumulate_grad_hook(lambda w: w.grad.mul_(10))
    net = nn.Sequential(layer, nn.Flatten(0), nn.Tanh())
    with pytest.raises(BadInput, match="x has a post-accumulate hook"):
        hg.compile(squared, x)
    with pytest.raises(BadInput, match="0_weight has a post-accumulate hook"):
        hg.trace(net, torch.randn(1, 2))


def test_the_older_checkpoint_is_followed_too():
    def forward(x):
        k = checkpoint(torch.sin, x, use_reentrant=True)
        return (k * k).sum()

    x = double(4)
    found = hg.derive(hg.trace(forward, x), strict=True).run()["dx"]
    torch.testing.assert_close(found, 2 * x.sin() * x.cos())


def test_a_function_that_reads_a_tensor_unseen_is_refused_by_name():
    w = double(3).requires_grad_()

    def inner(a):
        return a * w

    def forward(x):
        u = torch.func.vmap(inner)(x)
        return (u * u).sum()

    with pytest.raises(BadInput, match="cannot be followed"):
        hg.trace(forward, double(2, 3))


def test_leaves_are_the_marked_arguments_and_what_can_have_a_gradient():
    def forward(x, w, y, weight):
        return F.cross_entropy(x @ w, y, weight=weight)

    given = double(4, 3), double(3, 2, seed=1), torch.tensor([0, 1, 0, 1]), double(2).abs()
    assert hg.trace(forward, *given).leaves == ("x", "w")
    marked = given[0], given[1].requires_grad_(), *given[2:]
    assert hg.trace(forward, *marked).leaves == ("w",)


def test_captured_parameters_are_leaves_by_their_modules_names():
    net = nn.Linear(3, 2).double()

    def forward(x):
        return net(x).tanh().sum()

    assert set(hg.trace(forward, double(4, 3)).leaves) == {"x", "net_weight", "net_bias"}


def test_a_tensor_that_the_forward_pass_marks_itself_is_no_leaf():
    def forward(x, w):
        c = x.clone().detach().requires_grad_(True)
        return torch.sin(c @ w).sum()

    trace = hg.trace(forward, double(4, 3), double(3, 2).requires_grad_())
    assert trace.leaves == ("w",)


def test_running_statistics_are_updates_and_the_module_is_left_as_it_was():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x):
            return self.norm(x).square().mean()

    net = Net().double()
    trace = hg.trace(net, double(5, 3))
    assert set(trace.updates) == {
        "norm_running_mean",
        "norm_running_var",
        "norm_num_batches_tracked",
    }
    assert int(net.norm.num_batches_tracked) == 0


def test_a_leaf_is_given_its_first_values_before_the_forward_pass(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "import torch\nfrom torch import nn\nlin = nn.Linear(3, 2)\n"
        "nn.init.xavier_uniform_(lin.weight)\nnn.init.zeros_(lin.bias)\n"
        "with torch.no_grad():\n    lin.weight.mul_(2)\n"
        "x = torch.randn(4, 3)\ny = lin(x)\nloss = y.pow(2).mean()\n"
    )
    from handgrad.trace.files import trace_file

    trace = trace_file(str(file))
    assert trace.leaves == ("lin_weight", "lin_bias")
    assert "x" in {name.name for name in trace.program.inputs}
    hg.derive(trace, strict=True)


def test_autocast_is_refused_by_name():
    def forward(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = x @ x
        return h.float().sum()

    with pytest.raises(BadInput, match="autocast"):
        hg.trace(forward, torch.randn(3, 3))


def test_a_checkpoint_with_a_draw_inside():
    def forward(x):
        h = checkpoint(lambda a: F.dropout(torch.tanh(a), 0.3), x, use_reentrant=False)
        return (h * h).sum()

    x = double(4, 3)
    leaf = x.clone().requires_grad_()
    torch.manual_seed(0)
    truth = torch.autograd.grad(forward(leaf), leaf)[0]
    torch.manual_seed(0)
    torch.testing.assert_close(hg.derive(hg.trace(forward, x)).run()["dx"], truth)


class FromData(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.b, self.how = nn.Parameter(torch.zeros(1, 3).double()), how

    def forward(self, x):
        mean = x.detach().mean(0, keepdim=True)
        if self.how == "data":
            self.b.data.copy_(mean)
        elif self.how == "detach":
            self.b.detach().copy_(mean)
        elif self.how == "set":
            self.b.data = mean
        else:
            with torch.no_grad():
                self.b.copy_(mean)
        return ((x - self.b) ** 3).sum()


@pytest.mark.parametrize("how", ["data", "detach", "set", "no_grad"])
def test_a_parameter_that_is_given_its_values_stays_a_leaf_and_the_module_as_it_was(how):
    net, x = FromData(how), double(4, 3)
    found = hg.derive(hg.trace(net, x)).run()
    assert not net.b.any()
    leaf = x.clone().requires_grad_()
    db, dx = torch.autograd.grad(net(leaf), [net.b, leaf])
    torch.testing.assert_close(found["db"], db)
    torch.testing.assert_close(found["dx"], dx)


def test_a_leaf_that_the_program_lost_is_refused():
    from handgrad.trace.recorder import Recorder
    from handgrad.trace.truth import graph_gradients

    recorder, x = Recorder(), double(3).requires_grad_()
    leaf = recorder.input(x, "x", leaf=True)
    loss = recorder.input((x**2).sum(), "loss")
    with pytest.raises(BadInput, match="x has a gradient that no line accounts for"):
        graph_gradients(loss, {"loss": loss}, torch.ones(()).double(), recorder, print)
    found = {}
    known = {"loss": loss, "x": leaf}
    graph_gradients(loss, known, torch.ones(()).double(), recorder, found.__setitem__)
    torch.testing.assert_close(found["x"], 2 * x.detach())


def test_a_run_that_is_repeated_draws_the_same_again():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 2)

        def forward(self, x):
            x = x - x.mean()
            x /= torch.sqrt(x.var())  # eager runs: x needs no gradient
            return F.dropout(self.lin(x), 0.5).square().sum()

    torch.manual_seed(0)
    net, x = Scaled().double(), double(5, 3)
    torch.manual_seed(1)
    loss = net(x)
    torch.manual_seed(1)
    trace = hg.trace(net, x)
    assert "x" not in trace.leaves
    torch.testing.assert_close(trace.values[trace.output], loss.detach())


def test_a_custom_function_whose_callers_source_is_nowhere():
    scope: dict[str, object] = {"Sign": Sign}
    exec("def forward(x):\n    h = Sign.apply(x)\n    return (h * x).sum()\n", scope)
    x = double(3)
    found = hg.derive(hg.trace(scope["forward"], x)).run()["dx"]
    torch.testing.assert_close(found, x + x.sign())


def test_a_part_that_replaces_what_it_reads_is_right_or_refused():
    def forward(x, w):
        for _ in range(3):
            x = scripted(x * 2, w)
        return (x * x).sum()

    with pytest.raises(BadInput, match="cannot be followed"):
        hg.trace(forward, double(4, 3), double(3, 3, seed=1))


def test_a_leaf_that_is_written_after_it_was_read_is_refused():
    def forward(x):
        loss = (x**2).sum()
        x.data.mul_(2)  # autograd's own gradient is that of the new x
        return loss

    with pytest.raises(BadInput, match="the gradient of x"):
        hg.trace(forward, double(3))


def test_an_inner_gradient_that_a_hook_changes_is_refused():
    def forward(x):
        h = x * 2
        h.register_hook(lambda dh: dh * 10)
        (g,) = torch.autograd.grad((h**3).sum(), x, create_graph=True)
        return (g**2).sum()

    with pytest.raises(BadInput, match=r"torch\.autograd\.grad does not give"):
        hg.trace(forward, double(3))


def test_a_file_with_a_target_is_checked_as_it_is_traced(tmp_path, capsys):
    from handgrad.cli import main

    file = tmp_path / "net.py"
    file.write_text(
        "import torch\ntorch.manual_seed(0)\nw = torch.randn(3, 1, requires_grad=True)\n"
        "x = torch.randn(4, 3)\nwith torch.no_grad():\n    t = x @ w\n"
        "p = x @ w\ne = p - 0.5 * t\nloss = (e**2).mean()\n"
        "de = 2 * e / e.numel()\ndp = de\ndw = x.T @ dp\n"
    )
    assert main(["check", str(file)]) == 0
    assert "3 of 3 right" in capsys.readouterr().out


def test_a_gradient_of_zero_has_a_line():
    def forward(x, w):
        return (torch.bernoulli(x * 0.5) * w).sum()

    backward = hg.derive(hg.trace(forward, torch.rand(3).double(), double(3)))
    assert "dx = torch.zeros_like(x)" in backward.source
    assert "dx = torch.zeros_like(x)" in hg.simplify(backward).source


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("kind", ["to_sparse", "to_sparse_csr"])
def test_products_with_a_sparse_constant_are_autograds(kind):
    adjacency = getattr(torch.eye(4).double() + torch.ones(4).double().diag(), kind)()

    def forward(x, w):
        h = torch.sparse.mm(adjacency, x @ w).relu()
        return (adjacency @ h).square().mean()

    x, w = double(4, 3), double(3, 2, seed=1)
    leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
    truth = torch.autograd.grad(forward(*leaves), leaves)
    backward = hg.derive(hg.trace(forward, x, w))
    for each in (backward, hg.simplify(backward)):
        found = each.run()
        torch.testing.assert_close((found["dx"], found["dw"]), truth)


def test_a_sparse_leaf_is_refused():
    x = torch.eye(3).double().to_sparse().requires_grad_()
    with pytest.raises(BadInput, match="x is sparse"):
        hg.trace(lambda x: (x @ torch.ones(3, 2).double()).sum(), x)


def test_gradients_that_take_much_memory_are_worked_out_when_asked(monkeypatch):
    from handgrad.trace import keeping

    def forward(x, w):
        h = (x @ w).tanh()
        s, m = torch.std_mean(h, dim=0)
        return (h * s - m).square().sum()

    x, w = double(4, 3), double(3, 2, seed=1)
    kept = hg.trace(forward, x, w)
    monkeypatch.setattr(keeping, "KEPT", 0)
    lazy = hg.trace(forward, x, w)
    assert not isinstance(lazy.grads, dict)
    assert set(lazy.grads) == set(kept.grads)
    for name, grad in kept.grads.items():
        torch.testing.assert_close(lazy.grads[name], grad)
    hg.derive(lazy)
    assert hg.check(lazy, {"dw": kept.grads["w"]}).ok


def vjp_by_name(x, w):
    y, back = torch.func.vjp(lambda z: (z @ w).tanh(), x)
    (g,) = back(y * 2)
    return (g.sum(1, keepdim=True) * y).sum()


def vmap_of_a_name_that_is_bound_anew(x, w):
    h = x @ w
    o = torch.vmap(torch.sin)(h)
    h = o * 2
    return (h * o.T.T).sum()


def vmap_in_a_loop(x, w):
    for _ in range(3):
        x = torch.vmap(lambda row: torch.sin(row @ w @ w.T))(x * 2)
    return (x * x).sum()


def rows_of_a_jacobian(x, w):
    y = (x @ w)[:, 0]
    for _ in range(2):
        y = torch.func.jacrev(lambda z: z.tanh() * z.sum())(y)[0]
    return y.sum()


@pytest.mark.parametrize(
    "forward",
    [vjp_by_name, vmap_of_a_name_that_is_bound_anew, vmap_in_a_loop, rows_of_a_jacobian],
    ids=lambda forward: forward.__name__,
)
def test_what_torch_func_read_is_what_its_names_were_then(forward):
    x, w = double(4, 3), double(3, 2, seed=1)
    leaves = x.clone().requires_grad_(), w.clone().requires_grad_()
    truth = torch.autograd.grad(forward(*leaves), leaves)
    found = hg.derive(hg.trace(forward, x, w)).run()
    torch.testing.assert_close((found["dx"], found["dw"]), truth)


class Noisy(nn.Module):
    """Noise that is drawn into a buffer in the forward pass."""

    def __init__(self):
        super().__init__()
        self.mu, self.sigma = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))
        self.register_buffer("noise", torch.zeros(3))

    def forward(self, x):
        self.noise.normal_()
        weight = self.mu + self.sigma * self.noise
        return (x * weight).square().sum()


def test_what_is_drawn_into_a_buffer_keeps_its_value():
    net, x = Noisy().double(), double(4, 3)
    torch.manual_seed(5)
    truth = torch.autograd.grad(net(x), list(net.parameters()))
    torch.manual_seed(5)
    found = hg.derive(hg.trace(net, x)).run()
    torch.testing.assert_close((found["dmu"], found["dsigma"]), truth)


def test_a_view_of_a_parameter_keeps_its_value_when_training_goes_on():
    w = double(3, 2).requires_grad_()

    def forward(x):
        turned = w.T
        return (x @ turned.T).tanh().sum()

    trace = hg.trace(forward, double(4, 3))
    before = trace.values["turned"].clone()
    with torch.no_grad():
        w.mul_(2)
    torch.testing.assert_close(trace.values["turned"], before)


class Shifting(nn.Module):
    """A module that writes to an argument that needs no gradient."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)

    def forward(self, x):
        x -= x.mean(0)
        for row in x:
            row.mul_(2)
        return self.inner(x).square().sum()


def test_an_argument_that_needs_no_gradient_may_be_written_to():
    net, x = Shifting().double(), double(4, 3)
    truth = torch.autograd.grad(net(x.clone()), list(net.parameters()))
    found = hg.derive(hg.trace(net, x)).run()
    torch.testing.assert_close((found["dinner_weight"], found["dinner_bias"]), truth)


def test_a_write_to_a_leaf_is_refused_by_its_line():
    def forward(x):
        x += 1
        return (x * x).sum()

    with pytest.raises(BadInput, match="in-place") as found:
        hg.trace(forward, double(3))
    assert "x += 1" in str(found.value)


class Counting(nn.Module):
    """A module that warms up: another factor at each call."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(3, 2), 0

    def forward(self, x):
        self.calls += 1
        return self.inner(x).square().mean() * min(1.0, self.calls / 10)


def noise_by_numpy(x):
    return (x * torch.tensor(np.random.normal(size=(4, 3)))).sum()  # noqa: NPY002


def noise_by_python(x):
    return (x * random.random()).sum()


def test_a_trace_leaves_a_modules_numbers_as_they_were():
    net = Counting().double()
    trace = hg.trace(net, double(4, 3))
    assert net.calls == 0
    assert [note.kind for note in trace.notes] == ["state"]


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (Counting().double(), "Counting.calls becomes 1"),
        (noise_by_numpy, "draws from numpy.random"),
        (noise_by_python, "draws from Python's random"),
    ],
)
def test_a_step_is_not_made_of_what_the_next_run_would_find_changed(forward, words):
    with pytest.raises(BadInput, match=words):
        hg.compile(forward, double(4, 3))


def written_as_variables(x, w):
    target = torch.autograd.Variable(torch.ones(4, 3).to(x))
    return ((torch.autograd.Variable(x) @ w - target) ** 2).mean()


def scripted_twice(x, w):
    return scripted(scripted(x, w) * 0.5, w).square().mean()


@pytest.mark.native
@pytest.mark.filterwarnings("ignore:.*this step runs in eager PyTorch:UserWarning")
@pytest.mark.parametrize(
    "forward", [written_as_variables, scripted_twice], ids=lambda f: f.__name__
)
def test_a_compiled_step_sees_the_calls_that_the_user_makes(forward):
    x, w = double(4, 3), double(3, 3, seed=1)
    leaf = w.clone().requires_grad_()
    (truth,) = torch.autograd.grad(forward(x, leaf), [leaf])
    step = hg.compile(forward, x, own := w.clone(), wrt=["w"], optimizer=hg.nn.SGD(lr=0.1))
    step.step()
    torch.testing.assert_close(own, w - 0.1 * truth)


def test_only_the_second_of_several_results_has_a_gradient():
    x, w = double(3), double(4, seed=1).requires_grad_()

    def forward(x, w):
        rows, columns = torch.meshgrid(x, w, indexing="xy")
        return (rows - columns**2).sin().sum() + columns.mean()

    (truth,) = torch.autograd.grad(forward(x, w), [w])
    torch.testing.assert_close(hg.derive(hg.trace(forward, x, w)).run()["dw"], truth)


def test_a_number_of_an_argument_without_gradient_is_told() -> None:
    def forward(x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
        assert int(i.max()) < 10
        first = int(i[0])
        return (x * first).sum()

    traced = hg.trace(forward, torch.randn(3, requires_grad=True), torch.tensor([2, 5]))
    assert [note.kind for note in traced.notes] == ["item"]
    assert traced.notes[0].place is not None
    assert traced.notes[0].place.text == "first = int(i[0])"


def saved_in_inference(x, w):
    with torch.inference_mode():
        t = w.exp()
    return (x * t).sum() + w.sum()


def test_what_inference_mode_made_is_saved_for_a_marked_argument_only():
    x, w = double(3, seed=1), double(3, seed=2)
    backward = hg.derive(hg.trace(saved_in_inference, x, w.requires_grad_()))
    assert [each.name for each in backward.lines] == ["dw"]
    with pytest.raises(BadInput, match="Inference tensors cannot be saved") as error:
        hg.trace(saved_in_inference, x.requires_grad_(), w.detach())
    assert "torch.no_grad()" in error.value.hint


def test_a_view_of_a_parameter_given_twice_is_stepped():
    def forward(w):
        h = w[..., 0]
        a, b = torch.broadcast_tensors(h, h)
        return (a * b).sum()

    w = double(1, 2, 3, seed=1).requires_grad_()
    with pytest.warns(UserWarning, match="eager"):
        step = hg.compile(forward, w)
    first = float(step.step())
    assert float(step.step()) < first
