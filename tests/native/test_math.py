"""The functions that native code has of its own: within 4 units in the last place, anywhere."""

import ctypes
from importlib.resources import files

import pytest
import torch

from handgrad.native.build import build

pytestmark = pytest.mark.native
ULPS = 4
FUNCTIONS = {
    "exp": torch.exp,
    "log": torch.log,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "expm1": torch.expm1,
    "log1p": torch.log1p,
}
STRIDE = 1009  # of the bit patterns of all floats


def library():
    text = files("handgrad.native.kernels").joinpath("runtime.h").read_text(encoding="utf-8")
    for name in FUNCTIONS:
        for t, suffix in (("float", "f"), ("double", "")):
            text += (
                f"\nvoid run_{name}_{t}(const {t} *restrict x, {t} *restrict y, int n) {{\n"
                f"#pragma omp simd\nfor (int i = 0; i < n; i++) y[i] = hg_{name}{suffix}(x[i]);\n}}\n"
            )
    return build(text).handle


def run(name, x):
    y = torch.empty_like(x)
    ctype = "float" if x.dtype == torch.float32 else "double"
    call = getattr(library(), f"run_{name}_{ctype}")
    call(ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(y.data_ptr()), x.numel())
    return y


def units(got, truth):
    """Return how many units in the last place numbers are from the truth in double precision."""
    near = truth.to(got.dtype)
    size = torch.nextafter(near.abs(), torch.tensor(torch.inf, dtype=got.dtype)) - near.abs()
    return (got.double() - truth).abs() / size.double()


def everything():
    """Return numbers from all over: both signs, denormal to greatest, infinity and NaN."""
    bits = torch.arange(-(2**31), 2**31, STRIDE, dtype=torch.int64).to(torch.int32)
    edges = [0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 1e-45, -1e-45, 1.17549435e-38]
    edges += [3.4028235e38, -3.4028235e38, 88.72283, 88.72284, -87.3, -103.9, -104.1, 0.625, 9.01]
    usual = torch.linspace(-20, 20, 1_000_001)
    return torch.cat([bits.view(torch.float32), usual, torch.tensor(edges)])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_is_within_four_units(name):
    x = everything()
    got, truth = run(name, x), FUNCTIONS[name](x.double())
    assert torch.equal(got.isnan(), truth.isnan())
    single = truth.float()
    assert torch.equal(got[single.isinf()], single[single.isinf()])
    finite = single.isfinite()
    off = units(got[finite], truth[finite])
    worst = int(off.argmax())
    assert float(off.max()) <= ULPS, (x[finite][worst], got[finite][worst], truth[finite][worst])


def test_tanh_is_odd_and_at_most_one():
    x = everything()
    y = run("tanh", x)[~x.isnan()]
    assert float(y.abs().max()) == 1
    assert torch.equal(run("tanh", -x)[~x.isnan()], -y)


def test_exp_ends_at_zero_and_at_infinity():
    x = torch.tensor([-3.4e38, -1e10, -104.01, 88.73, 1e10, 3.4e38])
    assert run("exp", x).tolist() == [0, 0, 0, torch.inf, torch.inf, torch.inf]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_double_precision_is_torchs_within_four_units(name):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(20000, generator=g, dtype=torch.float64) * 10
    x = torch.cat([x, x * 1e-6, torch.tensor([0.0, torch.inf, -torch.inf, torch.nan])])
    got, truth = run(name, x), FUNCTIONS[name](x)
    assert torch.equal(got.isnan(), truth.isnan())
    finite = truth.isfinite()
    assert torch.equal(got[truth.isinf()], truth[truth.isinf()])
    assert float(units(got[finite], truth[finite]).max()) <= ULPS
