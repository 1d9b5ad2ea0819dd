"""NumPy in a recorded file: its arrays hold tensors, so that what is done to them is seen.

The file's own `np` is exchanged for torch's NumPy layer (`torch._numpy`); what that lacks, and all
that draws numbers, is NumPy's own, and what it gives is taken up as an array from outside.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch

NUMPY = "__handgrad_numpy__"


def layer() -> Any:
    """Return torch's NumPy layer."""
    return importlib.import_module("torch._numpy")


def uses_numpy(tree: ast.Module) -> bool:
    """Tell whether a file imports NumPy."""
    return any(
        (isinstance(node, ast.Import) and any(is_numpy(a.name) for a in node.names))
        or (isinstance(node, ast.ImportFrom) and is_numpy(node.module or ""))
        for node in ast.walk(tree)
    )


def needs_layer(tree: ast.Module, folder: Path) -> bool:
    """Tell whether a file computes with NumPy, or a file that it imports from its folder does."""
    names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    files = [folder / f"{name.replace('.', '/')}.py" for name in names if name]
    return uses_numpy(tree) or any("numpy" in f.read_text() for f in files if f.is_file())


def is_numpy(name: str) -> bool:
    """Tell whether a module's name is NumPy's, or of a part of it."""
    return name.partition(".")[0] == "numpy"


class Exchanged(ast.NodeTransformer):
    """Read NumPy's names from its stand-in, each at its place in the text."""

    def visit_Import(self, node: ast.Import) -> Any:
        """Exchange `import numpy as np`."""
        theirs = [alias for alias in node.names if is_numpy(alias.name)]
        others = [alias for alias in node.names if not is_numpy(alias.name)]
        made: list[ast.stmt] = [ast.copy_location(ast.Import(others), node)] if others else []
        for alias in theirs:
            path = alias.name.split(".")[1:] if alias.asname else []
            made.append(bound(alias.asname or "numpy", path, node))
        return made

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        """Exchange `from numpy import exp`."""
        if not is_numpy(node.module or "") or node.level:
            return node
        path = (node.module or "").split(".")[1:]
        return [
            bound(a.asname or a.name, [*path, a.name], node) for a in node.names if a.name != "*"
        ]


class Beside(SourceFileLoader):
    """Load a file that lies beside the person's own, its NumPy exchanged too."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of its text: what Python may have compiled before is another one."""
        path = self.get_filename(fullname)
        tree = ast.fix_missing_locations(Exchanged().visit(ast.parse(self.get_data(path))))
        return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Run it."""
        vars(module)[NUMPY] = stand_in()
        super().exec_module(module)


class Finder:
    """Find the files beside the person's own.

    Args:
        folder: where that lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return how to load one, None for what lies elsewhere."""
        found = PathFinder.find_spec(name, path or [str(self.folder)], target)
        file = found.origin if found is not None else None
        if found is None or file is None or not file.endswith(".py"):
            return None
        if "-packages" in file or not Path(file).is_relative_to(self.folder):
            return None
        found.loader = Beside(name, file)
        return found


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Exchange NumPy in the modules that are imported from a folder too; forget them then."""
    finder, before = Finder(folder), {*sys.modules}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in {*sys.modules} - before:
            if isinstance(getattr(sys.modules[name], "__loader__", None), Beside):
                del sys.modules[name]


def bound(name: str, path: list[str], node: ast.stmt) -> ast.stmt:
    """Return the assignment of a part of the stand-in to a name."""
    value: ast.expr = ast.Name(NUMPY, ast.Load())
    for part in path:
        value = ast.Attribute(value, part, ast.Load())
    made = ast.Assign([ast.Name(name, ast.Store())], value)
    return ast.fix_missing_locations(ast.copy_location(made, node))


