"""Forward passes made to mislead a simplifier: signs, zeros, sizes that coincide, names, overflow."""

import itertools

import pytest
import torch

from simplify.adversary import holds, tensor
from simplify.cases import PAIRS
from simplify.running import has_simplify

pytestmark = pytest.mark.skipif(not has_simplify(), reason="this build has no simplifier")
SIGNS = [
    "y = (x**2) ** 0.5",
    "y = (x**2).sqrt()",
    "y = (x**2) ** 0.5 / x",
    "y = (x * w) ** 2 / (x**2) ** 0.5",
    "y = (x**2) ** 1.5",
    "y = ((x * w) ** 2) ** 0.5",
    "y = (x**4) ** 0.25",
    "y = (x**2) ** -0.5 * x",
    "s = x**2\nr = s**0.5\ny = r * x / s",
    "y = (x**2).log()",
    "y = (x * w).abs() * (x**2) ** 0.5",
    "y = ((x - w) ** 2) ** 0.5 * (w - x)",
    "s = (x * x).sum(1, keepdim=True)\ny = x * (s**2) ** 0.5",
    "s = x.sum(1, keepdim=True)\ny = w * (s**2) ** 0.5 / s",
    "z = x / w\ny = (z**2) ** 0.5 * w**2",
]


@pytest.mark.parametrize("lines", SIGNS)
def test_a_root_of_a_square_is_the_magnitude(lines):
    x, w = tensor(3, 5), tensor(3, 5, seed=1)
    holds(lines, {"x": x, "w": w}, {"x": -x, "w": w}, {"x": x.abs(), "w": -w.abs()})


@pytest.mark.parametrize("lines", SIGNS)
def test_positive_values_prove_no_sign(lines):
    x, w = tensor(3, 5).abs() + 0.1, tensor(3, 5, seed=1).abs() + 0.1
    holds(lines, {"x": x, "w": w}, {"x": -x, "w": w}, {"x": tensor(3, 5, seed=2), "w": -w})


ZEROS = [
    "y = x**3",
    "y = x**4 * w",
    "z = x * w\ny = z * x",
    "z = x * w\nv = z * w\ny = v * v",
    "s = torch.sigmoid(x)\ny = x * s",
    "e = x.exp()\ny = x * e",
    "z = x * w\ny = z.sum(1, keepdim=True) * z",
    "y = x * w.prod()",
    "y = x.norm(dim=1, keepdim=True) * w",
    "norm = x.norm(dim=1, keepdim=True)\ny = norm**2 + norm",
    "std = x.std(1, keepdim=True)\ny = std * w",
    "std = x.std(1, keepdim=True)\ny = w / (std + 1e-3)",
    "norm = x.norm(dim=1, keepdim=True)\ny = x / (norm + 1e-3)",
    "y = F.normalize(x, dim=1)",
    "y = x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)",
    "y = F.cosine_similarity(x, w, dim=1)",
    "y = x * w / w",
    "y = x * (w / (x**2 + w**2))",
    "h = F.relu(x)\ny = h * h",
    "h = F.relu(x)\ny = h / (h + 1)",
    "h = torch.where(x > 0, x, 0)\ny = h * w",
    "m = (x > 0) * w\ny = m * x",
    "y = x.abs() * w",
    "a = x.masked_fill(x < 0, 0)\ny = a**2 * w",
]


@pytest.mark.parametrize("lines", ZEROS)
def test_zeros(lines):
    x, w = tensor(4, 5), tensor(4, 5, seed=1)
    row = torch.tensor([0, 1, 1, 1])[:, None]
    some = torch.tensor([0.0, 1, 0, 1, 1])
    nowhere = torch.zeros(4, 5, dtype=torch.float64)
    same = tensor(4, 1).expand(4, 5).contiguous()
    zeros = [{"x": x * row, "w": w}, {"x": x * some, "w": w}, {"x": x, "w": w * some}]
    zeros += [{"x": nowhere, "w": w}, {"x": same, "w": w}, {"x": x * row, "w": w * some}]
    holds(lines, {"x": x, "w": w}, *zeros)


def resized(case, **sizes):
    """Return a case's arguments at other sizes."""
    whole = {**case.sizes[0], **sizes}
    generator = torch.Generator().manual_seed(7)
    return {
        name: whole[how] if isinstance(how, str) else how.tensor(whole, generator)
        for name, how in case.arguments.items()
    }


