"""A start from the cache without a trace: its key holds all that the trace could depend on."""

import functools
import random
import textwrap
import types
import warnings

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.errors import BadInput
from handgrad.native import asked, compiled, making, starts
from handgrad.native.build import cache_folder
from handgrad.trace import ways

pytestmark = pytest.mark.native


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def tensors(*shapes, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g) for shape in shapes]


def key(forward, *args, wrt=("w",), options=()):
    return starts.key_of(forward, args or tensors((4, 3), (3, 5)), {}, list(wrt), options)


def made(text, **known):
    """Return the function `forward` of a program."""
    scope = {"torch": torch, "F": F, **known}
    exec(compile(textwrap.dedent(text), "<program>", "exec"), scope)
    return scope["forward"]


@pytest.fixture
def untraced(monkeypatch):
    """Let no forward pass be traced from now on."""

    def no(*_args, **_options):
        raise AssertionError("it was traced")

    def forbid():
        monkeypatch.setattr(ways, "trace_telling", no)
        monkeypatch.setattr(making, "trace", no)

    yield forbid
    monkeypatch.undo()


def seed_model(x, y, w, b):
    h = torch.tanh(x @ w + b)
    loss = F.cross_entropy(h, y)
    return loss


def batch(labels=(0, 4, 2, 1)):
    return [*tensors((4, 3)), torch.tensor(labels)]


def compiled_seed(labels=(0, 4, 2, 1), **options):
    w, b = tensors((3, 5), (5,), seed=1)
    return hg.compile(seed_model, *batch(labels), w, b, wrt=["w", "b"], **options)


def test_a_later_start_does_not_trace_and_does_the_same(untraced):
    one = compiled_seed()
    losses = [float(one.step()) for _ in range(3)]
    untraced()
    two = compiled_seed()
    assert two.backend == "native"
    assert (two.batch_names, two.leaves, two.inputs) == (one.batch_names, one.leaves, one.inputs)
    assert [float(two.step()) for _ in range(3)] == losses
    assert two.source == one.source
    assert two.limits == one.limits
    other = torch.tensor([1, 1, 0, 3])
    assert float(two.step(y=other)) == float(one.step(y=other))
    run = two.run(4, data={"x": batch()[0].repeat(3, 1), "y": batch()[1].repeat(3)})
    assert run.steps == 4


def test_what_an_optimiser_keeps_starts_at_zero_again(untraced):
    options = {"optimizer": hg.nn.Adam(0.01), "clip_norm": 1.0}
    first = compiled_seed(**options)
    losses = [float(first.step()) for _ in range(3)]
    untraced()
    again = compiled_seed(**options)
    assert [float(again.step()) for _ in range(3)] == losses


def test_the_trace_is_made_when_it_is_asked_for():
    one, two = compiled_seed(), compiled_seed()
    assert [line.text for line in two.trace.lines] == [line.text for line in one.trace.lines]
    assert two.backward.source == one.backward.source
    assert two.trace is two.trace


FORWARD = """
    def helper(a):
        return {helper}

    def forward(x, w, k=2.0, *, m=3):
        def inner(a):
            return a * {inner}
        h = helper(x @ w) * K + CONFIG["scale"] + settings.size + LIST[0] * k * m
        loss = (inner(h) {operator} {constant}).mean()
        return loss
    """
PARTS = {"helper": "torch.tanh(a)", "inner": "2", "operator": "+", "constant": "1.0"}
KNOWN = {"K": 2.0, "CONFIG": {"scale": 1.5}, "LIST": [4], "settings": types.SimpleNamespace(size=7)}


@pytest.mark.parametrize(
    ("parts", "known"),
    [
        ({"helper": "torch.sigmoid(a)"}, {}),
        ({"helper": "torch.tanh(a) * 1"}, {}),
        ({"helper": "F.tanh(a)"}, {}),
        ({"inner": "3"}, {}),
        ({"inner": "2.0"}, {}),
        ({"operator": "-"}, {}),
        ({"constant": "1"}, {}),
        ({"constant": "-1.0"}, {}),
        ({"constant": "True"}, {}),
        ({}, {"K": 2}),
        ({}, {"K": 3.0}),
        ({}, {"K": -2.0}),
        ({}, {"CONFIG": {"scale": 1.25}}),
        ({}, {"LIST": [5]}),
        ({}, {"LIST": (4,)}),
        ({}, {"settings": types.SimpleNamespace(size=8)}),
    ],
)
def test_another_function_helper_or_constant_is_another_key(parts, known):
    before = made(FORWARD.format(**PARTS), **KNOWN)
    after = made(FORWARD.format(**PARTS | parts), **KNOWN | known)
    assert key(before) == key(made(FORWARD.format(**PARTS), **KNOWN)) != ""
    assert key(after) not in ("", key(before))


