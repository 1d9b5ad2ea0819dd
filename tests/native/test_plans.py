"""Plans kept beside the libraries, the default backward pass, and transposed products."""

import json

import pytest
import torch

import handgrad as hg
from handgrad.native import making
from handgrad.native.build import cache_folder
from native.against import distance, native_gradients

pytestmark = pytest.mark.native


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def forward(x, w, k):
    h = torch.tanh(x @ w)
    loss = (h * k).mean()
    return loss


def step(rows=4, k=2.0, optimizer=None, **options):
    g = torch.Generator().manual_seed(0)
    x, w = (torch.randn(s, generator=g) for s in ((rows, 3), (3, 5)))
    m = hg.compile(forward, x, w, k, wrt=["w"], optimizer=optimizer, **options)
    assert m.backend == "native"
    return float(m.step()), w


def kept():
    return sorted(cache_folder().glob("*.json"))


def test_a_later_start_neither_derives_nor_lowers(monkeypatch):
    first = step()

    def no(*_args, **_options):
        raise AssertionError("it was made again")

    monkeypatch.setattr(making, "derive", no)
    monkeypatch.setattr(making, "planned", no)
    again = step()
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])


def test_another_program_has_another_plan():
    step()
    for options in (
        {"rows": 5},
        {"k": 3.0},
        {"optimizer": hg.nn.SGD(0.2, weight_decay=0.1)},
        {"clip_norm": 0.5},
        {"simplified": False},
    ):
        before = len(kept())
        step(**options)
        assert len(kept()) == before + 1, options


@pytest.mark.parametrize("damage", ["", "{", "0\n{}"])
def test_a_damaged_plan_is_made_again(damage):
    first = step()
    path = kept()[0]
    whole = path.read_text(encoding="utf-8")
    path.write_text(damage or whole.replace("5", "6", 1), encoding="utf-8")
    assert step()[0] == first[0]
    assert json.loads(path.read_text(encoding="utf-8").partition("\n")[2])["limits"] == {}


def test_the_backward_pass_is_simplified_unless_it_is_long(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x, w = (torch.randn(s, generator=g) for s in ((4, 3), (3, 5)))
    assert isinstance(hg.compile(forward, x, w, 2.0).backward, hg.Simplified)
    monkeypatch.setattr(making, "SHORT", 0)
    plain = hg.compile(forward, x.clone(), w.clone(), 2.0, optimizer=hg.nn.SGD(0.2))
    assert not isinstance(plain.backward, hg.Simplified)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "depth"), [(3, 8), (8, 9), (17, 30), (30, 17), (33, 16), (5, 7)])
def test_products_with_a_transposed_operand_of_any_size(n, depth, dtype):
    g = torch.Generator().manual_seed(n)
    a, b = (torch.randn(s, generator=g).to(dtype) for s in ((6, depth), (n, depth)))
    traced = hg.trace(lambda a, b: ((a @ b.T) ** 2).sum(), a, b)
    loss, grads = native_gradients(traced)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-5
    assert distance(loss, traced.values[traced.output], float(loss)) < tolerance
    for name, grad in grads.items():
        assert distance(grad, traced.grads[name], float(grad.abs().max())) < tolerance
