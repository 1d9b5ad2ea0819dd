"""Products of matrices in native code: every way they are blocked, copied and held."""

import pytest
import torch
import torch.nn.functional as F

import handgrad as hg
from handgrad.bench.models import MODELS, case
from handgrad.native.bind import Bound
from handgrad.native.build import build
from handgrad.native.cpu import vectors
from handgrad.native.forms import Form
from handgrad.native.kernels.dots import dot_tiles, halves
from handgrad.native.lower.array import Graph
from handgrad.native.lower.expr import apply, axes_of, var
from handgrad.native.lower.step import Step
from handgrad.native.write.apart import Apart, alike
from handgrad.native.write.unit import write_unit
from native.widths import KINDS, compile_only, use

pytestmark = pytest.mark.native
SIZES = [(33, 17, 5), (7, 200, 31), (37, 53, 129), (101, 67, 401), (500, 41, 200), (523, 83, 397)]
LOOPED = [(5, 8, 4), (33, 17, 129), (101, 67, 131)]


def product(m, n, k, flipped, ctype, rows=0):
    """Return what makes C[m, n] = A @ B, for each of some rows where there are any."""
    graph, more = Graph(), (rows,) if rows else ()

    def operand(name, *shape):
        return graph.input(name, shape[::-1] if name in flipped else shape, ctype)

    a = graph.input("A", (*more, *((k, m) if "A" in flipped else (m, k))), ctype)
    b = operand("B", k, n)
    *outer, i, j = axes_of((*more, m, n))
    q = var("q0", k)
    left = a.at((*outer, *((q, i) if "A" in flipped else (i, q))))
    right = b.at((j, q) if "B" in flipped else (q, j))
    entry = graph.reduce("sum", apply("mul", left, right), [*outer, i, j], [q])
    return Step(graph, {"A": a, "B": b}, {}, entry.args[0], {}, {})


def written(m, n, k, flipped, dtype, rows=0):
    step = product(m, n, k, flipped, {torch.float32: "float", torch.float64: "double"}[dtype], rows)
    return step, write_unit(step, {"C": step.output})


def agrees(m, n, k, flipped, dtype, rows=0):
    step, unit = written(m, n, k, flipped, dtype, rows)
    bound = Bound(
        unit, build(unit.source), {x: Form(a.shape, a.ctype) for x, a in step.inputs.items()}
    )
    g = torch.Generator().manual_seed(m)
    given = {x: torch.randn(a.shape, generator=g, dtype=dtype) for x, a in step.inputs.items()}
    for name, tensor in given.items():
        bound.bind(name, tensor)
    bound.run()
    a, b = (given[x].mT if x in flipped else given[x] for x in "AB")
    tight = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
    torch.testing.assert_close(bound.output("C"), a @ b, rtol=tight, atol=tight * k)
    return unit.source


