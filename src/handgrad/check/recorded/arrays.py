"""NumPy in a recorded file: its arrays hold tensors, so that what is done to them is seen.

The file's own `np` is exchanged for torch's NumPy layer (`torch._numpy`); what that lacks, and all
that draws numbers, is NumPy's own, and what it gives is taken up as an array from outside.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch

from handgrad.check.recorded.layer import (
    FUNCTIONS,
    TAKEN_UP,
    as_numpy,
    copied,
    held,
    layer,
    note_leaving,
    of_tensor,
    taken,
)
from handgrad.errors import HandgradError

NUMPY, TAKEN = "__handgrad_numpy__", "__handgrad_taken__"
BUILT_IN = "__builtins__"


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
    """Read NumPy's names from its stand-in, and bind what a library gives as an array of ours."""

    def visit_Assign(self, node: ast.Assign) -> Any:
        """Take up what is bound to a name."""
        if isinstance(node.value, ast.Tuple):
            node.value.elts = list(map(taken_up, node.value.elts))
        else:
            node.value = taken_up(node.value)
        return node

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


def taken_up(node: ast.expr) -> ast.expr:
    """Return the expression that takes up what another gives."""
    if not isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        return node
    call = ast.Call(ast.Name(TAKEN, ast.Load()), [node], [])
    return ast.fix_missing_locations(ast.copy_location(call, node))


class Beside(SourceFileLoader):
    """Load a file that lies beside the person's own, its NumPy exchanged too.

    Args:
        names: what it finds without importing it.
    """

    def __init__(self, name: str, file: str, names: dict[str, Any]) -> None:
        super().__init__(name, file)
        self.names = names

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of its text: what Python may have compiled before is another one."""
        path = self.get_filename(fullname)
        tree = ast.fix_missing_locations(Exchanged().visit(ast.parse(self.get_data(path))))
        return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Run it."""
        vars(module).update(self.names)
        super().exec_module(module)


class Finder:
    """Find the files beside the person's own.

    Args:
        folder: where that lies.
        names: what it finds without importing it.
    """

    def __init__(self, folder: Path, names: dict[str, Any]) -> None:
        self.folder, self.names = folder, names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return how to load one, None for what lies elsewhere."""
        found = PathFinder.find_spec(name, path or [str(self.folder)], target)
        file = found.origin if found is not None else None
        if found is None or file is None or not file.endswith(".py"):
            return None
        if "-packages" in file or not Path(file).is_relative_to(self.folder):
            return None
        found.loader = Beside(name, file, self.names)
        return found


@contextmanager
def beside(folder: Path, names: dict[str, Any]) -> Iterator[None]:
    """Exchange NumPy in the modules that are imported from a folder too; forget them then."""
    finder, before = Finder(folder, names), {*sys.modules}
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
        self._real, self._mine = real, mine

    def __getattr__(self, name: str) -> Any:
        """Return a part: torch's layer of it where there is one."""
        if name in ("_real", "_mine"):
            raise AttributeError(name)  # of one that is being copied
        real = getattr(self._real, name, None)
        found = getattr(self._mine, name, None) if name != "random" else None
        if self._real is np:
            found = FUNCTIONS.get(name, found)
        if found is None or (isinstance(real, type) and issubclass(real, Exception)):
            return wrapped(getattr(self._real, name))
        if type(found).__name__ == "module":
            return NumPy(real, found)
        kind = isinstance(real, type) and name != "dtype"
        return Function(real, found) if callable(real) and not kind else found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what is NumPy's own."""
        return outside(self._real, args, kwargs)

    def __getitem__(self, key: Any) -> Any:
        """Read an item of what is NumPy's own, `np.r_`."""
        return outside(self._real.__getitem__, (key,), {})

    def __or__(self, other: Any) -> Any:
        """Return either of two types, `np.random.Generator | None`."""
        return self._real | bare(other)


