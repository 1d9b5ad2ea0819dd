"""`function`: emitted Functions are right, save no more than autograd, and run by themselves."""

from __future__ import annotations

import ast
import inspect
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import handgrad as hg
from emit.forwards import ALL, SIX, leaves_of, linear, rms_norm, saved_bytes, tensor
from handgrad.cli.functions import emitted
from handgrad.errors import BadInput, NoRule
from handgrad.trace.files import trace_file

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
each = pytest.mark.parametrize("name", ALL)
every_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture
def in_double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradients_as_returned(output):
    """Return what backward gives, before the engine sums or casts it."""
    with torch.no_grad():
        found = output.grad_fn.apply(torch.ones_like(output))
    return found if isinstance(found, tuple) else (found,)


@each
def test_gradcheck(name):
    forward, args = ALL[name]
    given = leaves_of(args)
    assert torch.autograd.gradcheck(hg.function(forward, *args).apply, given)


@each
def test_check_function_finds_nothing(name):
    forward, args = ALL[name]
    report = hg.check_function(hg.function(forward, *args), *args)
    assert report.ok, report


@each
def test_each_subset_of_gradients(name):
    forward, args = ALL[name]
    f = hg.function(forward, *args)
    count = sum(v.is_floating_point() for v in args)
    for needs in itertools.product([True, False], repeat=count):
        if not any(needs):
            continue
        mine, theirs = leaves_of(args, needs), leaves_of(args, needs)
        outputs = f(*mine), forward(*theirs)
        torch.testing.assert_close(outputs[0], outputs[1])
        up = tensor(*outputs[0].shape, seed=9)
        for output in outputs:
            (output * up).sum().backward()
        for a, b in zip(mine, theirs, strict=True):
            if a.requires_grad:
                torch.testing.assert_close(a.grad, b.grad)
            else:
                assert a.grad is None


def read_for(source, wanted):
    """Return the names that the lines of a file read on the way to some names."""
    made = {
        target.id: node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and not isinstance(node.value, ast.Constant)
    }
    found, waiting = set(), list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            value = made.get(name, ast.Constant(None))
            waiting += [node.id for node in ast.walk(value) if isinstance(node, ast.Name)]
    return found


@each
def test_a_gradient_is_computed_where_it_is_asked_for_or_read(name):
    forward, args = ALL[name]
    f = hg.function(forward, *args)
    names = [f"d{word}" for word in f.parameters.parameters]
    floats = [k for k, v in enumerate(args) if v.is_floating_point()]
    for place, k in enumerate(floats):
        given = leaves_of(args, [p == place for p in range(len(floats))])
        found = gradients_as_returned(f(*given))
        read = read_for(f.source, [names[k]])
        assert [g is not None for g in found[: len(args)]] == [
            names[p] in read and p in floats for p in range(len(args))
        ]
        assert found[k] is not None


@each
def test_a_second_derivative_is_right_or_refused(name):
    forward, args = ALL[name]
    f = hg.function(forward, *args)
    given = leaves_of(args)
    if "refused" not in f.__doc__:
        assert torch.autograd.gradgradcheck(f.apply, given)
        return
    with pytest.raises(RuntimeError, match=f"{name} has no second derivative: "):
        torch.autograd.grad(f(*given).sum(), given[0], create_graph=True)


@each
def test_other_sizes(name):
    """What is traced at one size is right at others: no size is written down."""
    forward, args = ALL[name]
    f = hg.function(forward, *args)
    if name == "linear":
        others = (tensor(11, 3), tensor(3, 2, seed=1), tensor(2, seed=2))
    else:
        others = tuple(
            torch.cat([v, v.flip(0)]) if v.shape[:1] == args[0].shape[:1] else v for v in args
        )
    mine, theirs = leaves_of(others), leaves_of(others)
    outputs = f(*mine), forward(*theirs)
    torch.testing.assert_close(outputs[0], outputs[1])
    for output in outputs:
        (output * output).sum().backward()
    for a, b in zip(mine, theirs, strict=True):
        if a.requires_grad:
            torch.testing.assert_close(a.grad, b.grad)


@each
def test_low_precision_keeps_its_dtype(name):
    forward, args = ALL[name]
    f = hg.function(forward, *args)
    for dtype in (torch.float16, torch.bfloat16):
        given = leaves_of([v.to(dtype) if v.is_floating_point() else v for v in args])
        output = f(*given)
        assert output.dtype == dtype
        found = gradients_as_returned(output)
        assert all(g is None or g.dtype == dtype for g in found)