def test_a_changed_global_is_seen_in_one_and_the_same_function():
    forward = made(FORWARD.format(**PARTS), **KNOWN)
    before = key(forward)
    for name, value in (("K", 5.0), ("helper", torch.sigmoid), ("settings", 1)):
        scope = forward.__globals__
        old, scope[name] = scope[name], value
        assert key(forward) != before
        scope[name] = old
        assert key(forward) == before
    forward.__globals__["CONFIG"]["scale"] = 0.5
    assert key(forward) != before


def test_defaults_and_what_a_closure_holds_are_in_the_key():
    def closing(k, deeper):
        def forward(x, w):
            return (lambda: (x @ w * k * deeper(2)).mean())()

        return forward

    keys = {key(closing(k, lambda a: a)) for k in (1, 2, 1.0)}
    keys |= {key(closing(1, lambda a: a + 1)), key(closing(1, len))}
    keys |= {key(made(f"def forward(x, w, k={k}): return (x @ w * k).mean()")) for k in (1, 2)}
    keys |= {key(made(f"def forward(x, w, *, k={k}): return (x @ w * k).mean()")) for k in (1, 2)}
    assert len(keys) == 9
    assert "" not in keys


def test_a_recursive_helper_is_told_once():
    text = """
        def power(a, n):
            return a if n == 1 else a * power(a, n - {step})

        def forward(x, w):
            return power(x @ w, 3).mean()
        """
    one, two = (key(made(text.format(step=step))) for step in (1, 2))
    assert "" not in (one, two)
    assert one != two


def test_a_function_that_was_wrapped_is_told_with_what_wraps_it():
    def plain(x, w):
        return (x @ w).mean()

    def twice(function, factor):
        @functools.wraps(function)
        def wrapped(*args):
            return function(*args) * factor

        return wrapped

    keys = [key(plain), key(twice(plain, 2)), key(twice(plain, 3))]
    assert len({*keys, ""}) == 4


def test_a_replaced_function_of_torch_is_another_key(monkeypatch):
    def forward(x, w):
        return F.gelu(x @ w).relu().mean()

    before = key(forward)
    assert before
    with monkeypatch.context() as patch:
        patch.setattr(F, "gelu", lambda a: a * 2)
        assert key(forward) not in ("", before)
    with monkeypatch.context() as patch:
        patch.setattr(F, "gelu", functools.wraps(F.relu)(lambda a: a * 2))
        assert key(forward) not in ("", before)
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "relu", lambda a: a * 2)
        assert key(forward) == ""
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "relu", torch.Tensor.tanh, raising=False)
        assert key(forward) not in ("", before)
    assert key(forward) == before


def test_arguments_and_options_are_in_the_key():
    def forward(x, w, n=None):
        return (x @ w).mean()

    x, w = tensors((4, 3), (3, 5))
    square = torch.randn(3, 3)
    labels = torch.tensor([1, 0])
    given = [
        (x, w),
        (x, w, 1),
        (x, w, True),
        (x, w, 1.0),
        (x, w, "1"),
        (x, w, (1,)),
        (x, w, [1]),
        (x, w, {"a": 1}),
        (x, w, {"b": 1}),
        (x, w, torch.float32),
        (x, w, len),
        (x, w, x),
        (x, w, w),
        (x, w, labels),
        (x, w, labels - 1),
        (x, w, labels.to(torch.int32)),
        (x.double(), w.double()),
        (x[:2], w),
        (x.mT.contiguous().mT, w),
        (square, square),
        (square, square.clone()),
    ]
    keys = [key(forward, *args) for args in given]
    keys += [key(forward, x, w, wrt=("x", "w")), key(forward, x, w, wrt=("w", "x"))]
    keys += [key(forward, x, w, options=(1,)), key(forward, x, w, options=(True,))]
    assert len({*keys, ""}) == len(keys) + 1
    assert key(forward, x + 1, w - 1) == key(forward, x, w)
    torch.set_default_dtype(torch.float64)
    try:
        assert key(forward, x, w) not in keys
    finally:
        torch.set_default_dtype(torch.float32)