@pytest.mark.parametrize("flipped", ["", "A", "B", "AB"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_equals_torch(size, flipped, dtype):
    agrees(*size, flipped, dtype)


@pytest.mark.parametrize("flipped", ["", "A", "B"])
@pytest.mark.parametrize("size", LOOPED)
def test_a_product_for_every_row_equals_torch(size, flipped):
    agrees(*size, flipped, torch.float64, rows=3)


@pytest.mark.parametrize("flipped", ["", "A", "B"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_for_every_kind_of_vectors(kind, flipped, monkeypatch, tmp_path):
    sizes = [(33, 29, 48), (5, 3, 17)]
    runs = use(kind, monkeypatch)
    for size in sizes:
        for dtype in (torch.float32, torch.float64):
            source = written(*size, flipped, dtype)[1].source
            assert f"vector_size({vectors().bytes})" in source
            if runs:
                agrees(*size, flipped, dtype)
            else:
                compile_only(source, tmp_path)


def test_large_products_are_summed_in_parts_from_copies():
    agrees(1501, 41, 397, "A", torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_large_products_have_loops_of_parts(kind, monkeypatch):
    use(kind, monkeypatch)
    source = written(1501, 41, 397, "A", torch.float64)[1].source
    assert "k0_" in source
    assert "m0_" in source
    assert "tall_" in source


def chain(X, W1, W2, y):
    h = torch.tanh(X @ W1)
    z = torch.tanh(h @ W2)
    loss = ((z @ W1.mT - y) ** 2).mean()
    return loss


def trained(forward, given, leaves, lr=0.1):
    """Return the parameters after a native step, and after one of autograd's."""
    theirs = {n: t.clone().requires_grad_(n in leaves) for n, t in given.items()}
    forward(**theirs).backward()
    m = hg.compile(forward, **given, wrt=leaves, optimizer=hg.nn.SGD(lr))
    assert m.backend == "native", m.note
    m.step()
    want = {n: (theirs[n] - lr * theirs[n].grad).detach() for n in leaves}
    return {n: given[n] for n in leaves}, want, m.source


def test_copies_of_operands_are_made_once_before_the_loop():
    g = torch.Generator().manual_seed(0)
    sizes = {"X": (40, 3, 71), "W1": (71, 67), "W2": (67, 67), "y": (40, 3, 71)}
    given = {n: torch.randn(s, generator=g, dtype=torch.float64) / 8 for n, s in sizes.items()}
    got, want, source = trained(chain, given, ["W1", "W2"])
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    begins = source.index("for (int b0")
    assert "held0_ = (void *)" in source
    assert source.index("held0_ = (void *)") < source.index("for (int b0", begins)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(32, 30, 200), (33, 29, 184), (5, 7, 160)])
def test_operands_that_both_run_along_the_sums_are_not_copied(size, dtype):
    m, n, depth = size
    agrees(m, n, depth * 4 // dtype.itemsize, "B", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "n", "depth"), [(8, 8, 256), (5, 7, 160), (16, 6, 320)])
def test_vectors_run_along_the_sums_where_both_operands_do(m, n, depth, kind, dtype, monkeypatch):
    use(kind, monkeypatch)
    source = written(m, n, depth * 4 // dtype.itemsize, "B", dtype)[1].source
    assert "dot_" in source
    assert "flip_" not in source


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(32, 33, 200), (37, 17, 184), (61, 81, 96)])
def test_last_columns_are_summed_along_the_rows_of_the_left_operand(size, dtype):
    agrees(*size, "", dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [17, 33, 81])
def test_last_columns_have_tiles_of_their_own(kind, columns, dtype, monkeypatch):
    use(kind, monkeypatch)
    source = written(61, columns, 192, "", dtype)[1].source
    assert "dot_" in source
    assert "tile_" in source


@pytest.mark.parametrize(("unit", "lane"), [(2, 2), (4, 2), (4, 4), (8, 2), (8, 4), (16, 4)])
@pytest.mark.parametrize("many", [1, 2, 3, 4, 5, 7])
def test_partial_sums_are_joined_in_order(unit, lane, many):
    count = min(many, unit)
    found = [[100 * k + j for j in range(unit)] for k in range(count)]
    truth = [sum(each) for each in found]
    span = 1
    while span < unit:
        orders = [[int(j) for j in text.split(", ")] for text in halves(span, unit, lane)]
        last = len(found) - 1
        pairs = [found[k] + found[min(k + 1, last)] for k in range(0, last + 1, 2)]
        found = [[p[i] + p[j] for i, j in zip(*orders, strict=True)] for p in pairs]
        span *= 2
    assert found[0][:count] == truth


def test_no_cut_needs_more_registers_than_there_are():
    for m, n in [(32, 30), (3, 200), (1, 1), (64, 7)]:
        made = set()
        for tile, rows, columns in dot_tiles("float", m, n, 64):
            assert tile.rows * tile.wide + min(tile.rows, tile.wide) < vectors().count
            places = {
                (i, j)
                for row in rows
                for column in columns
                for i in range(row, row + tile.rows)
                for j in range(column, column + tile.wide)
            }
            assert not made & places
            made |= places
        assert len(made) == m * n


def windows(x, K1, K2, K3, y):
    a = torch.tanh(F.conv2d(x, K1, stride=2, padding=1))
    b = F.conv2d(a, K2, padding=(2, 0), dilation=2)
    c = F.conv_transpose2d(b, K3, stride=3, padding=1, output_padding=1)
    loss = (c * y).sum()
    return loss


def test_convolutions_with_strides_padding_and_dilation():
    g = torch.Generator().manual_seed(0)
    sizes = {"x": (5, 3, 13, 17), "K1": (4, 3, 3, 3), "K2": (7, 4, 2, 3), "K3": (7, 2, 3, 2)}
    given = {n: torch.randn(s, generator=g, dtype=torch.float64) / 4 for n, s in sizes.items()}
    given["y"] = torch.randn((), generator=g, dtype=torch.float64)
    got, want, _ = trained(windows, given, ["K1", "K2", "K3"])
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def in_float64(given):
    return {n: t.double() if t.is_floating_point() else t for n, t in given.items()}


@pytest.mark.parametrize("name", ["gru", "gpt", "conv"])
def test_a_model_of_the_benchmark_equals_autograd(name):
    given = case(MODELS[name], 3)
    leaves = list(given.parameters)
    got, want, source = trained(given.model.forward, in_float64(given.first), leaves)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    calls = [line.strip() for line in source.splitlines() if line.strip().startswith("hg_loops")]
    if name != "conv":  # steps and blocks that are alike share their loops
        assert len({call.partition("(")[0] for call in calls}) < len(calls)


def test_loops_that_differ_in_names_alone_are_one_function():
    made, kinds = Apart(), dict.fromkeys("abcd", "float")
    lines = "for (int i0 = 0; i0 < 8; i0++) {{", "    {}[i0] = {}[b0 + i0];", "}}"
    calls = [
        made.call([line.format(*names) for line in lines], kinds, names[0])
        for names in ("ab", "cd")
    ]
    assert calls == ["hg_loops0(a, b, b0);", "hg_loops0(c, d, b0);"]
    assert made.text().count("float *restrict a, const float *restrict b, int b0)") == 1
    assert alike("a + b", ["a", "b"]) != alike("b + a", ["a", "b"])