class NumPy:
    """A module, or an object of NumPy's, whose arrays hold tensors.

    Args:
        real: NumPy's own.
        mine: torch's layer of it, None where it has none.
    """

    def __init__(self, real: Any, mine: Any = None) -> None:
        self.__real, self.__mine = real, mine

    def __getattr__(self, name: str) -> Any:
        """Return a part: torch's layer of it where there is one."""
        real = getattr(self.__real, name, None)
        if (
            self.__mine is not None
            and hasattr(self.__mine, name)
            and name not in ("random", "dtype")
        ):
            found = getattr(self.__mine, name)
            if type(found).__name__ == "module":
                return NumPy(real, found)
            return Function(real, found) if callable(real) and not isinstance(real, type) else found
        return wrapped(getattr(self.__real, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what is NumPy's own."""
        return given(self.__real(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()}))

    def __getitem__(self, key: Any) -> Any:
        """Read an item of what is NumPy's own, `np.r_`."""
        return given(self.__real[plain(key)])


class Function:
    """A function of NumPy's, with its methods; what torch's layer cannot do is NumPy's own.

    Args:
        real: NumPy's own.
        mine: torch's layer of it.
    """

    def __init__(self, real: Any, mine: Any) -> None:
        self.__real, self.__mine = real, mine
        self.__name__ = real.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call torch's layer of it."""
        try:
            return self.__mine(*args, **kwargs)
        except NotImplementedError:
            return NumPy(self.__real)(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return a method of NumPy's own."""
        return wrapped(getattr(self.__real, name))

    def at(self, array: Any, index: Any, value: Any) -> None:
        """Add entries at places of an array, as often as each is named."""
        sign = {"add": 1, "subtract": -1}.get(self.__name__)
        if sign is None:
            raise NotImplementedError(f"np.{self.__name__}.at is not followed")
        parts = index if isinstance(index, tuple) else (index,)
        indices = tuple(torch.as_tensor(held(part)) for part in parts)
        tensor = held(array)
        values = torch.as_tensor(held(value), dtype=tensor.dtype)
        tensor.index_put_(indices, sign * values, accumulate=True)


def as_numpy() -> None:
    """Give torch's arrays what NumPy's have: formats, rounding, `astype(copy=False)`."""
    array, plain_astype = layer().ndarray, layer().ndarray.astype
    if hasattr(array, "__round__"):
        return

    def astype(self: Any, dtype: Any, *_: Any, **__: Any) -> Any:
        return plain_astype(self, dtype)

    array.astype = astype
    array.__round__ = lambda self, digits=0: layer().round(self, digits)
    array.__format__ = lambda self, form: format(shown(self), form)
    array.__str__ = lambda self: str(shown(self))
    array.__repr__ = lambda self: repr(shown(self))


def shown(array: Any) -> Any:
    """Return an array as NumPy's own, to be printed: no number of it goes anywhere."""
    with torch._C.DisableTorchFunction():
        found = array.tensor.detach().cpu().numpy()
    return found if found.ndim else found[()]


def wrapped(thing: Any) -> Any:
    """Return something of NumPy's own so that arrays go in and come out as ours."""
    home = getattr(type(thing), "__module__", "") or ""
    own = is_numpy(home) or type(thing).__name__ == "module" or callable(thing)
    return NumPy(thing) if own and not isinstance(thing, type) else thing


def given(result: Any) -> Any:
    """Return what NumPy gave with its arrays as ours."""
    if isinstance(result, np.ndarray):
        if result.dtype.kind not in "fiub":
            return result
        with torch._C.DisableTorchFunction():
            held = torch.from_numpy(np.ascontiguousarray(result).copy())
        return layer().ndarray(held)
    if isinstance(result, tuple | list):
        return type(result)(map(given, result)) if type(result) in (tuple, list) else result
    return (
        wrapped(result) if not isinstance(result, np.generic | int | float | str | bool) else result
    )


def plain(value: Any) -> Any:
    """Return a value with our arrays as NumPy's."""
    if isinstance(value, layer().ndarray):
        entries = value.tensor.tolist()  # which is recorded: here they leave what is followed
        return np.array(entries, dtype=value.dtype.name).reshape(value.shape)
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return type(value)(map(plain, value))
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    return value


def stand_in() -> NumPy:
    """Return what the file's NumPy is exchanged for."""
    as_numpy()
    layer().ones(1)  # what it imports when first used is imported now, before all is recorded
    return NumPy(np, layer())


def held(thing: Any) -> Any:
    """Return the tensor that an array of ours holds; anything else as it is."""
    found = getattr(thing, "tensor", None)
    known = type(thing).__module__.startswith("torch._numpy")
    return found if known and isinstance(found, torch.Tensor) else thing