class Scaled(torch.nn.Module):
    def forward(self, x, w):
        return (x @ w).mean()


class Config:
    size = 3

    @property
    def rate(self):
        return random.random()


UNTOLD = {
    "a global tensor": "def forward(x, w): return (x @ w + T).mean()",
    "a tensor of a list": "def forward(x, w): return (x @ w + TS[0]).mean()",
    "a number that is drawn": "def forward(x, w): return (x @ w * random.random()).mean()",
    "a module by itself": "def forward(x, w):\n m = torch\n return m.tanh(x @ w).mean()",
    "an import": "def forward(x, w):\n import math\n return (x @ w * math.pi).mean()",
    "an object": "def forward(x, w): return (x @ w * float(len(str(CONFIG)))).mean()",
    "a property": "def forward(x, w): return (x @ w * CONFIG.rate).mean()",
    "getattr": "def forward(x, w): return (x @ w * getattr(x, 'ndim')).mean()",
    "a file": "def forward(x, w): return (x @ w * len(open('/dev/null').read())).mean()",
    "a name that is missing": "def forward(x, w): return (x @ w * missing).mean()",
    "a global that it writes": "def forward(x, w):\n global K\n K = 2\n return (x @ w * K).mean()",
    "an attribute it writes": "def forward(x, w):\n CONFIG.k = 1\n return (x @ w).mean()",
    "a class": "def forward(x, w):\n class A: k = 2\n return (x @ w * A.k).mean()",
    "a set": "def forward(x, w):\n s = {str(K), 'b'}\n return (x @ w * len(s)).mean()",
    "a function's insides": "def forward(x, w): return (x @ w * len(forward.__globals__)).mean()",
    "a partial function": "def forward(x, w): return PARTIAL(x @ w).mean()",
    "torch's state": "def forward(x, w): return (x @ w * torch.initial_seed()).mean()",
}


@pytest.mark.parametrize("case", UNTOLD)
def test_what_cannot_be_told_exactly_has_no_key(case):
    known = {"T": torch.ones(5), "TS": [torch.ones(5)], "random": random, "CONFIG": Config()}
    partial = functools.partial(torch.sum, dim=0)
    assert key(made(UNTOLD[case], **known, K=1, PARTIAL=partial)) == ""


def test_objects_and_modes_have_no_key():
    def forward(x, w, n=None):
        return (x @ w).mean()

    class Own(torch.Tensor):
        pass

    x, w = tensors((4, 3), (3, 5))
    assert key(Scaled(), x, w) == ""
    assert key(Scaled().forward, x, w) == ""
    assert key(forward, x, w, Config()) == ""
    assert key(forward, x.as_subclass(Own), w) == ""
    assert key(forward, x.to_sparse(), w) == ""
    assert key(forward, x.to("meta"), w) == ""
    assert key(forward, x.to(torch.complex64), w) == ""
    assert key(forward, x, w)
    with torch.device("cpu"):
        assert key(forward, x, w) == ""
    with torch.autocast("cpu"):
        assert key(forward, x, w) == ""


def test_a_constant_of_a_class_or_module_is_told():
    text = "def forward(x, w): return (x @ w * Config.size * math.pi * kept.K).mean()"
    space = types.ModuleType("kept")
    found = []
    for space.K, Config.size in ((1, 3), (2, 3), (1, 4)):
        found.append(key(made(text, Config=Config, math=__import__("math"), kept=space)))
    Config.size = 3
    assert len({*found, ""}) == 4


VALUES = {
    "item": "(x @ w * x.max().item()).mean()",
    "branch": "(x @ w).mean() if x.sum() > 0 else -(x @ w).mean()",
    "float": "(x @ w * float(x[0, 0])).mean()",
    "list": "(x @ w * x.tolist()[0][0]).mean()",
    "array": "(x @ w * float(x.detach().numpy()[0, 0])).mean()",
    "mask": "(x @ w).mean() * x[x > 0].shape[0]",
    "nonzero": "(x @ w).mean() * (x > 0).nonzero().shape[0]",
    "equal": "(x @ w).mean() * (2 if torch.equal(x, x) else 1)",
    "index": "(x @ w)[y[0]].mean()",
    "size": "(x @ w).reshape(4 * int(y[0] >= 0), -1).mean()",
    "ignored": "F.cross_entropy(x @ w, y - 1)",
}


