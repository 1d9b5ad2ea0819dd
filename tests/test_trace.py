"""The ways in, and what is kept of the user's own text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from agree import agree, double
from handgrad.errors import BadInput
from handgrad.ir import walk
from handgrad.models import character_mlp
from handgrad.spell import spell
from handgrad.trace.files import trace_file


def texts(trace: hg.Trace) -> list[str]:
    return [line.text for line in trace.lines]


def test_function_keeps_lines_scalars_and_methods_verbatim():
    # fmt: off
    def forward(x, w, n):
        mean = 1/n*x.sum(0, keepdims=True)
        var = 1/(n-1)*((x - mean)**2).sum(0, keepdim=True)
        scaled = (var + 1e-5)**-0.5
        picked = w[range(n), 1]
        top = x.max(1, keepdim=True).values
        loss = (scaled.sum() + picked.mean()) * top.sum()
        return loss
    # fmt: on

    trace = hg.trace(forward, double(4, 3), double(4, 2), 4)
    assert texts(trace)[0] == "mean = 1/n*x.sum(0, keepdims=True)"
    assert texts(trace)[1] == "var = 1/(n-1)*((x - mean)**2).sum(0, keepdim=True)"
    assert texts(trace)[3] == "picked = w[range(n), 1]"
    assert trace.program.scalars == {"n": 4}
    source = hg.derive(trace).source
    assert "1/n" in source
    assert "1/(n-1)" in source
    assert "0.25" not in source


def test_scalar_that_changes_is_written_as_its_value():
    def forward(x):
        for k in range(3):
            x = x * (k + 2)
        loss = x.sum()
        return loss

    backward = agree(forward, x=double(3))
    assert [line.text for line in backward.trace.lines][:3] == [
        "x_1 = (0 + 2) * x",
        "x_2 = (1 + 2) * x_1",
        "x_3 = (2 + 2) * x_2",
    ]


def test_with_block_gives_the_same_program_as_the_function():
    model = character_mlp
    del model

    def forward(x, W):
        h = torch.tanh(x @ W)
        loss = (h**2).mean()
        return loss

    x, W = double(3, 5), double(5, 2).requires_grad_()
    with hg.recording() as trace:
        h = torch.tanh(x @ W)
        loss = (h**2).mean()
    assert loss.item() == trace.values["loss"].item()
    assert texts(trace) == texts(hg.trace(forward, x, W))
    assert trace.leaves == ("W",)
    torch.testing.assert_close(
        trace.grads["h"], torch.autograd.grad((h2 := torch.tanh(x @ W)).square().mean(), h2)[0]
    )


def test_file_top_level_leaves_set_up_out(tmp_path):
    file = tmp_path / "notebook.py"
    file.write_text(
        "import torch\n"
        "g = torch.Generator().manual_seed(1)\n"
        "words = ['a', 'b']\n"
        "x = torch.randn(4, 3, generator=g)\n"
        "W = torch.randn((3, 2), generator=g)\n"
        "parameters = [W]\n"
        "for p in parameters:\n"
        "    p.requires_grad = True\n"
        "logits = x @ W\n"
        "loss = logits.square().mean()\n"
    )
    trace = trace_file(str(file))
    assert texts(trace) == ["logits = x @ W", "loss = logits.square().mean()"]
    assert trace.leaves == ("W",)
    assert trace.lines[0].span.line == 9


def test_file_function_takes_its_arguments_from_the_file(tmp_path):
    file = tmp_path / "step.py"
    file.write_text(
        "import torch\nx = torch.ones(2, 3)\nscale = 2.0\n"
        "def other(x, scale, power=2):\n    loss = (x * scale).pow(power).sum()\n    return loss\n"
    )
    trace = trace_file(f"{file}:other")
    assert trace.output == "loss"
    assert trace.leaves == ("x",)


def test_module_names_its_parameters():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = torch.nn.Linear(3, 5)
            self.norm = torch.nn.LayerNorm(5)

        def forward(self, x):
            h = self.norm(self.fc1(x)).tanh()
            return h.square().mean()

    trace = hg.trace(Net().double(), double(4, 3))
    assert {"fc1_weight", "fc1_bias", "norm_weight", "norm_bias", "x"} == set(trace.leaves)
    assert trace.output == "loss"
    hg.derive(trace, strict=True)


def test_tuple_unpacking_is_one_line():
    def forward(x):
        q, k = x.split(2, dim=1)
        values, indices = q.max(1)
        loss = (values * k.sum(1)).sum()
        return loss

    trace = hg.trace(forward, double(3, 4))
    assert texts(trace)[:2] == ["q, k = x.split(2, dim=1)", "values, indices = q.max(1)"]
    agree(forward, x=double(3, 4))


def test_alias_is_known_by_both_names():
    def forward(x):
        y = x * 2
        z = y
        loss = z.sum()
        return loss

    trace = hg.trace(forward, double(3))
    assert trace.aliases == {"z": "y"}


def test_upstream_gradient_of_any_output():
    def forward(x, W):
        out = torch.relu(x @ W)
        return out

    x, W, dout = double(4, 3), double(3, 5, seed=1), double(4, 5, seed=2)
    trace = hg.trace(forward, x, W, upstream=dout)
    found = hg.derive(trace).run()
    xs, Ws = x.clone().requires_grad_(), W.clone().requires_grad_()
    truth = torch.autograd.grad(forward(xs, Ws), [xs, Ws], dout)
    torch.testing.assert_close(found["dx"], truth[0])
    torch.testing.assert_close(found["dW"], truth[1])


def test_wrt_chooses_the_leaves():
    def forward(x, W):
        return (x @ W).sum()

    trace = hg.trace(forward, double(2, 3), double(3, 2), wrt=["W"])
    assert trace.leaves == ("W",)
    assert "dx" not in hg.derive(trace).run()


def test_containers_of_tensors_are_named_by_their_keys():
    def forward(x, params):
        h = F.relu(x @ params["W1"] + params["b1"])
        return (h @ params["layers"][0]).sum()

    params = {"W1": double(3, 5), "b1": double(5), "layers": [double(5, 2)]}
    trace = hg.trace(forward, double(4, 3), params)
    assert set(trace.leaves) == {"x", "W1", "b1", "layers_0"}


def test_named_noise_is_an_input():
    def forward(mu):
        eps = torch.randn_like(mu)
        z = mu + eps
        return (z**2).sum()

    trace = hg.trace(forward, double(4))
    assert "eps" in {name.name for name in trace.program.inputs}
    hg.derive(trace)


def test_users_tensors_are_left_alone():
    x = double(3)
    before = x.clone()

    def forward(x):
        x = x * 2
        x += 1
        return x.sum()

    hg.trace(forward, x)
    assert torch.equal(x, before)
    assert x.grad is None
    assert not x.requires_grad


def test_detach_inside_a_line_stops_the_gradient_there():
    def forward(x):
        y = x.tanh() - x.exp().detach()
        loss = (y * x).sum()
        return loss

    backward = agree(forward, x=double(3))
    assert not backward.opaque
    assert any(note.kind == "detach" for note in backward.trace.notes)


def test_module_made_of_torchs_own_modules_only():
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)
    ).double()
    trace = hg.trace(net, double(4, 3), upstream=double(4, 2, seed=1))
    assert {"0_weight", "0_bias"} & set(trace.leaves) or "x_0_weight" in trace.leaves
    found = hg.derive(trace, strict=True).run()
    assert len(found) >= 5


def test_file_stops_at_the_loss(tmp_path):
    file = tmp_path / "step.py"
    file.write_text(
        "import torch\nx = torch.ones(2, 3)\nx.requires_grad = True\nloss = (x * 2).sum()\n"
        "loss.backward()\nwith torch.no_grad():\n    x -= 0.1 * x.grad\n"
    )
    assert len(trace_file(str(file)).lines) == 1


def test_file_may_give_the_upstream_gradient(tmp_path):
    file = tmp_path / "layer.py"
    file.write_text(
        "import torch\nx = torch.ones(2, 3, requires_grad=True)\ndout = torch.full((2, 3), 0.5)\n"
        "out = x * 2\n"
    )
    trace = trace_file(str(file))
    assert trace.output == "out"
    assert torch.equal(trace.grads["x"], torch.ones(2, 3))


def test_file_function_takes_marked_arguments_as_leaves(tmp_path):
    file = tmp_path / "step.py"
    file.write_text(
        "import torch\nx = torch.ones(2, 3)\nw = torch.ones(3, requires_grad=True)\n"
        "def forward(x, w):\n    return (x @ w).sum()\n"
    )
    assert trace_file(str(file)).leaves == ("w",)


def test_branch_on_a_value_is_noted():
    def forward(x):
        if x.sum() > 0:
            x = x * 2
        return x.sum()

    trace = hg.trace(forward, double(3).abs())
    assert [note.kind for note in trace.notes] == ["branch"]


def test_trace_and_backward_show_themselves_in_a_notebook():
    trace = hg.trace(lambda x: (x * 2).sum(), double(3))
    assert "<table" in trace._repr_html_()
    assert "dx" in hg.derive(trace)._repr_html_()


def test_a_draw_inside_torchs_own_function_is_a_constant_of_the_trace():
    def forward(x):
        y = F.gumbel_softmax(x, dim=-1)
        return (y * x).sum()

    torch.manual_seed(0)
    trace = hg.trace(forward, double(4, 3))
    assert list(trace.draws) == ["exponential"]
    x = double(4, 3).requires_grad_()
    torch.manual_seed(0)
    truth = torch.autograd.grad(forward(x), x)[0]
    torch.testing.assert_close(hg.derive(trace).run()["dx"], truth)


def test_sizes_are_known_by_the_shape_that_they_were_taken_from():
    def forward(x, w):
        n, m = x.shape
        k = w.size(-1)
        j = len(w)
        m = m + 1
        for _ in range(2):
            d = x.shape[1]
        return (x @ w / n / m / k / j / d).sum()

    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    program = hg.trace(forward, x=x, w=w).program
    assert program.sizes == {"n": "x.shape[0]", "k": "w.shape[1]", "j": "w.shape[0]"}


def test_a_size_of_a_name_that_changes_is_not_known():
    def forward(x):
        n = x.shape[0]
        x = x.T
        return (x / n).sum()

    x = torch.randn(4, 4, requires_grad=True)
    assert hg.trace(forward, x=x).program.sizes == {}


def reshaped(x):
    B, T, C = x.shape
    H = 2
    y = x.view(B, T, H, C // H)
    return (y * 2).sum()


def cut_out(x, start, length):
    y = x.narrow(1, start, length)
    return (y * 2).sum()


def by_keyword(x, start, length):
    y = x.narrow(length=length, dim=2, start=start)
    return (y * 2).sum()


def made_of_sizes(x):
    B, T, H = x.shape
    y = x + torch.ones(B, T, H)
    return y.sum()


@pytest.mark.parametrize(
    ("forward", "args", "text"),
    [
        (reshaped, (torch.randn(2, 2, 4),), "x.reshape(B, T, H, C // H)"),
        (cut_out, (torch.randn(5, 7, 5), 2, 2), "x.narrow(1, start, length)"),
        (by_keyword, (torch.randn(5, 7, 5), 2, 2), "x.narrow(2, start, length)"),
        (made_of_sizes, (torch.randn(3, 3, 3),), "torch.ones(B, T, H)"),
    ],
)
def test_sizes_that_are_equal_today_keep_their_own_texts(forward, args, text):
    found = hg.trace(forward, *args)
    assert any(text in spell(node) for line in found.lines for node in walk(line.expr))


@pytest.mark.parametrize(
    "call", [hg.derive, hg.simplify, hg.explain, hg.check, hg.function, hg.compile, hg.trace]
)
@pytest.mark.parametrize("given", [3, "loss.py", torch.ones(2), lambda x: x])
def test_what_a_function_does_not_work_on_is_refused(call: Any, given: object) -> None:
    with pytest.raises(BadInput):
        call(given)