def test_mixed_precision():
    f = hg.function(rms_norm, tensor(3, 5), tensor(5))
    x = tensor(3, 5).bfloat16().requires_grad_()
    w = tensor(5).float().requires_grad_()
    f(x, w).sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert w.grad.dtype == torch.float32


def test_the_text_runs_by_itself(tmp_path):
    for name, (forward, args) in SIX.items():
        (tmp_path / f"mine_{name}.py").write_text(hg.function(forward, *args).source)
        torch.save(args, tmp_path / f"{name}.pt")
    script = (
        "import sys, importlib, torch\n"
        f"for name in {list(SIX)}:\n"
        "    args = torch.load(name + '.pt')\n"
        "    args = [v.requires_grad_() if v.is_floating_point() else v for v in args]\n"
        "    mine = getattr(importlib.import_module('mine_' + name), name)\n"
        "    assert torch.autograd.gradcheck(mine, args)\n"
        "assert not any(m.split('.')[0] == 'handgrad' for m in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


@every_example
def test_example(path, in_double):
    """The Function of a whole model gives autograd's gradients and saves no more."""
    f = emitted(str(path), strict=True)
    trace = trace_file(str(path))
    values = {
        n.name: trace.values[n.name].detach().clone().requires_grad_(n.name in trace.leaves)
        for n in trace.program.inputs
    }
    words = inspect.signature(f.forward).parameters
    given = [values.get(n, trace.program.scalars.get(n)) for n in list(words)[1:]]

    def plain(*_):
        scope = {"torch": torch, "F": F, **trace.program.scalars, **values}
        for line in trace.lines:
            exec(line.text, scope)
        return scope[trace.output]

    mine, theirs = saved_bytes(f, given), saved_bytes(plain, given)
    assert mine[0] <= theirs[0]
    assert mine[1] <= theirs[1]
    torch.testing.assert_close(f(*given), trace.values[trace.output])
    leaves = [n for n in trace.leaves if n in trace.grads]
    for name in leaves:  # each alone: the others' lines are skipped
        for other in values.values():
            other.requires_grad_(other is values[name])
        (grad,) = torch.autograd.grad(f(*given), [values[name]])
        torch.testing.assert_close(grad, trace.grads[name])


def heads(x, n_head):
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)


def in_helpers(x, W):
    q, k = heads(x @ W, 2), heads(x, 2)
    return (q @ k.mT).softmax(-1) @ k


def test_a_size_that_a_helper_reads_is_no_number():
    f = hg.function(in_helpers, tensor(3, 5, 4), tensor(4, 4, seed=1))
    assert "T = x.shape[1]" in f.source
    x, W = tensor(2, 7, 4), tensor(4, 4, seed=1)
    torch.testing.assert_close(f(x, W), in_helpers(x, W))


def test_calls_by_keyword_and_defaults():
    f = hg.function(rms_norm, tensor(3, 5), tensor(5))
    x, w = tensor(4, 5, seed=3), tensor(5, seed=4)
    torch.testing.assert_close(f(x, w=w, eps=0.5), rms_norm(x, w, 0.5))
    torch.testing.assert_close(f.apply(x, w), rms_norm(x, w))
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: f(x, w, eps=0.5), (x,))
    assert "class RmsNorm" in f.source
    assert issubclass(f, torch.autograd.Function)


def test_a_value_that_the_lines_are_bound_to_is_checked():
    def forward(x, kind="tanh"):
        return F.gelu(x, approximate=kind)

    f = hg.function(forward, tensor(3, 5))
    torch.testing.assert_close(f(tensor(2, 3)), forward(tensor(2, 3)))
    with pytest.raises(ValueError, match="kind='tanh' alone"):
        f(tensor(2, 3), "none")


def test_a_number_that_changes_the_lines_is_checked():
    def forward(x, times):
        for _ in range(times):
            x = x * x
        return x

    f = hg.function(forward, tensor(3, 5), 2)
    with pytest.raises(ValueError, match="times=2 alone"):
        f(tensor(2, 3), 3)


def test_a_module():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh()).double()
    f = hg.function(module, tensor(3, 5))
    x = tensor(4, 5).requires_grad_()
    given = (x, *module.parameters())
    torch.testing.assert_close(f(*given), module(x))
    assert torch.autograd.gradcheck(f.apply, given)


def test_some_leaves():
    f = hg.function(linear, *ALL["linear"][1], wrt=["W"])
    assert set(f.residuals) == {"x"}
    x, W, b = leaves_of(ALL["linear"][1])
    f(x, W, b).sum().backward()
    assert x.grad is None
    assert b.grad is None
    torch.testing.assert_close(W.grad, x.detach().T @ torch.ones(3, 7).double())