@pytest.mark.parametrize("case", VALUES)
def test_a_run_that_looks_at_values_is_traced_each_time(case):
    forward = made(f"def forward(x, y, w):\n loss = {VALUES[case]}\n return loss")
    x, w = tensors((4, 3), (3, 5))
    y = torch.tensor([1, 3, 2, 1])
    assert key(forward, x, y, w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is frozen
        hg.compile(forward, x, y, w, wrt=["w"], freeze_values=True)
    assert not list(cache_folder().glob("*.start"))


def test_ignored_labels_are_another_start(untraced):
    one = float(compiled_seed((0, 4, -100, 1)).step())
    two = float(compiled_seed((0, 4, 2, 1)).step())
    x, _ = batch()
    w, b = tensors((3, 5), (5,), seed=1)
    for labels, loss in (((0, 4, -100, 1), one), ((0, 4, 2, 1), two)):
        assert abs(float(seed_model(x, torch.tensor(labels), w, b)) - loss) < 1e-6
    untraced()
    assert float(compiled_seed((0, 4, 2, 1)).step()) == two


def test_a_changed_constant_changes_the_loss_of_the_next_start():
    forward = made("def forward(x, w):\n loss = (x @ w * K).mean()\n return loss", K=2.0)
    x, w = tensors((4, 3), (3, 5))
    one = hg.compile(forward, x, w.clone(), wrt=["w"])
    assert len(list(cache_folder().glob("*.start"))) == 1
    late = hg.compile(forward, x, w.clone(), wrt=["w"])
    forward.__globals__["K"] = 3.0
    two = hg.compile(forward, x, w.clone(), wrt=["w"])
    assert abs(float(two.step()) / float(one.step()) - 1.5) < 1e-5
    with pytest.raises(BadInput, match="no longer what was compiled"):
        _ = late.trace


@pytest.mark.parametrize("labels", [(0, 5, 2, 1), (0, 4, 77, 1)])
def test_a_label_out_of_range_is_refused_as_without_the_cache(labels):
    def said():
        with pytest.raises((BadInput, IndexError, RuntimeError)) as caught:
            compiled_seed(labels)
        return type(caught.value), str(caught.value)

    fresh = said()
    compiled_seed()
    assert said() == fresh
    m = compiled_seed()
    with pytest.raises(BadInput, match=r"y\[1\] is 9") as caught:
        m.step(y=torch.tensor([0, 9, 2, 1]))
    assert caught.value.where == "sample 1"


@pytest.mark.parametrize("kind", ["start", "json"])
@pytest.mark.parametrize("damage", ["", "{", "0\n{}", None])
def test_what_is_damaged_or_gone_is_made_again(kind, damage):
    loss = float(compiled_seed().step())
    (path,) = cache_folder().glob(f"*.{kind}")
    whole = path.read_bytes()
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage, encoding="utf-8")
    assert float(compiled_seed().step()) == loss
    assert path.read_bytes() == whole


def test_an_optimiser_of_the_users_own_is_not_kept():
    class Own(hg.nn.SGD):
        def update(self, p, g, kept, now):
            return p - 2 * now["lr"] * g, {}

    compiled_seed(optimizer=Own(0.1))
    assert not list(cache_folder().glob("*.start"))
    assert not list(cache_folder().glob("*.json"))


def test_a_new_version_of_handgrad_is_another_key(monkeypatch):
    def forward(x, w):
        return (x @ w).mean()

    before = key(forward)
    monkeypatch.setattr(starts.kept, "version", lambda: "another")
    assert key(forward) != before
    assert asked.Asked is compiled.Asked


def test_tensors_under_another_name_inside_are_the_callers_own():
    def swapped(w1, w2):
        w1, w2 = w2, w1
        loss = (w1 * 2 + w2).sum()
        return loss

    def unpacked(parts, x):
        w = parts["W"]
        loss = (x * w).sum()
        return loss

    for _ in range(2):  # traced, then from the cache
        a, b = torch.ones(3), torch.ones(3) * 5
        assert float(hg.compile(swapped, a, b).step()) == 33
        assert torch.allclose(a, torch.full((3,), 0.9))
        W = torch.ones(3)
        m = hg.compile(unpacked, {"W": W}, torch.ones(3), wrt=["W"])
        m.step()
        assert torch.allclose(W, torch.full((3,), 0.9))
    assert len(list(cache_folder().glob("*.start"))) == 2