ALL = [
    pytest.param(
        case,
        spelling,
        id=f"{case.name}: {spelling.name}",
        marks=() if spelling is case.spellings[0] else pytest.mark.slow,
    )
    for case, spelling in PAIRS
]


@pytest.mark.parametrize(("case", "spelling"), ALL)
def test_sizes_that_coincide(case, spelling):
    square = dict.fromkeys(case.sizes[0], 4) | ({"G": 2} if "G" in case.sizes[0] else {})
    holds(
        spelling.forward,
        resized(case, **square),
        case.draw(0),
        case.draw(1),
        leaves=case.leaves,
    )


@pytest.mark.parametrize(("case", "spelling"), ALL)
def test_one_row(case, spelling):
    if "n" not in case.sizes[0] or "(n - 1)" in spelling.forward or ".var(0" in spelling.forward:
        pytest.skip("no rows, or the variance of one")
    if "x.std(0" in spelling.forward or ".var(dim=0" in spelling.forward:
        pytest.skip("the variance of one row")
    if case.name in ("standardise", "cross-entropy, label smoothing", "batch norm, biased"):
        pytest.skip("refused by torch at one row, or only derived at one size")
    one = resized(case, n=1)
    holds(spelling.forward, one, leaves=case.leaves)
    holds(spelling.forward, case.draw(), one, leaves=case.leaves)


def table(n, rows, columns):
    """Return a table, labels of its rows, and a number."""
    label = torch.arange(rows) % columns
    return {"x": tensor(rows, columns, seed=rows + columns), "label": label, "n": n}