def test_a_backward_pass_of_ones_own():
    x, w = SIX["rms_norm"][1]
    trace = hg.trace(rms_norm, x, w, upstream=tensor(3, 5, 7, seed=5))
    f = hg.function(rms_norm, x, w, backward=hg.derive(trace))
    assert torch.autograd.gradcheck(f.apply, leaves_of((x, w)))


class Stop(Exception):
    pass


def both(x):
    return x, x * 2


def view(x):
    return x.view(-1)


def inplace(x):
    return x.add_(1) * 2


def packed(xs):
    return xs[0] * xs[1]


OUTSIDE = tensor(3, 5)


def outside(x):
    return x * OUTSIDE


@pytest.mark.parametrize(
    ("forward", "args", "words"),
    [
        (both, (tensor(3, 5),), "returns tuple"),
        (view, (tensor(3, 5),), "out is a view of x"),
        (inplace, (tensor(3, 5),), "changes an argument in place"),
        (packed, ([tensor(3), tensor(3)],), "xs holds several tensors"),
        (outside, (tensor(3, 5),), "reads OUTSIDE, which is no argument"),
    ],
)
def test_refused(forward, args, words):
    with pytest.raises(BadInput, match=words):
        hg.function(forward, *args)


def test_strict():
    def forward(x):
        return torch.special.i0(x)

    f = hg.function(forward, tensor(3, 5))
    assert torch.autograd.gradcheck(f.apply, leaves_of((tensor(3, 5),)))
    with pytest.raises(NoRule):
        hg.function(forward, tensor(3, 5), strict=True)


@pytest.mark.slow
def test_the_same_text_on_every_run(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import handgrad as hg\nfrom emit.forwards import ALL\n"
        "for f, a in ALL.values(): sys.stdout.write(hg.function(f, *a).source)\n"
    )
    tests = str(Path(__file__).parents[1])
    texts = {
        subprocess.run(
            [sys.executable, "-c", script, tests],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


@pytest.mark.slow
@pytest.mark.native
@pytest.mark.parametrize("name", ["rms_norm", "layer_norm", "cross_entropy", "swiglu"])
@pytest.mark.filterwarnings("ignore")
def test_torch_compile_without_graph_breaks(name):
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler")
    forward, args = SIX[name]
    f = hg.function(forward, *args)
    mine, theirs = leaves_of(args), leaves_of(args)
    compiled = torch.compile(lambda *given: f.apply(*given) * 2, fullgraph=True)
    (compiled(*mine) ** 2).sum().backward()
    ((forward(*theirs) * 2) ** 2).sum().backward()
    for a, b in zip(mine, theirs, strict=True):
        if a.requires_grad:
            torch.testing.assert_close(a.grad, b.grad)
    assert torch._dynamo.explain(lambda *given: f.apply(*given))(*mine).graph_break_count == 0


@pytest.mark.parametrize("name", ["layer_norm", "swiglu"])
def test_the_emitted_file_is_the_golden_one(name, update_golden):
    text = hg.function(SIX[name][0], *SIX[name][1]).source
    golden = Path(__file__).parents[1] / "golden" / f"function_{name}.py"
    if update_golden:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


class Noisy(nn.Module):
    """Batch norm, dropout and a drawn latent: what changes and what is random."""

    def __init__(self):
        super().__init__()
        self.inner, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.4)

    def forward(self, x):
        mean, spread = self.drop(self.norm(self.inner(x))).chunk(2, dim=1)
        return mean + spread.exp() * torch.randn_like(spread)


def test_a_function_draws_and_changes_buffers_as_its_forward_pass_does():
    net, x = Noisy().double(), tensor(6, 5)
    found = hg.function(net, x)
    states = {n.replace(".", "_"): t for n, t in net.state_dict().items()}
    own = {n: t.detach().clone() for n, t in states.items()}
    given = [x.clone(), *(own[n] for n in list(found.parameters.parameters)[1:])]
    leaves = [t.requires_grad_() for t in given[:5]]
    for seed in range(3):
        torch.manual_seed(seed)
        truth = net(x)
        torch.manual_seed(seed)
        output = found(*given)
        torch.testing.assert_close(output, truth)
        grads = torch.autograd.grad(output.square().sum(), leaves[1:])
        expected = torch.autograd.grad(truth.square().sum(), list(net.parameters()))
        torch.testing.assert_close(grads, expected)
    for name, tensor_now in states.items():
        torch.testing.assert_close(own[name].detach(), tensor_now.detach())