class Function:
    """A function of NumPy's, with its methods; what torch's layer cannot do is NumPy's own.

    Args:
        real: NumPy's own.
        mine: torch's layer of it.
    """

    def __init__(self, real: Any, mine: Any) -> None:
        self._real, self._mine = real, mine
        self.__name__ = real.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call torch's layer of it."""
        try:
            return self._mine(*args, **kwargs)
        except HandgradError:
            raise
        except Exception:  # what is the person's own mistake NumPy tells better
            return outside(self._real, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return a method of NumPy's own."""
        if name in ("_real", "_mine"):
            raise AttributeError(name)
        return wrapped(getattr(self._real, name))

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


@dataclass
class Lent:
    """Arrays of ours that NumPy's own works on: each, and the copy that it gets."""

    pairs: dict[int, tuple[Any, np.ndarray[Any, Any]]] = field(default_factory=dict)

    def plain(self, value: Any) -> Any:
        """Return a value with our arrays as NumPy's."""
        if isinstance(value, layer().ndarray):
            return self.pairs.setdefault(id(value), (value, copied(value)))[1]
        if type(value) in (tuple, list):
            return type(value)(map(self.plain, value))
        if isinstance(value, slice):
            return slice(*map(self.plain, (value.start, value.stop, value.step)))
        known = value if isinstance(value, tuple) else bare(value)
        return known[-1] if isinstance(known, tuple) and known is not value else known

    def written(self) -> list[tuple[Any, np.ndarray[Any, Any]]]:
        """Return the arrays whose copies were written into."""
        return [(a, c) for a, c in self.pairs.values() if copied(a).tobytes() != c.tobytes()]


def outside(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call what is NumPy's own; what gives nothing back lets no number out of what is followed."""
    lent = Lent()
    result = function(*map(lent.plain, args), **{k: lent.plain(v) for k, v in kwargs.items()})
    written = lent.written()
    if result is not None or written:
        for array, _ in lent.pairs.values():
            note_leaving(array)
    for array, copy in written:
        array.tensor.copy_(torch.from_numpy(copy))
    same = (array for array, copy in lent.pairs.values() if copy is result)
    return next(same, None) or given(result)


def bare(thing: Any) -> Any:
    """Return NumPy's own of what stands in for it; of a type both, NumPy's last."""
    if isinstance(thing, NumPy | Function):
        return thing._real
    if isinstance(thing, tuple):
        return tuple(map(bare, thing))
    home = str(thing.__module__) if isinstance(thing, type) else ""
    if home.startswith("torch._numpy"):
        return (thing, getattr(np, getattr(thing, "name", thing.__name__)))
    return np.dtype(thing.name) if type(thing).__name__ == "DType" else thing


def kinds_of(thing: Any) -> tuple[type, ...]:
    """Return what NumPy's own would be in place of an array of ours; nothing for all else."""
    if not isinstance(thing, layer().ndarray):
        return ()
    return (np.ndarray,) if thing.ndim else (np.ndarray, getattr(np, thing.dtype.name))


def wrapped(thing: Any) -> Any:
    """Return something of NumPy's own so that arrays go in and come out as ours."""
    home = getattr(thing if isinstance(thing, type) else type(thing), "__module__", "") or ""
    if isinstance(thing, type):
        return NumPy(thing) if home.startswith("numpy.random") or thing is np.vectorize else thing
    own = is_numpy(home) or type(thing).__name__ == "module" or callable(thing)
    return NumPy(thing) if own else thing


def given(result: Any) -> Any:
    """Return what NumPy gave with its arrays as ours."""
    if isinstance(result, np.ndarray):
        return of_tensor(result)
    if type(result) in (tuple, list):
        return type(result)(map(given, result))
    plain = isinstance(result, np.generic | int | float | str | bool | tuple | list)
    return result if plain else wrapped(result)


def names_given() -> dict[str, Any]:
    """Return what a file finds in place of its NumPy."""
    TAKEN_UP.known.clear()
    as_numpy()
    layer().ones(1)  # what it imports when first used is imported now, before all is recorded
    return {NUMPY: stand_in(), TAKEN: taken}


def stand_in() -> NumPy:
    """Return what the file's NumPy is exchanged for."""
    as_numpy()
    return NumPy(np, layer())