MEANS = {
    "mean": "mu = x.sum({a}, keepdim=True) / n\nd = x - mu\ny = d * d",
    "variance": """
        mu = x.sum({a}, keepdim=True) / n
        d = x - mu
        var = (d**2).sum({a}, keepdim=True) / (n - 1)
        y = d * (var + 0.1) ** -0.5
        """,
    "mean, then n": """
        mu = x.mean({a}, keepdim=True)
        d = x - mu
        var = 1 / n * (d * d).sum({a}, keepdim=True)
        y = d / (var + 0.1).sqrt()
        """,
    "mean square": "s = (x * x).sum({a}, keepdim=True) / n\ny = x * s**-0.5",
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("lines", MEANS.values(), ids=list(MEANS))
def test_a_number_that_is_the_size_summed_over(lines, axis):
    sizes = [(5, 7), (5, 5), (3, 7), (4, 2)]
    given = [table(pair[axis], *pair) for pair in sizes]
    holds(lines.format(a=axis), *given)
    holds(lines.format(a=axis), given[1], *given)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("lines", MEANS.values(), ids=list(MEANS))
def test_a_number_that_is_the_other_size(lines, axis):
    given = [table(pair[1 - axis], *pair) for pair in [(5, 7), (3, 7), (4, 2), (5, 5)]]
    holds(lines.format(a=axis), *given)


@pytest.mark.parametrize(
    "lines",
    [
        "a = x - x.sum(0, keepdim=True) / n\nb = x - x.sum(1, keepdim=True) / n\ny = a * a + b * b",
        "a = x - x.sum(0, keepdim=True) / n\nb = a - a.sum(1, keepdim=True) / n\ny = b**2",
        "s = x.sum(0, keepdim=True) / n\nt = x.sum(1, keepdim=True) / n\ny = (x - s) * (x - t)",
    ],
)
def test_a_number_that_may_be_either_size(lines):
    holds(lines, table(5, 5, 5), table(3, 3, 7), table(7, 3, 7), table(2, 2, 2))


@pytest.mark.parametrize(
    "lines",
    [
        """
        mu = x.sum(0, keepdim=True) / 5
        d = x - mu
        y = d * ((d**2).sum(0, keepdim=True) / 5 + 0.1) ** -0.5
        """,
        "mu = 0.2 * x.sum(0, keepdim=True)\ny = (x - mu) ** 2",
        "d = x - x.mean(0, keepdim=True)\ny = d * (d**2).sum(0, keepdim=True) / 4",
        "mu = x.mean(0, keepdim=True)\nd = x - mu\ny = d * d.sum(0) / 5 + d * 5 / n",
        "loss = -x.log_softmax(1)[range(n), label].sum() / 5",
    ],
)
def test_a_literal_that_equals_a_size(lines):
    holds(
        lines, *(table(rows, rows, columns) for rows, columns in [(5, 7), (5, 5), (3, 5), (6, 2)])
    )


def test_a_literal_of_32_is_no_size():
    lines = """
        mu = x.sum(0, keepdim=True) / 32
        d = x - mu
        var = (d**2).sum(0, keepdim=True) / 32
        y = d * (var + 1e-5) ** -0.5
        """
    holds(lines, *({"x": tensor(rows, 3)} for rows in (32, 5, 33)))


NAMES = (
    "sum mean exp e d dx dlogits onehot one_hot F_ torch_ range_ len T i n_ _ _a0 y_1 x_1 dx_1 a__b "
    "probs_ lam pow max_ keepdim dim values indices shape scope self None_ match case type_"
).split()
STEPS = [
    "{0} = x - x.max(1, keepdim=True).values\n{1} = {0}.exp()\n{2} = {1}.sum(1, keepdim=True)\n"
    "{3} = {1} / {2}\n{4} = {3}.log()\nloss = -{4}[range(n), label].mean()",
    "{0} = x.mean(0, keepdim=True)\n{1} = x - {0}\n{2} = ({1}**2).mean(0, keepdim=True)\n"
    "{3} = ({2} + 1e-5) ** -0.5\n{4} = {1} * {3}\ny = {4} * 2",
    "{0} = x.exp()\n{1} = {0} - 1\n{2} = {0} + 1\n{3} = {1} / {2}\n{4} = {3} * x\ny = {4} + 1",
]


@pytest.mark.parametrize("first", range(0, len(NAMES), 5))
@pytest.mark.parametrize("steps", STEPS, ids=["cross-entropy", "batch norm", "tanh"])
def test_names(steps, first):
    names = [NAMES[(first + k) % len(NAMES)] for k in range(5)]
    given = [{"x": tensor(n, v), "label": torch.arange(n) % v, "n": n} for n, v in [(4, 7), (3, 2)]]
    holds(steps.format(*names), *given)


@pytest.mark.parametrize("names", list(itertools.permutations(["sum", "dx", "d"])))
def test_arguments_of_such_names(names):
    a, b, c = names
    lines = f"e = {a}.exp()\np = e / e.sum(1, keepdim=True)\ny = p * {b} + {c}"
    holds(lines, {a: tensor(3, 4), b: tensor(3, 1), c: tensor(4)})


@pytest.mark.parametrize(
    "lines",
    [
        "y = x.max(1).values",
        "y = x.amax(1, keepdim=True) * x",
        "z = x - x.max(1, keepdim=True).values\ny = z**2",
        "z = x - x.amax(1, keepdim=True)\ny = z**2",
        "z = x - x.amax(1, keepdim=True)\ne = z.exp()\ny = e / e.sum(1, keepdim=True)",
        "m = x.max(1, keepdim=True).values\ne = (x - m).exp()\ny = e.sum(1, keepdim=True).log() + 2 * m",
        "m = x.max()\ny = x / m",
        "y = torch.maximum(x, w) * x",
        "y = x.clamp(min=0.0, max=1.0) * w",
        "y = torch.minimum(x, w) ** 2",
    ],
)
def test_ties(lines):
    x, w = tensor(4, 5), tensor(4, 5, seed=1)
    tied = torch.tensor([[1.0, 3, 3, 0, 3], [0, 0, 0, 0, 0], [2, 1, 2, 2, 1], [1, 1, 1, 1, 2]])
    tied = tied.double()
    holds(lines, {"x": x, "w": w}, {"x": tied, "w": w}, {"x": tied, "w": tied.clone()})


@pytest.mark.parametrize(
    "lines",
    [
        "p = x.softmax(1)\nloss = -p.log()[range(n), label].mean()",
        "loss = -x[range(n), label].sum()",
        "picked = x[:, label]\ny = picked * picked",
        "picked = x[label]\ny = picked * picked",
        "rows = x[label]\ne = rows.exp()\ny = e / e.sum(1, keepdim=True)",
        "onehot = F.one_hot(label, 7).to(x.dtype)\ny = onehot.T @ x",
        "onehot = F.one_hot(label, 7).to(x.dtype)\ny = (onehot * x).sum(0) * onehot.sum(0)",
        "y = x.index_select(0, label) ** 2",
    ],
)
def test_repeated_labels(lines):
    labels = [torch.tensor([2, 0, 2, 2]), torch.tensor([1, 1, 1, 1]), torch.tensor([3, 2, 1, 0])]
    holds(lines, *({"x": tensor(4, 7), "label": label, "n": 4} for label in labels))
