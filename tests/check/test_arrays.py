"""NumPy files are recorded as NumPy runs them: what its arrays do, ours do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handgrad.check.judging import result
from handgrad.check.recorded.arrays import stand_in
from handgrad.check.recorded.built_in import built_in
from handgrad.check.recorded.files import FileRun
from handgrad.check.recorded.handing import recording_data, recording_of
from handgrad.check.recorded.layer import held
from handgrad.check.worker import bring_fonts

HEAD = """\
import numpy as np
rng = np.random.default_rng(0)
X, y, W = rng.random((4, 3)), rng.random((4, 2)), rng.random((3, 2))
"""
ROUND = """\
p = X @ W
loss = np.sum((p - y) ** 2)
dp = 2 * (p - y)
dW = X.T @ dp
"""


def verdicts(text: str, folder: Path) -> dict[str, str]:
    """Check a file and return the verdict on each gradient."""
    path = folder / "net.py"
    path.write_text(text)
    return {row["name"]: row["verdict"] for row in result(str(path), None)["report"]["rows"]}


def right(text: str, folder: Path, names: set[str] | None = None) -> bool:
    """Tell whether the gradients of a file are all found right."""
    found = verdicts(text, folder)
    return {*found} == (names or {"dp", "dW"}) and all(v[:7] == "correct" for v in found.values())


NUMBERS = {
    "a list": ("X = np.array([[1.0, 2.3], [3.0, 4.1]])", "3 * X"),
    "a logarithm": ("c = -np.log(1.0 / 27)", "c * X"),
    "a limit": ("", "np.clip(X, 0.1, 0.7)"),
    "full": ("c = np.full((4, 2), 0.1)", "c * X"),
    "linspace": ("c = np.linspace(0.1, 1, 2)", "c * X"),
    "zeros, ones": ("c = np.zeros(2) + 0.3 * np.ones(2) + np.eye(2)[0]", "c * X"),
}


@pytest.mark.parametrize("way", NUMBERS)
def test_what_is_made_of_numbers_is_the_same_when_it_runs_again(way: str, tmp_path: Path):
    made, read = NUMBERS[way]
    path, start = tmp_path / "net.py", "import numpy as np\nX = np.random.rand(4, 2)\n"
    path.write_text(f"{start}{made}\np = {read}\nloss = np.sum(p**2)\ndp = 2 * p\n")
    found = FileRun(path, path.read_text()).whole()
    again = recording_of(recording_data(found))
    assert again.values["p"].dtype is torch.float64
    assert right(path.read_text(), tmp_path, {"dp"})


def test_torch_of_another_default_dtype_runs_again(tmp_path: Path):
    text = "import torch\ntorch.set_default_dtype(torch.float64)\nW = torch.rand(3, 2)\n"
    text += "for _ in range(1):\n    p = W * torch.tensor([0.1, 0.7])\n    loss = (p**2).sum()\n"
    path = tmp_path / "net.py"
    path.write_text(text + "    dp = 2 * p\n")
    try:
        found = FileRun(path, path.read_text()).whole()
    finally:
        torch.set_default_dtype(torch.float32)
    assert recording_of(recording_data(found)).values["p"].dtype is torch.float64


WAYS = {
    "formats": ROUND + 'print(f"{loss:.6f}", "{:.4f}".format(loss), "%.3f" % loss, p)\n',
    "a number is a float": ROUND + "assert isinstance(np.squeeze(loss), float)\n"
    "assert isinstance(loss, (np.floating, int)) and isinstance(loss, np.float64)\n"
    "assert isinstance(p, np.ndarray) and not isinstance(p, float)\n"
    "assert not isinstance(loss, int) and isinstance(rng, np.random.Generator)\n",
    "draws of a dtype": "X = rng.standard_normal((4, 3), dtype=np.float32)\n" + ROUND,
    "mixed dtypes": "W = rng.standard_normal((3, 2), dtype=np.float32)\n" + ROUND,
    "objects": "odd = np.array([[[1, 0], [[0, 1]]], [[0, 1], [1]]], dtype=object)\n" + ROUND,
    "slices of an array's numbers": "for s in np.arange(0, 4, 2):\n    X[s : s + 2] *= 2\n"
    "    y[s : s + 2] = X[s : s + 2, :2]\n" + ROUND,
    "RandomState in a class": "class Net:\n    def __init__(self, seed):\n"
    "        r = np.random.RandomState(seed)\n        self.W = r.normal(size=(3, 2))\n"
    "        self.X, self.y = r.uniform(-1, 1, (4, 3)), r.randn(4, 2)\nnet = Net(1)\n"
    "p = net.X @ net.W\nloss = np.sum((p - net.y) ** 2)\ndp = 2 * (p - net.y)\n"
    "dW = net.X.T @ dp\nnet.W -= 0.1 * dW\n",
    "shuffled in place": "order = np.arange(40)\nnp.random.shuffle(order)\nX = X[order % 4]\n"
    "y = y[order % 4]\nassert sorted(order.tolist()) == list(range(40)) != order.tolist()\n"
    + ROUND,
    "isinstance of all else": "from typing import NamedTuple\nclass Pair(NamedTuple):\n"
    "    a: int\n    b: int\nassert isinstance(Pair(1, 2), Pair) and isinstance(np.float32, type)\n"
    "assert isinstance(1.0, np.float64 | float) and not isinstance(1, (str, np.integer))\n" + ROUND,
    "errors": "try:\n    np.linalg.inv(np.zeros((2, 2)))\n    assert False\n"
    "except np.linalg.LinAlgError:\n    pass\n" + ROUND,
    "rows shuffled in place": "np.random.shuffle(X)\n" + ROUND,
    "types in signatures": "def f(a: np.ndarray, r: np.random.Generator | None = None):\n"
    "    return a\nX = f(X)\n" + ROUND,
    "saved": ROUND.replace("loss =", "np.save('p.npy', p)\nloss ="),
}


@pytest.mark.parametrize("way", WAYS)
def test_arrays_are_used_as_numpys(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert right(HEAD + WAYS[way], tmp_path)


x, z = np.arange(6.0).reshape(2, 3) / 7 - 0.2, np.arange(24.0).reshape(2, 3, 4)
SAME = """\
np.pad(x, ((0, 0), (1, 1)), mode="constant", constant_values=(0, 0))
np.pad(x, 1)
np.pad(x, 1, "edge")
np.rollaxis(z, 2)
np.rollaxis(z, 0, 3)
np.identity(3)
np.median(x)
np.median(x, axis=1)
np.percentile(x, 50)
np.percentile(x, [25, 50], axis=0)
np.full(3, 2)
np.full((2, 2), 0.5)
np.full_like(x, 2)
x[:, 2:0:-1]
z[..., ::-2]
z[:, None, ::-1, 1:3]
np.apply_along_axis(np.sum, 0, x)
np.vectorize(lambda v: 2 * v)(x)
np.linspace(0, 1, 5, endpoint=False)
np.dtype("float64") == x.dtype
"""


@pytest.mark.parametrize("line", SAME.splitlines())
def test_an_expression_has_numpys_own_value(line: str):
    mine = stand_in()
    there = {"x": mine.array(x.tolist()), "z": mine.array(z.tolist())}
    here, found = eval(line, {"np": np, "x": x, "z": z}), eval(line, {"np": mine, **there})
    found = np.asarray(held(found))
    np.testing.assert_allclose(found, here)
    assert np.shape(found) == np.shape(here)
    assert found.dtype == np.asarray(here).dtype


def test_numpys_own_tells_a_mistake():
    mine = stand_in()
    with pytest.raises(ValueError, match=r"shapes .* not aligned"):
        mine.dot(mine.ones((2, 3)), mine.ones((2, 3)))


# a library that gets an array, shows it, and gives one back
LIBRARY = """\
import numpy
def show(array): numpy.asarray(array).sum()
def squared(array): return numpy.asarray(array) ** 2
def load(): return numpy.random.RandomState(0).rand(4, 3), numpy.ones((4, 2))
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of a person's files, with libraries that lie elsewhere."""
    home = tmp_path / "site-packages"
    home.mkdir()
    (home / "lib_of_arrays.py").write_text(LIBRARY)
    (home / "seaborn.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(home)
    for name in ("lib_of_arrays", "seaborn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def test_what_is_drawn_is_not_lost_sight_of(elsewhere: Path):
    text = "import seaborn as sns\n" + HEAD + ROUND
    shown = "sns.show(p)\nsns.show(W.tolist())\nloss ="
    assert right(text.replace("loss =", shown), elsewhere)


def test_what_a_library_computes_is_never_verified(elsewhere: Path):
    text = "import lib_of_arrays as lib\n" + HEAD
    text += "p = X @ W\nq = lib.squared(W)\nloss = np.sum((p - y) ** 2) + np.sum(q)\n"
    found = verdicts(text + "dp = 2 * (p - y)\ndW = X.T @ dp\n", elsewhere)
    assert found["dW"] == "cannot confirm"


def test_what_numpys_own_writes_is_never_verified(tmp_path: Path):
    text = HEAD + "p = X @ W\nq = np.zeros((3, 2))\nnp.place(q, q == 0, W.ravel() ** 2)\n"
    text += "loss = np.sum((p - y) ** 2) + np.sum(q)\ndp = 2 * (p - y)\ndW = X.T @ dp\n"
    assert verdicts(text, tmp_path)["dW"] == "cannot confirm"


def test_an_array_of_a_librarys_is_one_array(elsewhere: Path):
    text = (
        "import lib_of_arrays as lib\n" + HEAD + "X, y = lib.load()\nfor _ in range(1):\n    p = "
    )
    text += "X @ W\n    loss = np.sum((p - y) ** 2)\n    dp = 2 * (p - y)\n    dW = X.T @ dp\n"
    assert right(text, elsewhere)


def test_nobody_looks_into_a_library_while_it_is_imported(elsewhere: Path):
    path, seen = elsewhere.parent / "site-packages" / "slow.py", list[Any]()
    path.write_text("import sys\nfound = sys.getprofile()\n")
    (elsewhere / "own.py").write_text("import sys\nfound = sys.getprofile()\n")
    sys.path.insert(0, str(elsewhere))

    def hook(*_: Any) -> None:
        """See nothing."""

    before = sys.getprofile()
    sys.setprofile(hook)
    try:
        for name in ("slow", "own"):
            seen.append(built_in(elsewhere)["__import__"](name).found)
        seen.append(sys.getprofile())
    finally:
        sys.setprofile(before)
        sys.path.remove(str(elsewhere))
        for name in ("slow", "own"):
            sys.modules.pop(name, None)
    assert seen == [None, hook, hook]


def test_matplotlib_has_the_persons_list_of_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", {"XDG_CACHE_HOME": str(tmp_path / "cache")})
    (tmp_path / "cache" / "matplotlib").mkdir(parents=True)
    (tmp_path / "cache" / "matplotlib" / "fontlist-v1.json").write_text("{}")
    bring_fonts(tmp_path / "own")
    assert (tmp_path / "own" / "fontlist-v1.json").read_text() == "{}"
    assert os.environ["MPLCONFIGDIR"] == str(tmp_path / "own")
    assert os.environ["MPLBACKEND"] == "Agg"
